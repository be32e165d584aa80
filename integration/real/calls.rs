//! Group J, what Redis is asked: few calls for many records, no walk through the keyspace, no more rights than stand in the
//! README, and no word of its password anywhere.

use super::forgotten::Rig;
use crate::harness::alerts::{alert, kin, strangers};
use crate::harness::case::{Case, SOON, count, unlimited};
use crate::harness::deployment::Shape;
use crate::harness::product::Product;
use crate::harness::servers::{OwnRedis, connection};
use crate::harness::wait::until_ok;
use crate::harness::{Scope, repository};
use futures::StreamExt;
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use std::iter::repeat_n;

#[tokio::test]
async fn j20_thirty_two_writers_on_fifty_fingerprints_and_a_storm_lose_no_count() {
    let shape = Shape { ingest: 2, work: 3, sink: 1 };
    let (case, _stages) = Case::own("j20", &["shop"], unlimited(), shape).await;
    let shop = case.namespace("shop");
    let all = [strangers("Own", &shop, 50), kin("Storm", &shop, 30)].concat();
    let posts = (0..125).map(|door| case.post_at(door, &all));
    futures::stream::iter(posts).buffer_unordered(32).collect::<Vec<_>>().await;
    assert_eq!(case.records().await.len(), 10_000);
    let fits = |seen: &[Value]| {
        let (storms, others): (Vec<&Value>, Vec<&Value>) =
            seen.iter().partition(|object| object["spec"]["isStorm"] == true);
        others.len() == 50
            && others.into_iter().all(|object| count(object) == 125)
            && storms.into_iter().map(count).collect::<Vec<_>>() == [30 * 125]
    };
    case.until("shop", "50 objects that count 125 and a storm of 3750", fits).await;
    case.settled().await;
    let seen = case.until("shop", "the same at rest", fits).await;
    assert_eq!(seen.iter().map(count).sum::<u64>(), 10_000);
}

#[tokio::test]
async fn j22_ten_thousand_duplicates_cost_a_few_calls_and_no_walk() {
    let mut rig = Rig::start("j22", unlimited(), Shape::ONE).await;
    let one = rig.own(1);
    rig.case.post(&one).await;
    rig.told(1, 1, None).await;
    rig.stages.works.remove(0).stop().await;
    let many: Vec<Value> = repeat_n(one[0].clone(), 500).collect();
    for _ in 0..20 {
        rig.case.post(&many).await;
    }
    let before = rig.redis.calls().await;
    rig.stages.add(Shape { work: 1, ..Shape::NONE }).await;
    rig.told(1, 10_001, None).await;
    let after = rig.redis.calls().await;
    let made = |name: &str| after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
    // what a record at a time would cost is 10 000; batches hold up to 1 000, and the marks, the words of readers and the
    // sweep go on meanwhile, ten to twenty times a second each
    for name in ["evalsha", "mget", "zrange"] {
        assert!(made(name) < 1_000, "{} calls of {name}", made(name));
    }
    for name in ["keys", "scan", "hgetall", "smembers", "zscan", "hscan", "sscan", "randomkey"] {
        let ours = made(name);
        assert_eq!(ours, 0, "{name} walks");
    }
}

/// That neither the pages of a stage nor its log say a word.
async fn is_silent_about(stage: &Product, word: &str) {
    for path in ["/", "/readyz", "/healthz", "/metrics"] {
        assert!(!stage.page(path).await.text().contains(word), "{path} shows the password");
    }
    assert!(!stage.process.printed().contains(word), "the log shows the password");
}

