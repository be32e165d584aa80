//! Shows the program with no server around: an own Kafka and an own memory in this process, objects as YAML files,
//! real HTTP in between. It sends itself a mixed load and tells what came of it.

mod load;
mod report;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    Demo,
    addresses::Running,
    entrance::Entrance,
    house::{House, Manner},
    say, stages,
};
use crate::{
    kafka::in_process::InProcess,
    memory::local::Local,
    pipeline::Pipeline,
    sink::{folder::Folder, live::Sight},
    telemetry::health::Health,
    work::namespaces::Namespaces,
};

/// The in-process broker keeps 5 MiB a partition, and the more partitions, the more idle questions.
const PARTITIONS: i32 = 4;
/// How long anything may take that takes a second or three.
const PATIENCE: Duration = Duration::from_secs(60);
const FALLBACK_NAMESPACE: &str = "breakwater";

/// What a demonstration has at hand while it runs.
struct Show {
    door: SocketAddr,
    out: PathBuf,
    healths: Vec<Health>,
    serve: bool,
    stop: CancellationToken,
}

/// Starts everything in this process, sends itself a mixed load, and tells what came of it.
pub(crate) async fn demo(
    asked: Demo,
    door: SocketAddr,
    process: Running,
    pipeline: Pipeline,
) -> Result<(), super::Failure> {
    let out = asked.out.unwrap_or_else(|| std::env::temp_dir().join(format!("breakwater-demo-{}", std::process::id())));
    let pipeline = Arc::new(pipeline);
    say("breakwater demo: no server is needed; its own Kafka and memory run in this process\n")?;
    let topics = &pipeline.topics;
    let broker = InProcess::start(&[
        (&topics.alerts, PARTITIONS),
        (&topics.remediations, PARTITIONS),
        (&topics.dead_letters, 1),
    ])?;
    let mut house = House::open("demo", process, Manner { filter: "warn", any_port: !asked.serve })?;
    let (door, healths) = Box::pin(furnish(&mut house, &broker, &pipeline, free(door, asked.serve), &out)).await?;
    let show = Show { door, out: out.clone(), healths, serve: asked.serve, stop: house.stop.clone() };
    house.tasks.spawn("demo", async move { Ok(show.run().await.map_err(|failure| format!("{failure:?}"))?) });
    house.run().await?;
    drop(broker);
    Ok(())
}

/// The asked-for address if nobody has it, else any free port: a newcomer's 8080 may be taken.
fn free(door: SocketAddr, serve: bool) -> SocketAddr {
    let taken = std::net::TcpListener::bind(door).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    if taken && !serve { SocketAddr::new(door.ip(), 0) } else { door }
}

/// The three stages as they run anywhere, on an own broker, an own memory and a folder.
async fn furnish(
    house: &mut House,
    broker: &InProcess,
    pipeline: &Arc<Pipeline>,
    door: SocketAddr,
    out: &std::path::Path,
) -> anyhow::Result<(SocketAddr, Vec<Health>)> {
    let settings = broker.settings();
    let bound = stages::add_ingest(house, &settings, pipeline, Entrance::open(door)).await?;

    let memory = Local::default();
    let (clock, stop) = (memory.clone(), house.stop.clone());
    house.tasks.spawn("demo: memory", async move {
        let began = Instant::now();
        while stop.run_until_cancelled(sleep(Duration::from_secs(1))).await.is_some() {
            clock.advance(began.elapsed());
        }
        Ok(())
    });
    let work = house.stage("work");
    let bench = (memory, Namespaces::default(), FALLBACK_NAMESPACE.to_owned());
    stages::add_work(house, &settings, pipeline, bench, work.clone(), std::future::ready(()))?;

    let folder = Folder::open(out).await.with_context(|| format!("{} cannot be written to", out.display()))?;
    let (show, sights) = mpsc::channel::<Sight>(1000);
    for sight in folder.sights().await? {
        show.send(sight).await?;
    }
    let stop = house.stop.clone();
    house.tasks.spawn("demo: folder", async move {
        stop.cancelled().await;
        drop(show); // until then the index of objects stays open
        Ok(())
    });
    let sink = house.stage("sink");
    stages::add_sink(house, &settings, pipeline, (folder, sights, FALLBACK_NAMESPACE), sink.clone())?;
    Ok((bound, vec![work, sink]))
}

impl Show {
    async fn run(self) -> Result<(), super::Failure> {
        let told = self.stop.run_until_cancelled(self.play()).await;
        let end = told.unwrap_or(Ok(()));
        if self.serve && end.is_ok() {
            say(format!(
                "\nstill serving: POST Alertmanager webhooks to http://{}/api/v1/signals/prometheus; Ctrl-C ends it\n",
                self.door
            ))?;
            self.stop.cancelled().await;
        }
        self.stop.cancel();
        end
    }

    async fn play(&self) -> Result<(), super::Failure> {
        say("starting: the consumer groups take about three seconds to form ")?;
        self.until(|| async { Ok(self.healths.iter().all(Health::is_ready)) })
            .await
            .context("the stages did not start")?;
        say("ready\n")?;
        let before = report::objects(&self.out).await?.len();
        for act in load::acts() {
            say(format!("sending {}\n", act.what))?;
            for body in &act.bodies {
                load::post(self.door, body).await?;
            }
            say(format!("  waiting for {} ", act.expects(before)))?;
            let expected = &act;
            let seen = self.until(|| async { Ok(expected.is_met(before, &report::objects(&self.out).await?)) }).await;
            seen.with_context(|| format!("what was sent did not become {}", act.expects(before)))?;
            say("seen\n")?;
        }
        let objects = report::objects(&self.out).await?;
        say(report::table(&objects, &self.out))
    }

    /// Waits for a condition, with a dot for each second.
    async fn until<F>(&self, mut holds: impl FnMut() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<bool>>,
    {
        let began = Instant::now();
        let mut dots = 0;
        while !holds().await? {
            if began.elapsed() > PATIENCE {
                anyhow::bail!("gave up after {} s", PATIENCE.as_secs());
            }
            if began.elapsed().as_secs() > dots {
                dots += 1;
                drop(say(". "));
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}
