//! What became of each alert of a world, found in its log and its objects alone: nobody is lost, nobody doubled, every
//! count exact. It asks nothing of what decided. For stories in which kin fire at once and strangers are nobody's kin.

use std::collections::{BTreeMap, BTreeSet};

use breakwater::{
    alert::{Kind, Signal, record},
    sink::object::Object,
};

use crate::{cluster::Kept, world::World};

/// A record's partition and offset.
type Place = (i32, i64);

/// What the log says of one fingerprint, in its order.
#[derive(Debug, Default)]
struct Told {
    group: String,
    /// Where it fired, and whether critically.
    firings: Vec<(Place, bool)>,
    /// Whether its last word was that it is over.
    resolved: bool,
    /// Ends: where each was told, and of which object.
    closed: Vec<(Place, String)>,
}

/// What is wrong with it; nothing if all is well.
pub fn wrong(world: &World) -> Vec<String> {
    let told = read(world);
    let objects: Vec<&Object> =
        world.sink.as_ref().unwrap().cluster.objects.values().map(|kept| &kept.object).collect();
    let (storms, own): (Vec<&Object>, Vec<&Object>) = objects.into_iter().partition(|object| object.storm);
    let mut wrong: Vec<String> = told.iter().flat_map(|(who, told)| single(who, told, &own, &storms)).collect();
    let groups: BTreeSet<&str> = told.values().map(|told| told.group.as_str()).collect();
    wrong.extend(groups.into_iter().filter_map(|group| together(group, &told, &storms)));
    let known = |object: &&Object| told.contains_key(&object.fingerprint.brief().to_string());
    wrong.extend(own.iter().filter(|own| !known(own)).map(|own| format!("{} is about nothing that was sent", own.id)));
    wrong
}

fn read(world: &World) -> BTreeMap<String, Told> {
    let mut all: BTreeMap<String, Told> = BTreeMap::new();
    for record in world.partitions.iter().flat_map(|partition| &partition.log) {
        let place = (record.position.partition, record.position.offset);
        match record::parse(&record.value, &record.headers, record.at, &world.bench.pipeline.identity).unwrap() {
            Signal::Alert(alert) => {
                let of = all.entry(alert.fingerprint.brief().to_string()).or_default();
                of.group = alert.name;
                of.resolved = alert.kind == Kind::Resolved;
                if !of.resolved {
                    of.firings.push((place, alert.severity.as_deref() == Some("critical")));
                }
            }
            Signal::Closed(closed) => {
                all.entry(closed.fingerprint.to_string()).or_default().closed.push((place, closed.object));
            }
        }
    }
    all
}

fn opened(object: &Object) -> Place {
    (object.begun.position.partition, object.begun.position.offset)
}

fn count(object: &Object) -> usize {
    let shown = object.status.deduplication.as_ref().map_or(0, |dedup| dedup.occurrence_count);
    usize::try_from(shown).unwrap()
}

fn members(storm: &Object) -> Vec<String> {
    storm.fingerprints().iter().map(ToString::to_string).collect()
}

/// Each firing is on one object: the newest that was opened with it or before, or that of its storm.
fn single(who: &str, told: &Told, own: &[&Object], storms: &[&Object]) -> Vec<String> {
    let mut own: Vec<&Object> =
        own.iter().filter(|object| object.fingerprint.brief().to_string() == who).copied().collect();
    own.sort_by_key(|object| opened(object));
    let Some((first, _)) = told.firings.first() else {
        return own.iter().map(|object| format!("{} stands for no firing at all", object.id)).collect();
    };
    let within: Vec<String> =
        storms.iter().filter(|storm| members(storm).iter().any(|it| it == who)).map(|it| it.id.to_string()).collect();
    match (own.first(), within.len()) {
        (None, 0) => return vec![format!("lost: {} of {who} has no object", told.group)],
        (None, 1) => return Vec::new(), // `together` counts it
        (Some(earliest), 0) if opened(earliest) == *first => {}
        _ => {
            let names: Vec<String> = own.iter().map(|object| object.id.to_string()).collect();
            return vec![format!("doubled: {who}, first at {first:?}, is {names:?} and in {within:?}")];
        }
    }
    let live = own.iter().filter(|object| object.is_live()).count();
    let doubled = (live > 1).then(|| format!("doubled: {live} objects of {who} are live"));
    let figures = own.iter().enumerate().filter_map(|(index, object)| {
        let until = own.get(index + 1).map(|next| opened(next));
        figures(object, told, until)
    });
    let lost = told.closed.iter().filter_map(|closed| recurs(closed, told, &own));
    doubled.into_iter().chain(figures).chain(lost).collect()
}

