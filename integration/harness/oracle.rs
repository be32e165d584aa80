//! The judge of a load: from the log, the dead letters and the API server alone, what became of each alert that was
//! promised. It asks none of our metrics and knows nothing of what was broken meanwhile.

use super::case::{Case, count, name};
use super::kafka::Record;
use super::lives::is_live;
use super::load::{Book, Promise};
use breakwater::alert::{Brief, Fingerprint};
use k8s_openapi::ByteString;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Kin whose first firings lie no further apart are all seen by the first of their holds.
const HOLD: i64 = 2_000;
/// So many of a group at once are a storm.
const THRESHOLD: usize = 10;
/// How many violations are told.
const TOLD: usize = 16;

/// Partition and offset.
type Position = (i32, i64);

/// How the alerts of a load ended: each in exactly one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Opened an object of its own.
    pub opened: usize,
    /// Firings of a storm.
    pub in_storms: usize,
    /// Counted on the object that another opened.
    pub duplicates: usize,
    /// Ends of alerts.
    pub resolved: usize,
    /// Set aside.
    pub dead_letters: usize,
    /// Objects of storms.
    pub storms: usize,
}

/// All that is known at one moment.
#[derive(Default)]
pub struct Evidence {
    alerts: BTreeMap<Position, Entry>,
    /// Firings and resolutions of each fingerprint, in order.
    by_fingerprint: BTreeMap<String, Vec<Position>>,
    /// Each of them whole, by what it is cut short to.
    briefs: BTreeMap<String, String>,
    closed: Vec<(Position, String, Value)>,
    dead: Vec<Record>,
    /// The highest count that `remediations` tells of each incident, by its name.
    told: BTreeMap<String, u64>,
    own: BTreeMap<String, Vec<Own>>,
    storms: Vec<Storm>,
    wrong: Vec<String>,
}

/// A record of `alerts`.
struct Entry {
    at: i64,
    firing: bool,
    fingerprint: String,
    group: String,
    bytes: Vec<u8>,
}

/// An object of one fingerprint.
struct Own {
    name: String,
    opened: Position,
    count: usize,
    live: bool,
    superseded_by: Option<String>,
    resolved: bool,
    payload: String,
}

/// An object of a storm.
struct Storm {
    name: String,
    group: String,
    count: usize,
    resources: usize,
    members: BTreeSet<String>,
}

impl Evidence {
    /// Reads the log and lists the objects.
    pub async fn gather(case: &Case, namespace: &str) -> Self {
        let alerts = case.kafka.read(&case.alerts).await;
        let remediations = case.kafka.read(&case.remediations).await;
        let dead = case.kafka.read(&case.dead_letters).await;
        Self::of(alerts, &remediations, dead, &case.kube.list(namespace).await)
    }

    /// Takes in three topics and the objects.
    pub fn of(alerts: Vec<Record>, remediations: &[Record], dead: Vec<Record>, objects: &[Value]) -> Self {
        let mut all = Self { dead, ..Self::default() };
        alerts.into_iter().for_each(|record| all.read(record));
        all.closed =
            std::mem::take(&mut all.closed).into_iter().map(|(at, who, told)| (at, all.whole(who), told)).collect();
        remediations.iter().for_each(|record| all.hear(&record.json()));
        objects.iter().for_each(|object| all.see(object));
        all.own.values_mut().for_each(|own| own.sort_by_key(|own| own.opened));
        all
    }

    fn read(&mut self, record: Record) {
        let position = (record.partition, record.offset);
        let fingerprint = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        let kind = record.header("breakwater-kind").unwrap_or_default();
        if kind == "closed" {
            let told = record.json();
            self.closed.push((position, told["fingerprint"].as_str().unwrap_or_default().to_owned(), told));
            return;
        }
        if let Ok(whole) = fingerprint.parse::<Fingerprint>() {
            self.briefs.insert(whole.brief().to_string(), fingerprint.clone());
        }
        let group = record.json()["labels"]["alertname"].as_str().unwrap_or_default().to_owned();
        self.by_fingerprint.entry(fingerprint.clone()).or_default().push(position);
        let entry = Entry {
            at: record.timestamp,
            firing: kind == "firing",
            fingerprint,
            group,
            bytes: record.value.unwrap_or_default(),
        };
        self.alerts.insert(position, entry);
    }

