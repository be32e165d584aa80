//! The whole of Breakwater on servers of a test's own, of which everything may be broken. Each replica keeps its door's
//! address, and one that has ended is started again, as Kubernetes does.

use super::Scope;
use super::case::Case;
use super::deployment::{Deployment, Shape};
use super::load::Book;
use super::oracle::{Evidence, Outcomes};
use super::process::free_port;
use super::product::{Product, Setting};
use super::servers::{ApiPlan, OwnApi, OwnKafka, OwnRedis};
use super::wait::{until, until_ok};
use serde_json::Value;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long everything may take to be as it shall be once nothing is broken any more: the longest rest of a backoff,
/// and a rewind of each partition.
const LIVENESS: Duration = Duration::from_secs(120);

/// One process of a stage.
pub struct Replica {
    /// `ingest`, `work` or `sink`.
    pub stage: &'static str,
    /// What it runs as.
    pub product: Product,
    /// Whether it shall run.
    pub wanted: bool,
    /// Whether it is frozen.
    pub asleep: bool,
    setting: Setting,
}

impl Replica {
    fn start(stage: &'static str, setting: Setting) -> Self {
        let product = Product::spawn(stage, &setting);
        Self { stage, product, wanted: true, asleep: false, setting }
    }

    /// Starts it in its place, whether or not it can be ready.
    pub fn again(&mut self) {
        self.product = Product::spawn(self.stage, &self.setting);
        self.wanted = true;
        self.asleep = false;
    }

    /// Ends it at once; it stays away.
    pub fn kill(&mut self) {
        self.wanted = false;
        self.product.process.kill();
    }

    /// Asks it to end, as Kubernetes does; it stays away.
    pub fn dismiss(&mut self) {
        self.wanted = false;
        self.product.process.terminate();
    }

    /// Freezes it.
    pub fn sleep(&mut self) {
        self.asleep = true;
        self.product.process.stop();
    }

    /// Wakes it.
    pub fn wake(&mut self) {
        self.asleep = false;
        self.product.process.cont();
    }
}

/// Each stand is seven servers and more, most of which end again and again: two at once, or none of them is in time.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Everything.
pub struct Stand {
    _turn: SemaphorePermit<'static>,
    /// Eyes and hands.
    pub case: Case,
    /// The broker.
    pub kafka: OwnKafka,
    /// Memory.
    pub redis: OwnRedis,
    /// Where objects live.
    pub api: OwnApi,
    /// All stages.
    pub replicas: Vec<Replica>,
    /// How often one ended that nobody had ended, and was started again.
    pub fell: usize,
    seed: u64,
    _stages: Deployment,
}

impl Stand {
    /// Starts the servers and so many replicas; the seed is told when something is wrong.
    pub async fn start(scenario: &str, overlay: Value, shape: Shape, seed: u64) -> Self {
        let turn = TURNS.acquire().await.expect("nobody closes it");
        let plan = ApiPlan::default();
        let (kafka, redis, api) = tokio::join!(OwnKafka::start(&[]), OwnRedis::start(&[]), OwnApi::start(&plan));
        let scope = Scope::new(scenario);
        let mut setting = scope.setting(overlay);
        (setting.kafka, setting.redis, setting.kubeconfig) =
            (kafka.brokers.clone(), redis.url.clone(), api.kubeconfig.clone());
        let mut stages = Deployment::of(scope, setting, Shape::NONE).await;
        stages.notice_death_quickly();
        let mut case = Case::of(scenario, &["shop"], &stages).await;
        let mut replicas = Vec::new();
        for _ in 0..shape.ingest {
            let address = format!("127.0.0.1:{}", free_port());
            replicas.push(Replica::start("ingest", stages.ingest.clone().with("BREAKWATER_LISTEN", &address)));
            case.doors.push(address);
        }
        replicas.extend((0..shape.work).map(|_| Replica::start("work", stages.work.clone())));
        replicas.extend((0..shape.sink).map(|_| Replica::start("sink", stages.sink.clone())));
        let mut stand = Self { _turn: turn, case, kafka, redis, api, replicas, fell: 0, seed, _stages: stages };
        stand.ready().await;
        stand
    }

    /// Where the load's objects are.
    pub fn shop(&self) -> String {
        self.case.namespace("shop")
    }

    /// The replicas of a stage that run and are awake, by their place.
    pub fn of(&self, stage: &str) -> Vec<usize> {
        let fit = |replica: &Replica| replica.stage == stage && replica.wanted && !replica.asleep;
        (0..self.replicas.len()).filter(|place| fit(&self.replicas[*place])).collect()
    }

