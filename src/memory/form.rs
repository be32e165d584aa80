//! What a memo and a group look like in memory: packed, since there may be millions of them.
//!
//! A value of another form is read as none, and its record finds memory empty.

use std::time::Duration;

use super::packer::{Packer, Reader};
use crate::{
    alert::{Brief, EventTime, Fingerprint},
    decide::{
        dedup::{Last, Memo, Run, Severity},
        storm::{Group, Kin, Standing, Storm, Told},
    },
    remediation::{Generation, GroupId, Resource},
};

/// Packs what memory keeps of a fingerprint.
#[must_use]
pub fn pack_memo(memo: &Memo) -> Vec<u8> {
    let mut out = Packer::new();
    out.many(&memo.last, |out, last| {
        out.position(last.position);
        out.time(last.at);
    });
    out.many(&memo.runs, |out, run| {
        let times = [run.resolved_at, run.closed_at, run.starts_at];
        out.number(times.iter().enumerate().map(|(bit, time)| u64::from(time.is_some()) << bit).sum());
        out.generation(run.generation);
        out.bytes.extend_from_slice(&run.group.0);
        out.number(run.count);
        out.time(run.seen);
        out.severity(&run.severity);
        out.time(run.due);
        times.into_iter().flatten().for_each(|time| out.aside(time));
    });
    out.bytes
}

/// Reads what [`pack_memo`] wrote.
#[must_use]
pub fn read_memo(bytes: &[u8]) -> Option<Memo> {
    let mut from = Reader::new(bytes)?;
    let last = from.many(|from| Some(Last { position: from.position()?, at: from.time()? }))?;
    let runs = from.many(|from| {
        let times = from.number()?;
        let generation = from.generation()?;
        let (group, count, seen) = (GroupId(from.array()?), from.number()?, from.time()?);
        let (severity, due) = (from.severity()?, from.time()?);
        let mut time = |bit: u32| if times & 1 << bit == 0 { Some(None) } else { from.aside().map(Some) };
        let (resolved_at, closed_at, starts_at) = (time(0)?, time(1)?, time(2)?);
        Some(Run { generation, group, count, seen, severity, resolved_at, closed_at, due, starts_at })
    })?;
    Some(Memo { runs, last })
}

/// What one of the kin has that most have not: a bit each, and what it says only where the bit is set.
mod has {
    /// Something was told of it, or is to be told.
    pub(super) const TOLD: u64 = 1;
    /// It was resolved.
    pub(super) const RESOLVED: u64 = 2;
    /// Its object has ended.
    pub(super) const CLOSED: u64 = 4;
    /// It is of another name, namespace, kind or first severity than the one before.
    pub(super) const OTHER: u64 = 8;
    /// Its severity is no longer the one that it began with.
    pub(super) const RISEN: u64 = 16;
    /// It fired again at another time.
    pub(super) const SEEN: u64 = 32;
    /// It waits for longer or shorter than the one before.
    pub(super) const HOLD: u64 = 64;
    /// Its fingerprint is kept whole.
    pub(super) const WHOLE: u64 = 128;
    /// Its object has ended and stood for a storm.
    pub(super) const CLOSED_AS_STORM: u64 = 256;
}

/// Packs what memory keeps of a storm group.
#[must_use]
pub fn pack_group(group: &Group) -> Vec<u8> {
    let mut out = Packer::new();
    out.many(&group.storms, |out, storm| {
        out.generation(storm.generation);
        out.time(storm.joined);
        out.number(storm.decided_count);
        out.severity(&storm.decided_severity);
        out.number(u64::from(storm.published));
        out.maybe_time(storm.closed_at);
        told(out, &storm.told);
    });
    let mut before = None;
    out.many(&group.kin, |out, (generation, kin)| {
        pack_kin(out, (*generation, kin), before, &group.storms);
        before = Some((*generation, kin));
    });
    out.bytes
}

/// One of the kin with its first record.
type Begun<'a> = (Generation, &'a Kin);