    /// A fingerprint that was cut short, as the log has it whole.
    fn whole(&self, brief: String) -> String {
        self.briefs.get(&brief).cloned().unwrap_or(brief)
    }

    fn hear(&mut self, told: &Value) {
        let name = told["incident"]["name"].as_str().unwrap_or_default().to_owned();
        let count = told["progress"]["count"].as_u64().unwrap_or(0);
        let known = self.told.entry(name).or_default();
        *known = count.max(*known);
    }

    fn see(&mut self, object: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let counted = usize::try_from(count(object)).expect("a count fits");
        if object["spec"]["isStorm"] == true {
            let stands = &object["status"]["stormAggregation"];
            let ByteString(members) = serde_json::from_value(stands["members"].clone()).unwrap_or_default();
            let resources = stands["totalAffectedResources"].as_u64().unwrap_or(0);
            self.storms.push(Storm {
                name: name(object).to_owned(),
                group: text(&object["spec"]["signalName"]),
                count: counted,
                resources: usize::try_from(resources).expect("a count fits"),
                members: members.chunks(Brief::SIZE).map(|member| self.whole(hex(member))).collect(),
            });
            return;
        }
        let generation = text(&object["metadata"]["annotations"]["breakwater.io/generation"]);
        let parts: Vec<i64> = generation.split('/').filter_map(|part| part.parse().ok()).collect();
        let [_, partition, offset] = parts[..] else {
            self.wrong.push(format!("{} names no record that opened it: {generation:?}", name(object)));
            return;
        };
        let at_first = object["spec"]["deduplication"]["occurrenceCount"].as_u64().unwrap_or(0);
        self.own.entry(text(&object["spec"]["signalFingerprint"])).or_default().push(Own {
            name: name(object).to_owned(),
            opened: (i32::try_from(partition).expect("a partition"), offset),
            count: counted.max(usize::try_from(at_first).expect("a count fits")),
            live: is_live(object),
            superseded_by: object["status"]["supersededBy"].as_str().map(str::to_owned),
            resolved: object["status"]["resolvedAt"].is_string(),
            payload: text(&object["spec"]["originalPayload"]),
        });
    }

    /// What is wrong with it, or how everything ended.
    pub fn judge(&self, book: &Book) -> Result<Outcomes, String> {
        let mut wrong = [&self.wrong[..], &book.wrong].concat();
        wrong.extend(book.promises.iter().filter_map(|promise| self.kept(promise)));
        wrong.extend(self.letters(book));
        wrong.extend(self.by_fingerprint.keys().flat_map(|fingerprint| self.single(fingerprint)));
        wrong.extend(self.groups().values().flat_map(|members| self.group(members)));
        wrong.extend(self.closed.iter().filter_map(|closed| self.recurrence(closed)));
        wrong.extend(self.invented());
        if wrong.is_empty() {
            return Ok(self.outcomes());
        }
        let told: Vec<&str> = wrong.iter().take(TOLD).map(String::as_str).collect();
        Err(format!("{} violations:\n  {}", wrong.len(), told.join("\n  ")))
    }

    /// What was promised lies where the door said, byte for byte; what was rejected lies among the dead letters.
    fn kept(&self, promise: &Promise) -> Option<String> {
        let id = promise.id;
        let Some(place) = &promise.place else {
            let aside = self.dead.iter().any(|dead| dead.value.as_deref() == Some(promise.bytes.as_bytes()));
            return (!aside).then(|| format!("alert {id} was rejected and is no dead letter"));
        };
        let Some(entry) = self.alerts.get(&(place.partition, place.offset)) else {
            return Some(format!("alert {id} was promised at {place:?}, where no record lies"));
        };
        let same = entry.bytes == promise.bytes.as_bytes() && entry.fingerprint == place.fingerprint;
        (!same).then(|| format!("alert {id} was promised at {place:?}, where another lies: {}", entry.fingerprint))
    }

