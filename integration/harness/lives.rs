//! The lives of all objects of a namespace as a watch shows them: what must hold at every moment, and not only at the end.

use super::case::{count, name};
use super::kube::Kube;
use futures::StreamExt;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;

/// Phases after which nothing happens any more.
const FINAL: [&str; 5] = ["Completed", "Failed", "TimedOut", "Skipped", "Cancelled"];

/// Whether an object is in no final phase.
pub fn is_live(object: &Value) -> bool {
    object["status"]["overallPhase"].as_str().is_none_or(|phase| !FINAL.contains(&phase))
}

/// One object, as far as it matters here.
#[derive(Clone, Debug)]
struct Life {
    /// Of whom there is one at a time: a fingerprint, or a storm's group.
    whose: String,
    storm: bool,
    live: bool,
    count: u64,
}

#[derive(Debug, Default)]
struct Seen {
    /// What is there, by name.
    objects: BTreeMap<String, Life>,
    /// What a list that has begun has shown so far.
    listing: BTreeMap<String, Life>,
    wrong: BTreeSet<String>,
}

/// Watches until it is dropped.
pub struct Lives {
    seen: Arc<Mutex<Seen>>,
    _task: JoinSet<()>,
}

impl Lives {
    /// Begins to watch; a watch that breaks is taken up again.
    pub fn watch(kube: &Kube, namespace: &str) -> Self {
        let (api, seen, mut task) = (kube.requests(namespace), Arc::<Mutex<Seen>>::default(), JoinSet::new());
        let notes = Arc::clone(&seen);
        task.spawn(async move {
            let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
            while let Some(event) = events.next().await {
                if let Ok(event) = event {
                    notes.lock().expect("nobody panics while noting").take(event);
                }
            }
        });
        Self { seen, _task: task }
    }

    /// What was seen that must never be.
    pub fn wrong(&self) -> BTreeSet<String> {
        self.seen.lock().expect("nobody panics while noting").wrong.clone()
    }

    /// Names of the live objects that are no storms, as last seen.
    pub fn singles(&self) -> Vec<String> {
        let seen = self.seen.lock().expect("nobody panics while noting");
        let single = |life: &Life| life.live && !life.storm;
        seen.objects.iter().filter(|(_, life)| single(life)).map(|(name, _)| name.clone()).collect()
    }
}

impl Seen {
    fn take(&mut self, event: Event<DynamicObject>) {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                let (name, life) = read(object);
                self.listing.insert(name, life);
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing);
                for gone in self.objects.keys().filter(|name| !listed.contains_key(*name)) {
                    self.wrong.insert(format!("{gone} is gone, and nobody deleted it"));
                }
                listed.iter().for_each(|(name, life)| self.compare(name, life));
                self.objects = listed;
                let names: Vec<String> = self.objects.keys().cloned().collect();
                names.iter().for_each(|name| self.alone(name));
            }
            Event::Apply(object) => {
                let (name, life) = read(object);
                self.compare(&name, &life);
                self.objects.insert(name.clone(), life);
                self.alone(&name);
            }
            Event::Delete(object) => {
                self.wrong.insert(format!("{} was deleted, and by nobody of ours", read(object).0));
            }
        }
    }

    /// No count falls, and what is final stays so.
    fn compare(&mut self, name: &str, now: &Life) {
        let Some(before) = self.objects.get(name) else { return };
        if now.count < before.count {
            self.wrong.insert(format!("the count of {name} fell from {} to {}", before.count, now.count));
        }
        if now.live && !before.live {
            self.wrong.insert(format!("{name} was final and is live again"));
        }
    }

    /// A fingerprint has one live object of its own, a group one live storm.
    fn alone(&mut self, name: &str) {
        let Some(mine) = self.objects.get(name).filter(|life| life.live) else { return };
        let same = |other: &Life| other.live && other.storm == mine.storm && other.whose == mine.whose;
        let names: Vec<&String> = self.objects.iter().filter(|(_, other)| same(other)).map(|(name, _)| name).collect();
        if names.len() > 1 {
            let told = format!("live at once for {}: {names:?}", mine.whose);
            self.wrong.insert(told);
        }
    }
}

fn read(object: DynamicObject) -> (String, Life) {
    let object = serde_json::to_value(object).expect("an object is JSON");
    let storm = object["spec"]["isStorm"] == true;
    let whose = match storm {
        true => &object["metadata"]["annotations"]["breakwater.io/group"],
        false => &object["spec"]["signalFingerprint"],
    };
    let whose = whose.as_str().unwrap_or_default().to_owned();
    (name(&object).to_owned(), Life { whose, storm, live: is_live(&object), count: count(&object) })
}
