//! A load of which every alert has a number, written down before it is sent. What got a 2xx is an obligation; what got a
//! 503, or no answer, is sent again, as Alertmanager does. One seed, one load: only its timing is the machine's.

use super::alerts::{alert, resolved, webhook, with};
use super::case::PROMETHEUS;
use super::http::{self, Answer};
use fastrand::Rng;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

/// Alerts that are nobody's kin, shared by all senders.
const STRANGERS: usize = 240;
/// How long a sender waits before it repeats what was refused.
const AGAIN: Duration = Duration::from_millis(100);

/// Where the door said that an alert stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Hex, as the door answered.
    pub fingerprint: String,
    /// Its partition of `alerts`.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
}

/// One alert that was answered with a 2xx.
#[derive(Clone, Debug)]
pub struct Promise {
    /// Its number; it stands in the alert's annotations as well.
    pub id: u64,
    /// The alert as it was sent.
    pub bytes: String,
    /// Where it stands; nothing if it was set aside.
    pub place: Option<Place>,
}

/// What was promised, and how often something had to be said again.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// Every alert of every request that got a 2xx.
    pub promises: Vec<Promise>,
    /// Requests that were refused or lost, and were repeated.
    pub repeated: u64,
    /// Answers that a sender must never see.
    pub wrong: Vec<String>,
}

/// Senders at work.
pub struct Load {
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
    senders: JoinSet<()>,
}

/// What a load is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All chance is drawn from it.
    pub seed: u64,
    /// How many send at once.
    pub senders: u64,
    /// How long a sender rests between two requests, on average.
    pub pace: Duration,
    /// Whether alerts that nobody can use are among them.
    pub bad: bool,
}

impl Load {
    /// Begins to send alerts about a namespace to these doors, one after another as they answer.
    pub fn start(plan: &Plan, namespace: &str, doors: &[String]) -> Self {
        let (book, stop, mut senders) = (Arc::default(), Arc::default(), JoinSet::new());
        for number in 0..plan.senders {
            let sender = Sender {
                number,
                sent: 0,
                storms: Vec::new(),
                chance: Rng::with_seed(plan.seed.wrapping_mul(31).wrapping_add(number)),
                plan: plan.clone(),
                namespace: namespace.to_owned(),
                doors: doors.to_vec(),
                book: Arc::clone(&book),
            };
            senders.spawn(sender.run(Arc::clone(&stop)));
        }
        Self { book, stop, senders }
    }

    /// How many alerts were promised so far.
    pub fn promised(&self) -> usize {
        self.book.lock().expect("nobody panics while noting").promises.len()
    }

    /// Ends the load: what is under way is sent until it is taken. The doors must be open.
    pub async fn end(mut self) -> Book {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.senders.join_next().await {
            ended.expect("a sender does not panic");
        }
        self.book.lock().expect("nobody panics while noting").clone()
    }
}

/// One of several that send; in some of what they say they meet.
struct Sender {
    number: u64,
    sent: u64,
    /// Storms that it has begun, by name, with the number of their kin.
    storms: Vec<(String, usize)>,
    chance: Rng,
    plan: Plan,
    namespace: String,
    doors: Vec<String>,
    book: Arc<Mutex<Book>>,
}

impl Sender {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let alerts = self.think();
            self.send(alerts).await;
            let rest = self.plan.pace.mul_f64(2.0 * self.chance.f64());
            tokio::time::sleep(rest).await; // the pace of the load
        }
    }

    /// What to say next.
    fn think(&mut self) -> Vec<Value> {
        match self.chance.u32(..100) {
            0..52 => self.several(8, Self::stranger),
            52..60 => vec![self.stranger(); self.chance.usize(2..6)],
            60..74 => self.several(4, |sender| resolved(&sender.stranger())),
            74..79 => self.storm(),
            79..95 => self.several(6, Self::kin_again),
            _ if self.plan.bad => {
                let good = self.stranger();
                vec![with(good.clone(), json!({ "labels": null })), good]
            }
            _ => self.several(2, Self::stranger),
        }
    }

    fn several(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> Value) -> Vec<Value> {
        let count = self.chance.usize(1..=most);
        (0..count).map(|_| one(self)).collect()
    }

    fn stranger(&mut self) -> Value {
        let n = self.chance.usize(..STRANGERS);
        alert(&format!("Own{n}"), &self.namespace, &format!("pod-{n}"))
    }

    /// Kin at once, well above the threshold.
    fn storm(&mut self) -> Vec<Value> {
        let (name, many) = (format!("Storm{}x{}", self.number, self.storms.len()), self.chance.usize(12..=24));
        self.storms.push((name.clone(), many));
        (0..many).map(|pod| alert(&name, &self.namespace, &format!("pod-{pod}"))).collect()
    }

    fn kin_again(&mut self) -> Value {
        let Some((name, many)) = self.chance.choice(&self.storms).cloned() else { return self.stranger() };
        let pod = self.chance.usize(..many);
        alert(&name, &self.namespace, &format!("pod-{pod}"))
    }

    /// Numbers these alerts and sends them until they are taken; then they are promised.
    async fn send(&mut self, alerts: Vec<Value>) {
        let numbered: Vec<(u64, Value)> = alerts.into_iter().map(|alert| self.number_it(alert)).collect();
        let alerts: Vec<Value> = numbered.iter().map(|(_, alert)| alert.clone()).collect();
        let body = webhook(&alerts).to_string();
        loop {
            let door = self.chance.choice(&self.doors).expect("there are doors");
            let answer = http::post(door, PROMETHEUS, &body).await;
            if self.book.lock().expect("nobody panics while noting").heard(&numbered, answer) {
                return;
            }
            tokio::time::sleep(AGAIN).await; // as Alertmanager rests
        }
    }

    fn number_it(&mut self, alert: Value) -> (u64, Value) {
        self.sent += 1;
        let id = self.number * 1_000_000 + self.sent;
        let ballast = "→\"ü\\ ".repeat(self.chance.usize(..40));
        (id, with(alert, json!({ "annotations": { "id": id.to_string(), "ballast": ballast } })))
    }
}

impl Book {
    /// Notes what came of a request; whether that was the last word.
    fn heard(&mut self, sent: &[(u64, Value)], answer: std::io::Result<Answer>) -> bool {
        match answer {
            Ok(answer) if answer.status == 202 => self.note(sent, &answer.json()),
            Ok(answer) if answer.status != 503 => self.wrong.push(format!("{}: {}", answer.status, answer.text())),
            Ok(_) | Err(_) => {
                self.repeated += 1;
                return false;
            }
        }
        true
    }

    /// Takes an answer at its word: good alerts have places in their order, bad ones are named by their index.
    fn note(&mut self, sent: &[(u64, Value)], answer: &Value) {
        let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
        let rejected: Vec<u64> = list("rejected").iter().filter_map(|one| one["index"].as_u64()).collect();
        let mut places = list("alerts").into_iter().map(|one| Place {
            fingerprint: one["fingerprint"].as_str().unwrap_or_default().to_owned(),
            partition: one["partition"].as_i64().and_then(|n| n.try_into().ok()).unwrap_or(-1),
            offset: one["offset"].as_i64().unwrap_or(-1),
        });
        for (index, (id, alert)) in (0..).zip(sent) {
            let place = if rejected.contains(&index) { None } else { places.next() };
            let usable = alert["labels"].is_object();
            if usable != place.is_some() {
                self.wrong.push(format!("alert {id} was answered as {place:?}"));
            }
            self.promises.push(Promise { id: *id, bytes: alert.to_string(), place });
        }
    }
}