    /// Nothing is a dead letter but what the door rejected.
    fn letters(&self, book: &Book) -> Vec<String> {
        let rejected: BTreeSet<&[u8]> =
            book.promises.iter().filter(|one| one.place.is_none()).map(|one| one.bytes.as_bytes()).collect();
        let strange = self.dead.iter().filter(|dead| !rejected.contains(dead.value.as_deref().unwrap_or_default()));
        strange.map(|dead| format!("a dead letter that nobody was told of: {:?}", dead.headers)).collect()
    }

    fn firings(&self, fingerprint: &str) -> Vec<Position> {
        let all = self.by_fingerprint.get(fingerprint).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|position| self.alerts[position].firing).copied().collect()
    }

    fn own(&self, fingerprint: &str) -> &[Own] {
        self.own.get(fingerprint).map(Vec::as_slice).unwrap_or_default()
    }

    fn storms_with<'a>(&'a self, fingerprint: &'a str) -> impl Iterator<Item = &'a Storm> {
        self.storms.iter().filter(move |storm| storm.members.contains(fingerprint))
    }

    /// Each firing of a fingerprint is on one object: the newest that was opened with it or before.
    fn single(&self, fingerprint: &str) -> Vec<String> {
        let (firings, own) = (self.firings(fingerprint), self.own(fingerprint));
        let mut wrong = Vec::new();
        let Some(first) = firings.first() else {
            return own.iter().map(|own| format!("{} stands for no firing at all", own.name)).collect();
        };
        if own.is_empty() && self.storms_with(fingerprint).next().is_none() {
            return vec![format!("lost: {fingerprint}, first at {first:?}, has no object: {}", self.alert(*first))];
        }
        if own.first().is_some_and(|own| own.opened != *first) {
            wrong.push(format!("{} was opened at {:?}, first fired at {first:?}", own[0].name, own[0].opened));
        }
        for (index, one) in own.iter().enumerate() {
            let until = own.get(index + 1).map(|next| next.opened);
            let of_it = firings.iter().filter(|at| **at >= one.opened && until.is_none_or(|until| **at < until));
            wrong.extend(self.figures(one, of_it.count()));
            wrong.extend(self.faithful(fingerprint, one));
        }
        if own.iter().filter(|own| own.live).count() > 1 {
            wrong.push(format!("doubled: {:?} are live at once", own.iter().map(|own| &own.name).collect::<Vec<_>>()));
        }
        wrong
    }

    /// A live object counts all its firings; what comes while an object is final and not yet told is counted nowhere.
    fn figures(&self, own: &Own, firings: usize) -> Option<String> {
        let exact = own.live && own.superseded_by.is_none();
        let right = if exact { own.count == firings } else { (1..=firings).contains(&own.count) };
        let Own { name, count, live, opened, .. } = own;
        let told = self.told.get(name);
        let what = format!("{name} (live: {live}, opened at {opened:?}) counts {count} of {firings} firings");
        (!right).then(|| format!("{what}, remediations told of {told:?}"))
    }

    /// The payload is the alert that opened it, byte for byte; resolved is what was resolved last.
    fn faithful(&self, fingerprint: &str, own: &Own) -> Option<String> {
        let opened = self.alerts.get(&own.opened);
        if opened.is_none_or(|entry| entry.fingerprint != fingerprint || entry.bytes != own.payload.as_bytes()) {
            return Some(format!("the payload of {} is not the record at {:?}: {}", own.name, own.opened, own.payload));
        }
        let last = self.by_fingerprint[fingerprint].last().map(|last| !self.alerts[last].firing);
        let told = last.is_some_and(|resolved| resolved != own.resolved) && own.live && own.superseded_by.is_none();
        told.then(|| format!("{} says resolved: {}, and the log does not", own.name, own.resolved))
    }

    /// Fingerprints by what they have in common.
    fn groups(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for entry in self.alerts.values().filter(|entry| entry.firing) {
            groups.entry(&entry.group).or_default().insert(&entry.fingerprint);
        }
        groups
    }

    /// Kin at once are one storm and nothing else; kin that dribbled in (their request was repeated) are counted once.
    fn group(&self, members: &BTreeSet<&str>) -> Vec<String> {
        let firsts = members.iter().filter_map(|member| self.firings(member).first().copied());
        let times: Vec<i64> = firsts.map(|first| self.alerts[&first].at).collect();
        let spread = times.iter().max().zip(times.iter().min()).map_or(0, |(last, first)| last - first);
        let storms: Vec<&Storm> =
            self.storms.iter().filter(|storm| members.iter().any(|member| storm.members.contains(*member))).collect();
        let mut wrong = Vec::new();
        if members.len() >= THRESHOLD && spread <= HOLD {
            let alone: Vec<&str> = members.iter().flat_map(|one| self.own(one)).map(|own| own.name.as_str()).collect();
            if storms.len() != 1 || !alone.is_empty() {
                let storms: Vec<&str> = storms.iter().map(|storm| storm.name.as_str()).collect();
                wrong.push(format!("{} kin within {spread} ms are storms {storms:?} and {alone:?}", members.len()));
            }
        }
        for own in members.iter().flat_map(|member| self.own(member).iter().map(move |own| (member, own))) {
            let storm = self.storms_with(own.0).find(|storm| own.1.superseded_by.as_ref() == Some(&storm.name));
            if storm.is_none() && self.storms_with(own.0).next().is_some() {
                wrong.push(format!("{} has an object of its own and is in a storm that does not know", own.1.name));
            }
        }
        wrong.extend(storms.iter().filter_map(|storm| self.storm(storm)));
        wrong
    }

    fn storm(&self, storm: &Storm) -> Option<String> {
        let firings: usize = storm.members.iter().map(|member| self.firings(member).len()).sum();
        let right = storm.count == firings && storm.resources == storm.members.len();
        (!right).then(|| {
            let Storm { name, count, resources, members, .. } = storm;
            let of = format!("{firings} firings of {} members", members.len());
            let told = self.told.get(name);
            format!("storm {name} counts {count} firings and {resources} resources, the log has {of}, told {told:?}")
        })
    }

    /// What fires after its end was told is a new incident.
    fn recurrence(&self, (position, fingerprint, closed): &(Position, String, Value)) -> Option<String> {
        let again = self.firings(fingerprint).into_iter().find(|firing| firing > position)?;
        let of = closed["object"].as_str()?.rsplit('/').next()?;
        let own = self.own(fingerprint);
        let ended = own.iter().find(|own| own.name == of)?;
        let next = own.iter().any(|own| own.opened > ended.opened && own.opened <= again);
        (!next)
            .then(|| format!("lost: {fingerprint} fired at {again:?}, after the end of {of} was told at {position:?}"))
    }

    /// No object stands for what was never sent.
    fn invented(&self) -> Vec<String> {
        let known = |fingerprint: &String| self.by_fingerprint.contains_key(fingerprint);
        let own = self.own.iter().filter(|(fingerprint, _)| !known(fingerprint)).flat_map(|(_, own)| own);
        let own = own.map(|own| format!("{} is about nothing that was sent", own.name));
        let strange = self.storms.iter().filter(|storm| storm.members.is_empty() || !storm.members.iter().all(known));
        own.chain(strange.map(|storm| format!("storm {} of {} has strange members", storm.name, storm.group))).collect()
    }

    fn outcomes(&self) -> Outcomes {
        let mut all = Outcomes { dead_letters: self.dead.len(), storms: self.storms.len(), ..Outcomes::default() };
        let opening: BTreeSet<Position> = self.own.values().flatten().map(|own| own.opened).collect();
        for (position, entry) in &self.alerts {
            match entry.firing {
                false => all.resolved += 1,
                true if self.storms_with(&entry.fingerprint).next().is_some() => all.in_storms += 1,
                true if opening.contains(position) => all.opened += 1,
                true => all.duplicates += 1,
            }
        }
        all
    }

    /// The alert at a position, for a failure's message.
    fn alert(&self, position: Position) -> String {
        self.alerts.get(&position).map(|e| String::from_utf8_lossy(&e.bytes).into_owned()).unwrap_or_default()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