fn pack_kin(out: &mut Packer, (generation, kin): Begun<'_>, before: Option<Begun<'_>>, storms: &[Storm]) {
    let bits = bits((generation, kin), before);
    out.number(bits);
    out.generation(generation);
    match &kin.whole {
        Some(whole) => out.bytes.extend_from_slice(whole.bytes()),
        None => out.bytes.extend_from_slice(kin.fingerprint.bytes()),
    }
    if bits & has::OTHER != 0 {
        words(kin).into_iter().for_each(|word| out.word(word));
        out.severity(&kin.began);
    }
    out.name(&kin.resource.name);
    out.number(kin.count);
    standing(out, kin.standing, storms);
    if bits & has::RISEN != 0 {
        out.severity(&kin.severity);
    }
    if bits & has::SEEN != 0 {
        out.aside(kin.seen);
    }
    if bits & has::HOLD != 0 {
        out.aside(kin.due);
    }
    kin.resolved_at.into_iter().chain(kin.closed_at).for_each(|at| out.aside(at));
    if bits & has::TOLD != 0 {
        told(out, &kin.told);
    }
}

fn words(kin: &Kin) -> [&str; 4] {
    [&kin.alert, &kin.namespace, &kin.resource.kind, &kin.resource.namespace]
}

fn bits((generation, kin): Begun<'_>, before: Option<Begun<'_>>) -> u64 {
    let hold = |(generation, kin): Begun<'_>| kin.due.0.wrapping_sub(generation.at.0);
    let alike = |(_, before): Begun<'_>| words(before) == words(kin) && before.began == kin.began;
    let bits = [
        (has::OTHER, !before.is_some_and(alike)),
        (has::HOLD, hold((generation, kin)) != before.map_or(0, hold)),
        (has::TOLD, kin.told != Told::default()),
        (has::RESOLVED, kin.resolved_at.is_some()),
        (has::CLOSED, kin.closed_at.is_some()),
        (has::CLOSED_AS_STORM, kin.closed_as_storm),
        (has::RISEN, kin.severity != kin.began),
        (has::SEEN, kin.seen != generation.at),
        (has::WHOLE, kin.whole.is_some()),
    ];
    bits.into_iter().filter(|(_, holds)| *holds).map(|(bit, _)| bit).sum()
}

/// A storm by its place among the group's, counted from 1; 0 = another one, which is written out.
fn standing(out: &mut Packer, standing: Standing, storms: &[Storm]) {
    let (form, storm) = match standing {
        Standing::Waiting => (0, None),
        Standing::Assumed => (1, None),
        Standing::Own { published, superseded_by: None } => (3 + u64::from(published), None),
        Standing::Own { published, superseded_by } => (5 + u64::from(published), superseded_by),
        Standing::Joined { storm, founder } => (7 + u64::from(founder), Some(storm)),
    };
    out.number(form);
    if let Some(generation) = storm {
        let place = storms.iter().position(|storm| storm.generation == generation);
        out.number(place.map_or(0, |place| place as u64 + 1));
        if place.is_none() {
            out.generation(generation);
        }
    }
}

fn told(out: &mut Packer, told: &Told) {
    out.number(u64::from(told.changes));
    out.number(u64::from(told.told));
    out.number(u64::try_from(told.interval.as_millis()).unwrap_or(u64::MAX));
    out.maybe_time((told.at != EventTime::default()).then_some(told.at));
}

/// Reads what [`pack_group`] wrote.
#[must_use]
pub fn read_group(bytes: &[u8]) -> Option<Group> {
    let mut from = Reader::new(bytes)?;
    let storms = from.many(|from| {
        let (generation, joined, decided_count) = (from.generation()?, from.time()?, from.number()?);
        let (decided_severity, published, closed_at) = (from.severity()?, from.number()? != 0, from.maybe_time()?);
        let told = read_told(from)?;
        Some(Storm { generation, joined, decided_count, decided_severity, published, closed_at, told })
    })?;
    let mut alike = Alike::default();
    let kin = from.many(|from| read_kin(from, &storms, &mut alike))?;
    Some(Group { kin: kin.into_iter().collect(), storms })
}

/// What one of the kin mostly shares with the one before.
#[derive(Default)]
struct Alike {
    words: [String; 4],
    began: Severity,
    hold: i64,
}

