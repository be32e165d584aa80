//! A broker in our own process, for `demo`: the real client talks to it over a real socket on the loopback interface.
//!
//! It keeps 5 MiB a partition, has no clock of its own (event time is our producer's) and cannot look up times.

use std::sync::mpsc;

use rdkafka::mocking::MockCluster;

use super::{KafkaError, Settings};

/// The broker. It lives as long as this value; the clients are to be gone before.
#[derive(Debug)]
pub struct InProcess {
    settings: Settings,
    /// Closed when this value is dropped: that ends the broker's thread.
    _alive: mpsc::SyncSender<()>,
}

impl InProcess {
    /// One broker with these topics, each with so many partitions.
    pub fn start(topics: &[(&str, i32)]) -> Result<Self, KafkaError> {
        let topics: Vec<_> = topics.iter().map(|(name, partitions)| ((*name).to_owned(), *partitions)).collect();
        let (alive, ended) = mpsc::sync_channel::<()>(0);
        let (tell, told) = mpsc::sync_channel(1);
        // The broker may not move between threads: one thread makes it, holds it and ends it.
        let thread = std::thread::Builder::new().name("in-process kafka".to_owned()).spawn(move || {
            let made = make(&topics);
            let address = made.as_ref().map(MockCluster::bootstrap_servers).map_err(Clone::clone);
            if tell.send(address).is_ok() && ended.recv().is_err() {
                drop(made);
            }
        });
        thread.map_err(|error| KafkaError::Fatal(format!("no thread for the in-process broker: {error}")))?;
        let brokers =
            told.recv().unwrap_or_else(|_| Err(KafkaError::Fatal("the in-process broker died".to_owned())))?;
        Ok(Self { settings: Settings::in_process(brokers), _alive: alive })
    }

    /// How to reach it.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }
}

fn make(
    topics: &[(String, i32)],
) -> Result<MockCluster<'static, rdkafka::producer::DefaultProducerContext>, KafkaError> {
    let cluster = MockCluster::new(1).map_err(|error| KafkaError::of(&error, ""))?;
    for (name, partitions) in topics {
        cluster.create_topic(name, *partitions, 1).map_err(|error| KafkaError::of(&error, name))?;
    }
    Ok(cluster)
}
