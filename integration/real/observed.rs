//! Group P on stages whose traces go nowhere: what observes them changes nothing, and what it sees adds up.

use crate::harness::Scope;
use crate::harness::alerts::strangers;
use crate::harness::case::{Case, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::http;
use crate::harness::process::free_port;
use crate::harness::product::Product;
use std::net::TcpListener;

/// The sum of a family's series on a page of metrics.
fn sum(page: &str, family: &str) -> f64 {
    let of_it = |line: &&str| line.strip_prefix(family).is_some_and(|rest| rest.starts_with([' ', '{']));
    let values = page.lines().filter(of_it).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

/// What is in flight in each stage, on a page whose books must balance.
fn in_flight(page: &str) -> [f64; 2] {
    ["work", "sink"].map(|stage| {
        let of = |noun: &str| sum(page, &format!("breakwater_{stage}_{noun}"));
        let held = of("records_in_flight");
        assert_eq!(of("records_consumed_total"), of("outcomes_total") + held, "{page}");
        assert!(held >= 0.0, "{page}");
        held
    })
}

async fn metrics(stages: &Product) -> String {
    http::get(&stages.admin, "/metrics").await.expect("the admin address answers").text()
}

#[tokio::test]
async fn p03_p10_with_a_collector_dead_or_hanging_nothing_changes_and_the_books_balance_at_each_scrape() {
    let (scope, hanging) = (Scope::new("p10"), TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let silent = format!("http://{}", hanging.local_addr().expect("it is bound"));
    let setting = scope.setting(unlimited());
    let mut stages = Deployment::of(scope, setting.clone(), Shape::NONE).await;
    let [dead, mute] = [nobody, silent].map(|to| setting.clone().with("OTEL_EXPORTER_OTLP_ENDPOINT", &to));
    let (dead, mute) = tokio::join!(Product::start("run", &dead), Product::start("run", &mute));
    stages.ingests = vec![dead, mute];
    let case = Case::of("p10", &["shop"], &stages).await;
    let alerts = strangers("Alert", &case.namespace("shop"), 60);
    let mut scrapes = 0;
    let load = async {
        for _ in 0..5 {
            case.post_each(&alerts).await;
        }
        case.counted("shop", 60, 5).await;
    };
    let look = async {
        loop {
            for one in &stages.ingests {
                in_flight(&metrics(one).await);
            }
            scrapes += 1;
        }
    };
    tokio::select! {
        () = load => {}
        () = look => {}
    }
    assert!(scrapes > 10, "{scrapes} scrapes");
    case.settled().await;
    for one in stages.ingests {
        assert_eq!(in_flight(&metrics(&one).await), [0.0, 0.0]);
        assert!(one.stop().await.success());
    }
}