fn read_kin(from: &mut Reader<'_>, storms: &[Storm], alike: &mut Alike) -> Option<(Generation, Kin)> {
    let bits = from.number()?;
    let has = |bit: u64| bits & bit != 0;
    let generation = from.generation()?;
    let (fingerprint, whole) = read_whose(from, has(has::WHOLE))?;
    if has(has::OTHER) {
        alike.words = [from.word()?, from.word()?, from.word()?, from.word()?];
        alike.began = from.severity()?;
    }
    let ([alert, namespace, kind, of], began) = (alike.words.clone(), alike.began.clone());
    let resource = Resource { kind, name: from.name()?, namespace: of };
    let (count, standing) = (from.number()?, read_standing(from, storms)?);
    let severity = if has(has::RISEN) { from.severity()? } else { began.clone() };
    let seen = if has(has::SEEN) { from.aside()? } else { generation.at };
    if has(has::HOLD) {
        alike.hold = from.aside()?.0.wrapping_sub(generation.at.0);
    }
    let due = EventTime(generation.at.0.wrapping_add(alike.hold));
    let resolved_at = if has(has::RESOLVED) { Some(from.aside()?) } else { None };
    let closed_at = if has(has::CLOSED) { Some(from.aside()?) } else { None };
    let closed_as_storm = has(has::CLOSED_AS_STORM);
    let told = if has(has::TOLD) { read_told(from)? } else { Told::default() };
    let kin = Kin {
        fingerprint,
        whole,
        alert,
        namespace,
        resource,
        count,
        seen,
        began,
        severity,
        resolved_at,
        closed_at,
        closed_as_storm,
        due,
        standing,
        told,
    };
    Some((generation, kin))
}

fn read_whose(from: &mut Reader<'_>, whole: bool) -> Option<(Brief, Option<Fingerprint>)> {
    if !whole {
        return Some((Brief::from_bytes(from.array()?), None));
    }
    let whole = Fingerprint::from_bytes(from.array()?);
    Some((whole.brief(), Some(whole)))
}

fn read_standing(from: &mut Reader<'_>, storms: &[Storm]) -> Option<Standing> {
    let form = from.number()?;
    let mut storm = || match usize::try_from(from.number()?).ok()?.checked_sub(1) {
        Some(place) => storms.get(place).map(|storm| storm.generation),
        None => from.generation(),
    };
    Some(match form {
        0 => Standing::Waiting,
        1 => Standing::Assumed,
        3 | 4 => Standing::Own { published: form == 4, superseded_by: None },
        5 | 6 => Standing::Own { published: form == 6, superseded_by: Some(storm()?) },
        7 | 8 => Standing::Joined { founder: form == 8, storm: storm()? },
        _ => return None,
    })
}

fn read_told(from: &mut Reader<'_>) -> Option<Told> {
    let (changes, told) = (u32::try_from(from.number()?).ok()?, u32::try_from(from.number()?).ok()?);
    let interval = Duration::from_millis(from.number()?);
    Some(Told { changes, told, interval, at: from.maybe_time()?.unwrap_or_default() })
}

/// Packs a mark: whose it is, and how far its partition was read.
#[must_use]
pub fn pack_mark(mark: &Mark) -> Vec<u8> {
    let mut out = Packer::new();
    out.number(mark.fence);
    out.time(mark.read);
    out.number(mark.epoch);
    out.number(mark.progress);
    out.bytes
}

/// Reads what [`pack_mark`] wrote.
#[must_use]
pub fn read_mark(bytes: &[u8]) -> Option<Mark> {
    let mut from = Reader::new(bytes)?;
    Some(Mark { fence: from.number()?, read: from.time()?, epoch: from.number()?, progress: from.number()? })
}

/// How far one partition was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Taken at the assignment: one who had the partition before has a lower one.
    pub fence: u64,
    /// Everything at or before this time was read.
    pub read: EventTime,
    /// Into which memory it was read.
    pub epoch: u64,
    /// Moves while the partition is read again and `read` stands still.
    pub progress: u64,
}

impl Mark {
    /// A partition of which nothing was read into this memory.
    #[must_use]
    pub fn nothing(epoch: u64) -> Self {
        Self { fence: 0, read: EventTime(i64::MIN), epoch, progress: 0 }
    }

    /// What it says of this memory: nothing, if it speaks of another. A fence is one for all.
    #[must_use]
    pub fn of(self, epoch: u64) -> Self {
        if self.epoch == epoch { self } else { Self { fence: self.fence, ..Self::nothing(epoch) } }
    }
}

/// The value of an epoch or of a time that somebody waits for.
#[must_use]
pub fn pack_number(number: u64) -> Vec<u8> {
    let mut out = Packer::new();
    out.number(number);
    out.bytes
}

/// Reads what [`pack_number`] wrote.
#[must_use]
pub fn read_number(bytes: &[u8]) -> Option<u64> {
    Reader::new(bytes)?.number()
}
