//! The contract of memory, asked of a real Redis; and what Redis alone promises: lifetimes, commands, prefixes.

use breakwater::memory::{Memory as _, local::Local, redis::Redis};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    contract,
    harness::{
        Scope,
        servers::{OwnRedis, connection},
        told,
    },
};

fn of(prefix: &str) -> Redis {
    Redis::open(&told("BREAKWATER_TEST_REDIS"), prefix).expect("a URL of Redis")
}

/// The promises, each under a prefix of its own.
macro_rules! promises {
    ($($name:ident),* $(,)?) => { $(
        #[tokio::test]
        async fn $name() {
            contract::$name(&of(&Scope::new("contract").name)).await;
        }
    )* };
}

promises!(
    a_change_is_made_only_upon_what_was_seen,
    a_lost_answer_is_given_again,
    a_guard_holds_back_all_or_nothing,
    a_reader_is_answered_only_by_the_memory_it_wrote_to,
    any_bytes_are_kept,
    keys_of_one_call_are_judged_each_for_itself,
    what_is_due_is_told_in_order,
    keys_of_other_kinds_and_shards_are_others,
    it_answers_a_probe,
);

#[test]
fn j24_any_history_is_answered_alike_by_both_memories() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cases = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let alike = |calls: Vec<contract::Call>| {
        let (local, redis) = runtime.block_on(async {
            let redis = of(&Scope::new("j24").name);
            (contract::answers(&Local::default(), &calls).await, contract::answers(&redis, &calls).await)
        });
        prop_assert_eq!(local, redis);
        Ok(())
    };
    TestRunner::new(cases).run(&contract::histories(), alike).unwrap();
}

#[tokio::test]
async fn j15_two_prefixes_never_meet() {
    let (one, two) = (of(&Scope::new("j15a").name), of(&Scope::new("j15b").name));
    contract::a_change_is_made_only_upon_what_was_seen(&one).await;
    contract::what_is_due_is_told_in_order(&one).await;
    contract::a_change_is_made_only_upon_what_was_seen(&two).await;
    contract::what_is_due_is_told_in_order(&two).await;
}

#[tokio::test]
async fn j16_j22_every_key_has_a_lifetime_and_no_command_walks_the_keyspace() {
    let own = OwnRedis::start(&[]).await;
    let redis = Redis::open(&own.url, "j16").unwrap().keeping(std::time::Duration::from_secs(29));
    contract::keys_of_one_call_are_judged_each_for_itself(&redis).await;
    contract::what_is_due_is_told_in_order(&redis).await;
    contract::keys_of_other_kinds_and_shards_are_others(&redis).await;
    let calls: Vec<_> = (0..6).map(|number| contract::Call::Swap(vec![(number, 0, 1, Some(7))])).collect();
    contract::answers(&redis, &calls).await;
    let mut eyes = own.connection().await;
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut eyes).await.unwrap();
    for walking in ["keys", "scan", "smembers", "hgetall", "flushall", "flushdb"] {
        assert!(!stats.contains(&format!("cmdstat_{walking}:")), "{walking} was called:\n{stats}");
    }
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut eyes).await.unwrap();
    assert!(keys.len() > 10 && keys.iter().all(|key| key.starts_with(b"j16{")), "{} keys", keys.len());
    for key in keys {
        let lives: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut eyes).await.unwrap();
        assert!((1..=60_000).contains(&lives), "{} lives {lives} ms", String::from_utf8_lossy(&key));
    }
}

#[tokio::test]
async fn j07_scripts_that_redis_has_forgotten_are_loaded_again() {
    let (memory, mut eyes) = (of(&Scope::new("j07").name), connection(&told("BREAKWATER_TEST_REDIS")).await);
    for turn in 0..5_u8 {
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut eyes).await.unwrap();
        let calls = [contract::Call::Swap(vec![(turn, 0, 1, None)])];
        assert_eq!(contract::answers(&memory, &calls).await, ["[true]"]);
    }
}

#[tokio::test]
async fn a_redis_that_is_away_is_said_to_be_away_and_works_again_when_it_is_back() {
    let mut own = OwnRedis::start(&[]).await;
    let memory = Redis::open(&own.url, "away").unwrap();
    memory.probe().await.unwrap();
    own.server.kill();
    let said = memory.probe().await.unwrap_err().to_string();
    assert!(!said.contains("127.0.0.1"), "no address: {said}");
    own.server.restart().await;
    crate::harness::wait::until_ok(std::time::Duration::from_secs(20), "memory to answer", async || {
        memory.probe().await
    })
    .await;
    contract::a_lost_answer_is_given_again(&memory).await;
}
