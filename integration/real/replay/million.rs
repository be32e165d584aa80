//! How fast a long stretch of the log is read, and in how little memory. `just million` runs it with 1 000 000 records and
//! an optimised program, and tells the figures.

use super::*;
use crate::harness::alerts::strangers;
use crate::harness::case::unlimited;
use crate::harness::kafka::Kafka;
use crate::harness::past::{Past, ago, log};
use crate::harness::wait::until;
use crate::harness::{Scope, Shared};
use std::time::{Duration, Instant};

const INCIDENTS: usize = 1_000;
/// However long the range: what is held hangs on the horizon.
const MOST_KIB: u64 = 300 << 10;
const LONG: Duration = Duration::from_secs(900);

/// An hour of a thousand incidents that fire all the time.
fn traffic(records: usize) -> impl Iterator<Item = Past> + Send + 'static {
    let begin = ago(70);
    let alerts: Vec<Past> = strangers("Long", "somewhere", INCIDENTS).iter().map(|alert| Past::new(0, alert)).collect();
    (0..records).map(move |n| {
        let at = begin + i64::try_from(n * 3_600_000 / records).expect("within an hour");
        alerts[n % INCIDENTS].again(at)
    })
}

/// What a run cost: time, processor time, and the most memory that it had in RAM, in KiB.
struct Cost {
    took: Duration,
    spent: Duration,
    peak: u64,
}

/// Runs it to its end.
async fn measured(mut running: Process) -> (Cost, String) {
    let began = Instant::now();
    let (mut peak, mut spent) = (0, Duration::ZERO);
    until(LONG, "the replay to end", async || {
        peak = running.peak().unwrap_or(peak);
        spent = running.spent().unwrap_or_default().max(spent);
        running.ended().map(|status| assert!(status.success(), "{}", running.printed()))
    })
    .await;
    (Cost { took: began.elapsed(), spent, peak }, running.printed())
}

#[tokio::test]
async fn l01_a_long_range_is_read_in_memory_that_does_not_grow_with_it() {
    let records = size("BREAKWATER_MILLION_RECORDS", 20_000);
    let program = std::env::var("BREAKWATER_MILLION_PROGRAM").unwrap_or(env!("CARGO_BIN_EXE_breakwater").to_owned());
    let (stages, kafka) = (Scope::new("l01m"), Kafka::at(&Shared::get().kafka));
    log(&kafka, &stages.alerts, traffic(records)).await;
    let stages = Deployment::start(stages, unlimited(), Shape::NONE).await;
    let case = Case::of("l01m", &[], &stages).await;
    for _ in 0..size("BREAKWATER_MILLION_TIMES", 1) {
        let (raw, read) = kafka.drain(&stages.scope.alerts).await;
        assert_eq!(read, records);
        let flags = ["--from", "-2h", "--output", "json"];
        let (Cost { took, spent, peak }, printed) = measured(begin_of(&program, &stages.ingest, &flags, &case)).await;
        let report: Value =
            printed.find("{\n").and_then(|at| serde_json::from_str(&printed[at..]).ok()).expect("a report");
        assert_eq!((counts(&report), &report["records"]), ([INCIDENTS as u64, 0, 0, 0], &json!(records)), "{printed}");
        assert_eq!(report["outcomes"], json!({ "created": INCIDENTS, "duplicate": records - INCIDENTS }));
        let rate = |took: Duration| records as f64 / took.as_secs_f64();
        println!(
            "{records} records in {took:.2?} with the start of the program: {:.0}/s, {spent:.2?} of processor time, {} MiB at most; reading them and no more: {:.0}/s",
            rate(took),
            peak >> 10,
            rate(raw),
        );
        assert!(peak <= MOST_KIB, "{peak} KiB");
    }
}