/// A live object says all that the log says since it was opened. What came while a final one was not yet told as such
/// is counted nowhere.
fn figures(object: &Object, told: &Told, until: Option<Place>) -> Option<String> {
    let mine = |place: &Place| *place >= opened(object) && until.is_none_or(|until| *place < until);
    let firings: Vec<bool> =
        told.firings.iter().filter(|(place, _)| mine(place)).map(|(_, critical)| *critical).collect();
    let critical = object.status.severity.as_deref() == Some("critical");
    let (right, said) = match object.is_live() {
        true => (
            count(object) == firings.len() && critical == firings.contains(&true),
            object.status.resolved_at.is_some() == told.resolved,
        ),
        // one that ended before its first status is as it was created
        false => (object.status.deduplication.is_none() || (1..=firings.len()).contains(&count(object)), true),
    };
    let what = format!("{} (live: {}) counts {}, critical: {critical}", object.id, object.is_live(), count(object));
    (!right || !said).then(|| format!("{what}, the log has {firings:?}, resolved: {}", told.resolved))
}

/// What fires after its end was told is a new incident.
fn recurs((place, of): &(Place, String), told: &Told, own: &[&Object]) -> Option<String> {
    let (again, _) = told.firings.iter().find(|(firing, _)| firing > place)?;
    let ended = own.iter().find(|object| object.id.to_string() == *of)?;
    let next = own.iter().any(|object| opened(object) > opened(ended) && opened(object) <= *again);
    (!next).then(|| format!("lost: what fired at {again:?}, after the end of {of} was told at {place:?}"))
}

/// Kin at once are one storm, with all of them and every firing.
fn together(group: &str, told: &BTreeMap<String, Told>, storms: &[&Object]) -> Option<String> {
    let kin: BTreeMap<&String, &Told> = told.iter().filter(|(_, told)| told.group == group).collect();
    let storms: Vec<&&Object> =
        storms.iter().filter(|storm| members(storm).iter().any(|member| kin.contains_key(member))).collect();
    let firings: usize = kin.values().map(|told| told.firings.len()).sum();
    let right = match storms[..] {
        [] => kin.len() == 1,
        [storm] => {
            let whole: BTreeSet<String> = members(storm).into_iter().collect();
            let totals = storm.storm_status().map(|it| (it.alert_count, it.total_affected_resources));
            let exact = (firings as u64, kin.len() as u64);
            whole.iter().eq(kin.keys().copied()) && totals == Some(exact) && count(storm) == firings
        }
        _ => false,
    };
    let shown = || storms.iter().map(|storm| (storm.id.to_string(), count(storm), members(storm).len()));
    (!right).then(|| format!("{group}: {firings} firings of {} are {:?}", kin.len(), shown().collect::<Vec<_>>()))
}

/// What must hold at every moment, and not only at the end.
#[derive(Debug, Default)]
pub struct Lives {
    seen: BTreeMap<String, (usize, bool)>,
}

impl Lives {
    /// Looks at all objects: no count falls, what is final stays so, and of nobody two are live.
    pub fn look(&mut self, world: &World) -> Vec<String> {
        let (mut wrong, mut live) = (Vec::new(), BTreeSet::new());
        for (name, Kept { object, .. }) in &world.sink.as_ref().unwrap().cluster.objects {
            let now = (count(object), object.is_live());
            let before = self.seen.insert(name.clone(), now).unwrap_or((0, true));
            if now.0 < before.0 || now.1 && !before.1 {
                wrong.push(format!("{name} was {before:?} and is {now:?} (count, live)"));
            }
            if now.1 && !live.insert((object.fingerprint, object.storm)) {
                wrong.push(format!("{name} is not the only live one of its fingerprint"));
            }
        }
        wrong
    }
}