#[tokio::test]
async fn j23_a_wrong_password_is_named_and_never_shown() {
    let mut redis = OwnRedis::start(&["--requirepass", "right-hunter2"]).await;
    let host = redis.url.trim_start_matches("redis://").to_owned();
    redis.url = format!("redis://:right-hunter2@{host}");
    let rig = Rig::on(redis, "j23", unlimited(), Shape::ONE).await;
    let scope = Scope::new("j23w");
    for (credentials, missing) in [(":wrong-hunter2@", "authentication failed"), ("", "NOAUTH")] {
        let mut setting = rig.stages.work.clone();
        setting.redis = format!("redis://{credentials}{host}");
        setting.folder = scope.path("");
        let judge = Product::spawn("work", &setting);
        until_ok(SOON, &format!("the judge to say {missing}"), async || {
            let page = crate::harness::http::get(&judge.admin, "/readyz").await.map_err(|error| error.to_string())?;
            let told = page.json()["missing"]["memory"].as_str().unwrap_or_default().to_owned();
            if page.status == 503 && told.contains(missing) { Ok(()) } else { Err(page.text()) }
        })
        .await;
        is_silent_about(&judge, "hunter2").await;
    }
    rig.case.post(&rig.own(5)).await;
    rig.told(5, 1, None).await;
    is_silent_about(&rig.stages.works[0], "hunter2").await;
}

/// The line of the README that makes our user, in words; for this test's prefix and password.
fn rights() -> Vec<String> {
    let readme = std::fs::read_to_string(repository("README.md")).expect("there is a README");
    let line = readme.lines().find(|line| line.starts_with("ACL SETUSER breakwater ")).expect("README has the line");
    let told = line.replace("~breakwater{*", "~breakwater-j23*").replace(">PASSWORD", ">hunter2");
    told.split(' ').map(str::to_owned).collect()
}

async fn acl(eyes: &mut MultiplexedConnection, words: &[String]) -> redis::Value {
    let mut call = redis::cmd(&words[0]);
    words[1..].iter().for_each(|word| {
        call.arg(word);
    });
    call.query_async(eyes).await.expect("redis obeys")
}

/// Waits until Redis has refused our user this command.
async fn is_refused(eyes: &MultiplexedConnection, command: &str) {
    until_ok(SOON, &format!("{command} to be refused"), async || {
        let words = ["ACL", "LOG"].map(str::to_owned);
        let log = format!("{:?}", acl(&mut eyes.clone(), &words).await);
        if log.contains(&format!("\"{command}\"")) && log.contains("\"breakwater\"") { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn j23_the_rights_of_the_readme_are_enough_and_none_of_them_too_many() {
    let mut redis = OwnRedis::start(&[]).await;
    let mut eyes = connection(&redis.url).await;
    let rights = rights();
    acl(&mut eyes, &rights).await;
    redis.url = redis.url.replace("redis://", "redis://breakwater:hunter2@");
    let rig = Rig::on(redis, "j23", unlimited(), Shape { ingest: 1, work: 2, sink: 1 }).await;
    let (own, storm) = (rig.own(20), rig.storm());
    let all = [&own[..], &storm].concat();
    rig.case.post(&all).await;
    rig.told(20, 1, Some(15)).await;
    acl(&mut eyes, &["FLUSHALL".to_owned()]).await; // the log is read again
    rig.case.post(&all).await;
    rig.told(20, 2, Some(30)).await;
    let commands: Vec<&str> = rights.iter().filter_map(|word| word.strip_prefix('+')).collect();
    assert!(commands.len() > 5 && commands.iter().all(|command| !command.contains('@')), "{commands:?}");
    let mut posts = 2;
    for command in commands {
        let change = |sign: &str| ["ACL", "SETUSER", "breakwater", &format!("{sign}{command}")].map(str::to_owned);
        acl(&mut eyes, &["ACL", "LOG", "RESET"].map(str::to_owned)).await;
        acl(&mut eyes, &change("-")).await;
        acl(&mut eyes, &["SCRIPT", "FLUSH"].map(str::to_owned)).await;
        // one that is new, and none of ours to count: its namespace does not exist
        let fresh = [alert(&format!("Fresh{posts}"), "nowhere", "p")];
        rig.case.post(&[&all[..], &fresh].concat()).await;
        posts += 1;
        is_refused(&eyes, command).await;
        acl(&mut eyes, &change("+")).await;
        rig.told(20, posts, Some(15 * posts)).await;
    }
    for work in &rig.stages.works {
        is_silent_about(work, "hunter2").await;
    }
}
