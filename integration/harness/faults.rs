//! What breaks, drawn from a seed: processes killed, frozen and asked to end, servers that go, come back empty or old,
//! alone and in pairs, while a load goes on.

use super::kube::Kube;
use super::lives::Lives;
use super::stand::{Replica, Stand};
use super::wait::until_ok;
use fastrand::Rng;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long Redis may take to do as it is told.
const OBEYS: Duration = Duration::from_secs(60);

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A replica is killed.
    Kill(&'static str),
    /// A replica is asked to end.
    Terminate(&'static str),
    /// A replica is frozen, perhaps for longer than its session.
    Sleep(&'static str),
    /// All judges but one end, and come back.
    Fewer,
    /// Redis is killed and comes back with nothing.
    RedisGone,
    /// Redis forgets everything.
    RedisFlushed,
    /// Redis accepts and says nothing.
    RedisFrozen,
    /// Redis is killed and comes back with what it knew a while ago.
    RedisOld,
    /// The broker is killed and comes back.
    BrokerGone,
    /// The API server is killed and comes back.
    ApiGone,
    /// The API server accepts and says nothing.
    ApiFrozen,
}

impl Fault {
    /// All of them; what is listed more than once comes more often.
    pub const ALL: [Self; 17] = [
        Self::Kill("work"),
        Self::Kill("work"),
        Self::Kill("sink"),
        Self::Kill("sink"),
        Self::Kill("ingest"),
        Self::Terminate("work"),
        Self::Terminate("sink"),
        Self::Sleep("ingest"),
        Self::Sleep("work"),
        Self::Sleep("sink"),
        Self::Fewer,
        Self::RedisGone,
        Self::RedisFlushed,
        Self::RedisFrozen,
        Self::RedisOld,
        Self::ApiGone,
        Self::ApiFrozen,
    ];

    /// What it befalls: two faults of one subject are no pair.
    fn subject(self) -> &'static str {
        match self {
            Self::Kill(stage) | Self::Terminate(stage) | Self::Sleep(stage) => stage,
            Self::Fewer => "work",
            Self::RedisGone | Self::RedisFlushed | Self::RedisFrozen | Self::RedisOld => "redis",
            Self::BrokerGone => "kafka",
            Self::ApiGone | Self::ApiFrozen => "api",
        }
    }

    /// One fault, or two at once. The broker takes its seconds to come back: it goes rarely.
    pub fn draw(chance: &mut Rng) -> Vec<Self> {
        let one = |chance: &mut Rng| match chance.u32(..40) {
            0 => Self::BrokerGone,
            _ => Self::ALL[chance.usize(..Self::ALL.len())],
        };
        let (first, second) = (one(chance), one(chance));
        match chance.bool() && first.subject() != second.subject() {
            true => vec![first, second],
            false => vec![first],
        }
    }
}

impl Stand {
    /// Breaks and mends for so long; what was broken, in its order.
    pub async fn storm_and_stress(&mut self, time: Duration, chance: &mut Rng) -> Vec<Fault> {
        let (begun, mut all) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            self.pass(Duration::from_millis(chance.u64(1000..2500))).await;
            let faults = Fault::draw(chance);
            eprintln!("{:5.1} s: {faults:?}", begun.elapsed().as_secs_f64());
            let mut struck = Vec::new();
            for fault in &faults {
                struck.push((*fault, self.strike(*fault, chance).await));
            }
            self.pass(Duration::from_millis(chance.u64(100..2500))).await;
            // servers first: a stage that ends wants to say goodbye to them
            struck.sort_by_key(|(fault, _)| matches!(fault.subject(), "ingest" | "work" | "sink"));
            for (fault, victims) in struck {
                self.mend(fault, &victims).await;
            }
            all.extend(faults);
        }
        all
    }

    /// Breaks something; which replicas it befell.
    pub async fn strike(&mut self, fault: Fault, chance: &mut Rng) -> Vec<usize> {
        let some = chance.choice(self.of(fault.subject()));
        match fault {
            Fault::Kill(_) => return self.befall(some, Replica::kill),
            Fault::Terminate(_) => return self.befall(some, Replica::dismiss),
            Fault::Sleep(_) => return self.befall(some, Replica::sleep),
            Fault::Fewer => {
                let all = self.of("work").into_iter().skip(1);
                return self.befall(all, Replica::dismiss);
            }
            Fault::RedisFlushed => self.redis("FLUSHALL").await,
            Fault::RedisOld => self.redis("SAVE").await,
            Fault::RedisGone => {
                self.redis.server.kill();
                self.redis.lose_dump();
            }
            Fault::RedisFrozen => self.redis.server.stop(),
            Fault::BrokerGone => self.kafka.server.kill(),
            Fault::ApiGone => self.api.server.kill(),
            Fault::ApiFrozen => self.api.server.stop(),
        }
        Vec::new()
    }

    /// Brings back what a fault has taken.
    pub async fn mend(&mut self, fault: Fault, victims: &[usize]) {
        match fault {
            Fault::Kill(_) => drop(self.befall(victims.iter().copied(), Replica::again)),
            Fault::Terminate(_) | Fault::Fewer => {
                for victim in victims {
                    let replica = &mut self.replicas[*victim];
                    let end = replica.product.process.exit(Duration::from_secs(30)).await;
                    if !end.success() {
                        eprintln!("{} was asked to end, and did so with {end}", replica.stage);
                    }
                    replica.again();
                }
            }
            Fault::Sleep(_) => drop(self.befall(victims.iter().copied(), Replica::wake)),
            Fault::RedisFlushed => {}
            Fault::RedisFrozen => self.redis.server.cont(),
            Fault::RedisGone | Fault::RedisOld => self.redis.server.restart().await,
            Fault::BrokerGone => self.kafka.server.restart().await,
            Fault::ApiGone => self.api.server.restart().await,
            Fault::ApiFrozen => self.api.server.cont(),
        }
    }

    fn befall(&mut self, whom: impl IntoIterator<Item = usize>, what: impl Fn(&mut Replica)) -> Vec<usize> {
        let whom: Vec<usize> = whom.into_iter().collect();
        whom.iter().for_each(|place| what(&mut self.replicas[*place]));
        whom
    }

    /// Asked until it obeys: on a busy machine an answer may come late.
    async fn redis(&self, word: &str) {
        until_ok(OBEYS, &format!("redis to obey {word}"), async || {
            let mut eyes = self.redis.connection().await;
            redis::cmd(word).query_async::<redis::Value>(&mut eyes).await
        })
        .await;
    }

    /// Kills every server and every replica at once, and starts all of them in any order, each as soon as the one
    /// before has begun.
    pub async fn black_out(&mut self, chance: &mut Rng) {
        self.replicas.iter_mut().for_each(|replica| replica.product.process.kill());
        for server in [&mut self.kafka.server, &mut self.redis.server, &mut self.api.server, &mut self.api.etcd] {
            server.kill();
        }
        let mut order: Vec<usize> = (0..self.replicas.len() + 4).collect();
        chance.shuffle(&mut order);
        for one in order {
            match one {
                0 => self.kafka.server.begin(),
                1 => self.redis.server.begin(),
                2 => self.api.etcd.begin(),
                3 => self.api.server.begin(),
                replica => self.replicas[replica - 4].again(),
            }
        }
        for server in [&mut self.redis.server, &mut self.api.etcd, &mut self.kafka.server, &mut self.api.server] {
            server.up().await;
        }
        self.ready().await;
    }
}

/// Brings objects to their end for ever, as whoever remediates does; an API server that is away is asked another time.
pub async fn remediate(kube: Kube, shop: String, lives: Arc<Lives>, mut chance: Rng) {
    let (requests, how) =
        (kube.requests(&shop), PatchParams { field_manager: Some("remediator".to_owned()), ..PatchParams::default() });
    loop {
        tokio::time::sleep(Duration::from_millis(chance.u64(100..600))).await; // the pace of whoever remediates
        let Some(one) = chance.choice(lives.singles()) else { continue };
        let phase = ["Completed", "Failed", "Skipped"][chance.usize(..3)];
        let phase = Patch::Merge(json!({ "status": { "overallPhase": phase } }));
        let asked = requests.patch_status(&one, &how, &phase);
        let _away = tokio::time::timeout(Duration::from_secs(2), asked).await;
    }
}
