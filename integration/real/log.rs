//! Group K on real servers: records of strangers, records that are no alerts, records read again.

use crate::harness::PARTITIONS;
use crate::harness::alerts::{kin, strangers};
use crate::harness::case::{Case, SOON, count, name, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::kafka::Record;
use crate::harness::product::Product;
use crate::harness::wait::until;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const NO_WORK: Shape = Shape { work: 0, ..Shape::ONE };
const WORK: Shape = Shape { work: 1, ..Shape::NONE };

/// Stops the judges and sets their group back to the beginning of the log.
async fn back_to_the_start(case: &Case, stages: &mut Deployment) {
    for judge in stages.works.drain(..) {
        assert!(judge.stop().await.success());
    }
    case.kafka.delete_group(&case.groups[0]).await;
    assert!(case.kafka.committed(&case.groups[0], &case.alerts).await.is_empty());
}

async fn outcome(stages: &Deployment, outcome: &str) -> f64 {
    let label = format!("outcome=\"{outcome}\"");
    let mut sum = 0.0;
    for judge in &stages.works {
        sum += judge.metric("breakwater_work_outcomes_total", &[&label]).await;
    }
    sum
}

#[tokio::test]
async fn k03_killed_after_memory_and_after_publishing_the_repeats_end_as_redelivered() {
    let (_, mut stages) = Case::own("k03", &[], unlimited(), Shape::NONE).await;
    stages.notice_death_quickly();
    stages.add(NO_WORK).await;
    let case = Case::of("k03", &["shop"], &stages).await;
    let watch = case.record("shop").await;
    // what is read again, and how it ends: before the draft is out it is a new incident again, afterwards it is none
    for (index, (point, created, redelivered)) in
        [("work-decided", 1.0, 1.0), ("work-marked", 0.0, 2.0)].into_iter().enumerate()
    {
        let armed = stages.work.clone().with("BREAKWATER_CRASH_AT", &format!("{point}:1"));
        let mut doomed = Product::start("work", &armed).await;
        let alert = case.alert(point, "shop", "p");
        case.post(&[alert.clone(), alert]).await;
        assert!(!doomed.process.exit(SOON).await.success());
        stages.add(WORK).await;
        case.counted("shop", index + 1, 2).await;
        case.settled().await;
        assert_eq!(outcome(&stages, "created").await, created);
        let repeats = outcome(&stages, "redelivered").await;
        let foreign = case.ended().await.len(); // ends of other tests' objects may be read again as well
        assert!(
            (redelivered..=redelivered + foreign as f64).contains(&repeats),
            "{repeats} redelivered, {foreign} foreign"
        );
        assert!(stages.works.remove(0).stop().await.success());
    }
    assert_eq!(watch.names().len(), 2);
}

#[tokio::test]
async fn k06_two_offsets_are_two_occurrences_and_one_offset_read_twice_is_one() {
    let (case, mut stages) = Case::own("k06", &["shop"], unlimited(), Shape::ONE).await;
    let alert = case.alert("Bytes", "shop", "p").to_string();
    let key = b"the same".as_slice();
    case.kafka.produce(&case.alerts, &[(Some(key), alert.as_bytes()), (Some(key), alert.as_bytes())]).await;
    let before = case.counted("shop", 1, 2).await;
    case.settled().await;
    back_to_the_start(&case, &mut stages).await;
    stages.add(WORK).await;
    case.settled().await;
    until(SOON, "both to be read again", async || (outcome(&stages, "redelivered").await >= 2.0).then_some(())).await;
    let (repeats, foreign) = (outcome(&stages, "redelivered").await, case.ended().await.len());
    assert!(
        repeats <= 2.0 + foreign as f64,
        "{repeats} redelivered, {foreign} of them may be ends of other tests' objects"
    );
    assert_eq!(case.counted("shop", 1, 2).await, before);
}

#[tokio::test]
async fn k07_a_strangers_record_without_key_and_headers_is_the_same_alert() {
    let case = Case::shared("k07", &["http", "stranger"]).await;
    let [posted, produced] = ["http", "stranger"].map(|word| case.alert("Same", word, "p"));
    case.post(std::slice::from_ref(&posted)).await;
    case.kafka.produce(&case.alerts, &[(None, produced.to_string().as_bytes())]).await;
    let [posted_is, produced_is] = [case.object("http").await, case.object("stranger").await];
    for field in ["severity", "environment", "priority", "signalName", "signalType", "signalSource", "targetType"] {
        assert_eq!(posted_is["spec"][field], produced_is["spec"][field], "spec.{field}");
    }
    assert_eq!(posted_is["spec"]["targetResource"]["name"], produced_is["spec"]["targetResource"]["name"]);
    assert_eq!(posted_is["spec"]["targetResource"]["kind"], produced_is["spec"]["targetResource"]["kind"]);
    assert_eq!(produced_is["spec"]["originalPayload"], json!(produced.to_string()));
    // sent both ways: one fingerprint, hence one object
    let answer = case.post(&[produced]).await;
    assert_eq!(answer["alerts"][0]["fingerprint"], produced_is["spec"]["signalFingerprint"]);
    case.counted("stranger", 1, 2).await;
    case.kafka.produce(&case.alerts, &[(None, posted.to_string().as_bytes())]).await;
    case.counted("http", 1, 2).await;
    case.settled().await;
    case.objects("http", 1).await;
    case.objects("stranger", 1).await;
}

#[tokio::test]
async fn k08_thirty_foreign_keys_over_all_partitions_are_one_object_also_when_read_again() {
    let (case, mut stages) = Case::own("k08", &["shop"], unlimited(), Shape { work: 2, ..Shape::ONE }).await;
    let watch = case.record("shop").await;
    let value = case.alert("Spread", "shop", "p").to_string();
    for n in 0..30 {
        let (key, value) = (Some(format!("key-{n}").into_bytes()), Some(value.clone().into_bytes()));
        let record = Record { partition: n % PARTITIONS, offset: -1, timestamp: 1, key, value, headers: Vec::new() };
        case.kafka.send(&case.alerts, &record).await;
    }
    let before = case.counted("shop", 1, 30).await;
    case.settled().await;
    back_to_the_start(&case, &mut stages).await;
    stages.add(Shape { work: 2, ..Shape::NONE }).await;
    case.settled().await;
    // more than once, if a partition changes hands meanwhile
    until(SOON, "all to be read again", async || (outcome(&stages, "redelivered").await >= 30.0).then_some(())).await;
    assert_eq!(case.counted("shop", 1, 30).await, before);
    assert_eq!(watch.names(), BTreeSet::from([name(&before[0]).to_owned()]));
}

#[tokio::test]
async fn k09_what_is_no_alert_is_a_dead_letter_each_and_the_partition_goes_on() {
    let (case, _stages) = Case::own("k09", &["shop"], unlimited(), Shape::ONE).await;
    let alert = case.alert("Versioned", "shop", "p").to_string().into_bytes();
    let header = |name: &str, value: &[u8]| vec![(name.to_owned(), value.to_vec())];
    let odd = [
        (Some(b"not json".to_vec()), Vec::new()),
        (Some(Vec::new()), Vec::new()),
        (None, Vec::new()),
        (Some(vec![b'['; 900 * 1024]), Vec::new()),
        (Some(b"{}".to_vec()), header("x-foreign", &[0xff, 0x00, 0xfe])),
        (Some(alert), header("breakwater-schema", b"99")),
    ];
    let mut places = Vec::new();
    for (value, headers) in &odd {
        let (value, headers) = (value.clone(), headers.clone());
        let record = Record { partition: 1, offset: -1, timestamp: 1, key: Some(b"k".to_vec()), value, headers };
        places.push(case.kafka.send(&case.alerts, &record).await);
    }
    let good = case.alert("Good", "shop", "p").to_string();
    let good =
        Record { partition: 1, offset: -1, timestamp: 1, key: None, value: Some(good.into()), headers: Vec::new() };
    case.kafka.send(&case.alerts, &good).await;
    case.counted("shop", 1, 1).await;
    case.settled().await;
    let letters = case.kafka.read(&case.dead_letters).await;
    assert_eq!(letters.len(), odd.len());
    for ((value, headers), (partition, offset)) in odd.iter().zip(places) {
        let told = |letter: &Record, name: &str| letter.header(&format!("breakwater-dead-letter-{name}"));
        let is = |letter: &&Record| told(letter, "offset") == Some(offset.to_string());
        let letter = letters.iter().find(is).unwrap_or_else(|| panic!("no dead letter for {partition}/{offset}"));
        assert!(letter.value.as_deref().unwrap_or_default() == value.as_deref().unwrap_or_default(), "{offset}");
        assert_eq!(told(letter, "partition"), Some(partition.to_string()));
        assert_eq!(told(letter, "topic").as_ref(), Some(&case.alerts));
        assert!(told(letter, "reason").is_some_and(|reason| !reason.is_empty()));
        assert!(headers.iter().all(|header| letter.headers.contains(header)), "{:?}", letter.headers);
    }
}

#[tokio::test]
async fn k10_no_producers_clock_matters_and_a_topic_that_heeds_them_is_refused() {
    let case = Case::shared("k10", &["shop"]).await;
    let before = jiff::Timestamp::now().as_millisecond();
    for (n, year) in [0, 4_102_444_800_000].into_iter().enumerate() {
        let value = Some(case.alert("Clock", "shop", "p").to_string().into_bytes());
        let key = Some(b"one partition".to_vec());
        let record = Record { partition: 0, offset: -1, timestamp: year, key, value, headers: Vec::new() };
        case.kafka.send(&case.alerts, &record).await;
        case.counted("shop", 1, n as u64 + 1).await;
    }
    let records = case.records().await;
    assert!(records.iter().all(|record| record.timestamp >= before - 1000), "the broker's time");
    case.settled().await;
    case.counted("shop", 1, 2).await;

    let (own, stages) = Case::own("k10", &[], unlimited(), Shape::NONE).await;
    own.kafka.configure(&own.alerts, &[("message.timestamp.type", "CreateTime")]).await;
    let mut judge = Product::spawn("work", &stages.work);
    let end = judge.process.exit(SOON).await;
    assert_eq!(end.code(), Some(1));
    let printed = judge.process.printed();
    assert!(printed.contains("message.timestamp.type=LogAppendTime") && printed.contains(&own.alerts), "{printed}");
}

#[tokio::test]
async fn k12_a_backlog_of_fifty_thousand_becomes_the_same_objects() {
    let (case, mut stages) = Case::own("k12", &["shop"], unlimited(), NO_WORK).await;
    let watch = case.record("shop").await;
    let shop = case.namespace("shop");
    let [singles, storm] = [strangers("Backlog", &shop, 50), kin("Storm", &shop, 15)];
    let values: Vec<Vec<u8>> = singles.iter().map(|alert| alert.to_string().into_bytes()).collect();
    let keyed: Vec<(Option<&[u8]>, &[u8])> = values.iter().map(|value| (Some(&value[..]), &value[..])).collect();
    case.post(&storm).await;
    for _ in 0..20 {
        let thousand: Vec<_> = keyed.iter().cycle().take(2500).copied().collect();
        case.kafka.produce(&case.alerts, &thousand).await;
    }
    assert_eq!(case.kafka.count(&case.alerts).await, 50_015);
    stages.add(WORK).await;
    let objects = case
        .until("shop", "50 objects that count 1000, and a storm of 15", |seen| {
            let counts = |times: u64| seen.iter().filter(|object| count(object) == times).count();
            seen.len() == 51 && counts(1000) == 50 && counts(15) == 1
        })
        .await;
    let is_storm = |object: &&Value| object["spec"]["isStorm"] == true;
    assert_eq!(objects.iter().filter(is_storm).count(), 1);
    case.settled().await;
    assert_eq!(watch.names().len(), 51);
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
}

#[tokio::test]
async fn k13_idle_partitions_hold_nothing_back() {
    let mut overlay = unlimited();
    overlay["topics"] = json!({ "partitions": 8 });
    let (case, _stages) = Case::own("k13", &["shop"], overlay, Shape::ONE).await;
    for n in 0..3 {
        case.post(&[case.alert(&format!("Idle{n}"), "shop", "p")]).await;
        case.objects("shop", n + 1).await;
    }
    // on the broker's clock: an alert's record, and its draft's
    let alerts = case.records().await;
    let drafts = until(SOON, "the drafts", async || {
        let mut all = case.about_us(&case.remediations).await;
        all.retain(|record| record.json()["type"] == "draft");
        (all.len() == 3).then_some(all)
    })
    .await;
    for draft in drafts {
        let first = draft.json()["incident"]["generation"]["at"].as_i64().expect("event time");
        assert!(alerts.iter().any(|alert| alert.timestamp == first));
        let waited = draft.timestamp - first;
        assert!((2000..4000).contains(&waited), "a draft {waited} ms after its alert; the hold is 2 s");
    }
}