    /// Starts again what has ended by itself: a stage whose servers were away at its boot says so and ends.
    pub fn tend(&mut self) {
        for replica in &mut self.replicas {
            if replica.wanted && replica.product.process.ended().is_some() {
                eprintln!("{} had ended: {}", replica.stage, last(&replica.product));
                replica.again();
                self.fell += 1;
            }
        }
    }

    /// Lets time pass, and starts again what ends meanwhile.
    pub async fn pass(&mut self, time: Duration) {
        let begun = std::time::Instant::now();
        until(time + LIVENESS, "time to pass", async || {
            self.tend();
            (begun.elapsed() >= time).then_some(())
        })
        .await;
    }

    /// Waits until every replica that shall run is ready.
    pub async fn ready(&mut self) {
        let what = format!("all replicas to be ready, seed {}", self.seed);
        until_ok(LIVENESS, &what, async || {
            self.tend();
            for replica in self.replicas.iter().filter(|replica| replica.wanted) {
                match super::http::get(&replica.product.admin, "/readyz").await {
                    Ok(page) if page.status == 200 => {}
                    Ok(page) => return Err(format!("{}: {}", replica.stage, page.text())),
                    Err(error) => return Err(format!("{}: {error}", replica.stage)),
                }
            }
            Ok(())
        })
        .await;
    }

    /// Waits until the judges have read so many records.
    pub async fn placed(&self, records: usize) {
        until_ok(LIVENESS, &format!("{records} records to be read"), async || {
            let mut read = 0.0;
            for work in self.of("work") {
                read += self.replicas[work].product.metric("breakwater_work_records_consumed_total", &[]).await;
            }
            if read >= records as f64 { Ok(()) } else { Err(format!("{read} are")) }
        })
        .await;
    }

    /// How far the groups are, for a failure's message.
    async fn standing(&self) -> String {
        let [work, sink] = &self.case.groups;
        let alerts = self.case.kafka.lag(work, &self.case.alerts).await;
        let remediations = self.case.kafka.lag(sink, &self.case.remediations).await;
        let mut told = format!("work lags by {alerts} records, sink by {remediations}");
        for replica in self.replicas.iter().filter(|replica| replica.stage == "work") {
            let page = super::http::get(&replica.product.admin, "/metrics").await;
            let page = page.map(|page| page.text()).unwrap_or_default();
            let ours = |line: &&str| line.starts_with("breakwater_work") && !line.contains("_bucket");
            told.extend(page.lines().filter(ours).flat_map(|line| ["\n    ", line]));
        }
        told
    }

    /// Waits until everything that is in the log has had its effect. A storm of which nobody is left holds its partition
    /// of `remediations` uncommitted for minutes, so the sinks are asked what they have in hand.
    async fn settled(&mut self) {
        let begun = std::time::Instant::now();
        until_ok(LIVENESS, "the judges to commit and the sinks to have nothing in hand", async || {
            self.tend();
            let [work, sink] = &self.case.groups;
            let (mut in_hand, mut dormant) = (0.0, 0.0);
            for place in self.of("sink") {
                let sink = &self.replicas[place].product;
                in_hand += sink.metric("breakwater_sink_records_in_flight", &[]).await;
                dormant += sink.metric("breakwater_sink_dormant_storms", &[]).await;
            }
            let of_work = self.case.kafka.lag(work, &self.case.alerts).await;
            let of_sink = self.case.kafka.lag(sink, &self.case.remediations).await;
            let quiet = of_work == 0 && in_hand == dormant && (of_sink == 0 || dormant > 0.0);
            if quiet && begun.elapsed() > Duration::from_secs(1) {
                Ok(())
            } else {
                Err(format!("work lags by {of_work}, sink by {of_sink}; {in_hand} in hand, {dormant} of them dormant"))
            }
        })
        .await;
    }

    /// What became of a load, once everything is as the log says; and a moment later it still is.
    pub async fn judge(&mut self, book: &Book) -> Outcomes {
        self.ready().await;
        let what = format!("each of {} alerts to have its outcome, seed {}", book.promises.len(), self.seed);
        let shop = self.shop();
        until_ok(LIVENESS, &what, async || {
            self.tend();
            let Err(wrong) = Evidence::gather(&self.case, &shop).await.judge(book) else { return Ok(()) };
            let standing = self.standing().await;
            tokio::time::sleep(Duration::from_secs(1)).await; // to look costs more than what is looked at
            Err(format!("{wrong}\n{standing}"))
        })
        .await;
        self.settled().await;
        let outcomes = Evidence::gather(&self.case, &shop).await.judge(book);
        outcomes.unwrap_or_else(|wrong| panic!("it was well, and is no more, seed {}: {wrong}", self.seed))
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed is {}: just chaos --seed {}", self.seed, self.seed);
        }
    }
}

fn last(product: &Product) -> String {
    let printed = product.process.printed();
    let lines: Vec<&str> = printed.lines().collect();
    lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(" | ")
}
