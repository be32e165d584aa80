//! What a memo and a group look like in memory: packed, since there may be millions of them.
//!
//! Numbers are variable-length (LEB128, signed ones zigzag), times are differences to the one before, words that
//! repeat (namespaces, kinds, severities) are written once. A value of another form is read as none, and its record
//! finds memory empty; a new form gets a new number in front.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    alert::{EventTime, Fingerprint, Position},
    decide::{
        dedup::{Last, Memo, Run, Severity},
        storm::{Group, Kin, Standing, Storm, Told},
    },
    pipeline::priority::Priority,
    remediation::{Generation, GroupId, Resource},
};

const FORM: u8 = 3;

/// None, or one of four.
const PRIORITIES: u64 = 1 + Priority::ALL.len() as u64;

/// Packs what memory keeps of a fingerprint.
#[must_use]
pub fn pack_memo(memo: &Memo) -> Vec<u8> {
    let mut out = Packer::new();
    out.many(&memo.last, |out, last| {
        out.position(last.position);
        out.time(last.at);
    });
    out.many(&memo.runs, |out, run| {
        out.generation(run.generation);
        out.bytes.extend_from_slice(&run.group.0);
        out.number(run.count);
        out.time(run.seen);
        out.severity(&run.severity);
        out.maybe_time(run.resolved_at);
        out.maybe_time(run.closed_at);
        out.time(run.due);
        out.maybe_time(run.starts_at);
    });
    out.bytes
}

/// Reads what [`pack_memo`] wrote.
#[must_use]
pub fn read_memo(bytes: &[u8]) -> Option<Memo> {
    let mut from = Reader::new(bytes)?;
    let last = from.many(|from| Some(Last { position: from.position()?, at: from.time()? }))?;
    let runs = from.many(|from| {
        Some(Run {
            generation: from.generation()?,
            group: GroupId(from.array()?),
            count: from.number()?,
            seen: from.time()?,
            severity: from.severity()?,
            resolved_at: from.maybe_time()?,
            closed_at: from.maybe_time()?,
            due: from.time()?,
            starts_at: from.maybe_time()?,
        })
    })?;
    Some(Memo { runs, last })
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
        out.told(&storm.told);
    });
    out.many(&group.kin, |out, (generation, kin)| {
        out.generation(*generation);
        out.bytes.extend_from_slice(kin.fingerprint.bytes());
        for word in [&kin.alert, &kin.namespace, &kin.resource.kind, &kin.resource.namespace] {
            out.word(word);
        }
        out.text(&kin.resource.name);
        out.number(kin.count);
        out.time(kin.seen);
        out.severity(&kin.began);
        out.severity(&kin.severity);
        out.maybe_time(kin.resolved_at);
        out.maybe_time(kin.closed_at);
        if kin.closed_at.is_some() {
            out.number(u64::from(kin.closed_as_storm));
        }
        out.time(kin.due);
        out.standing(kin.standing);
        out.told(&kin.told);
    });
    out.bytes
}

/// Reads what [`pack_group`] wrote.
#[must_use]
pub fn read_group(bytes: &[u8]) -> Option<Group> {
    let mut from = Reader::new(bytes)?;
    let storms = from.many(|from| {
        let (generation, joined, decided_count) = (from.generation()?, from.time()?, from.number()?);
        let (decided_severity, published, closed_at) = (from.severity()?, from.number()? != 0, from.maybe_time()?);
        Some(Storm { generation, joined, decided_count, decided_severity, published, closed_at, told: from.told()? })
    })?;
    let kin = from.many(|from| {
        let generation = from.generation()?;
        let fingerprint = Fingerprint::from_bytes(from.array()?);
        let (alert, own_namespace) = (from.word()?, from.word()?);
        let (kind, namespace, name) = (from.word()?, from.word()?, from.text()?);
        let (count, seen, began, severity) = (from.number()?, from.time()?, from.severity()?, from.severity()?);
        let (resolved_at, closed_at) = (from.maybe_time()?, from.maybe_time()?);
        let kin = Kin {
            fingerprint,
            alert,
            namespace: own_namespace,
            resource: Resource { kind, name, namespace },
            count,
            seen,
            began,
            severity,
            resolved_at,
            closed_at,
            closed_as_storm: closed_at.is_some() && from.number()? != 0,
            due: from.time()?,
            standing: from.standing()?,
            told: from.told()?,
        };
        Some((generation, kin))
    })?;
    Some(Group { kin: kin.into_iter().collect(), storms })
}

/// Packs a mark: whose it is, and how far its partition was read.
#[must_use]
pub fn pack_mark(fence: u64, read: EventTime) -> Vec<u8> {
    let mut out = Packer::new();
    out.number(fence);
    out.time(read);
    out.bytes
}

/// Reads what [`pack_mark`] wrote.
#[must_use]
pub fn read_mark(bytes: &[u8]) -> Option<(u64, EventTime)> {
    let mut from = Reader::new(bytes)?;
    Some((from.number()?, from.time()?))
}

struct Packer {
    bytes: Vec<u8>,
    words: BTreeMap<String, u64>,
    clock: i64,
}

impl Packer {
    fn new() -> Self {
        Self { bytes: vec![FORM], words: BTreeMap::new(), clock: 0 }
    }

    fn many<T>(
        &mut self,
        items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
        pack: impl Fn(&mut Self, T),
    ) {
        let items = items.into_iter();
        self.number(items.len() as u64);
        items.for_each(|item| pack(self, item));
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push((value & 0x7f) as u8);
    }

    fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    fn time(&mut self, at: EventTime) {
        self.signed(at.0.wrapping_sub(self.clock));
        self.clock = at.0;
    }

    /// A far-off time would spoil the differences, so it leaves the clock alone.
    fn maybe_time(&mut self, at: Option<EventTime>) {
        self.number(u64::from(at.is_some()));
        if let Some(at) = at {
            self.signed(at.0.wrapping_sub(self.clock));
        }
    }

    fn position(&mut self, position: Position) {
        self.signed(i64::from(position.partition));
        self.signed(position.offset);
    }

    fn generation(&mut self, generation: Generation) {
        self.time(generation.at);
        self.position(generation.position);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn word(&mut self, word: &str) {
        let next = self.words.len() as u64 + 1;
        match self.words.get(word).copied() {
            Some(index) => self.number(index),
            None => {
                self.words.insert(word.to_owned(), next);
                self.number(0);
                self.text(word);
            }
        }
    }

    /// Rank and priority in one number: a byte, as orders are short.
    fn severity(&mut self, severity: &Severity) {
        let priority = severity.priority.map_or(0, |priority| priority as u64 + 1);
        self.number(u64::from(severity.rank) * PRIORITIES + priority);
        self.word(&severity.name);
    }

    fn standing(&mut self, standing: Standing) {
        match standing {
            Standing::Waiting => self.number(0),
            Standing::Assumed => self.number(1),
            Standing::Own { published, superseded_by: None } => self.number(3 + u64::from(published)),
            Standing::Own { published, superseded_by: Some(storm) } => {
                self.number(5 + u64::from(published));
                self.generation(storm);
            }
            Standing::Joined { storm, founder } => {
                self.number(7 + u64::from(founder));
                self.generation(storm);
            }
        }
    }

    fn told(&mut self, told: &Told) {
        self.number(u64::from(told.changes));
        self.number(u64::from(told.told));
        self.number(u64::try_from(told.interval.as_millis()).unwrap_or(u64::MAX));
        self.maybe_time((told.at != EventTime::default()).then_some(told.at));
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    words: Vec<String>,
    clock: i64,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let (form, bytes) = bytes.split_first()?;
        (*form == FORM).then_some(Self { bytes, words: Vec::new(), clock: 0 })
    }

    fn many<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number()?;
        (0..count).map(|_| read(self)).collect()
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn time(&mut self) -> Option<EventTime> {
        self.clock = self.clock.wrapping_add(self.signed()?);
        Some(EventTime(self.clock))
    }

    fn maybe_time(&mut self) -> Option<Option<EventTime>> {
        if self.number()? == 0 {
            return Some(None);
        }
        Some(Some(EventTime(self.clock.wrapping_add(self.signed()?))))
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position { partition: i32::try_from(self.signed()?).ok()?, offset: self.signed()? })
    }

    fn generation(&mut self) -> Option<Generation> {
        Some(Generation { at: self.time()?, position: self.position()? })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*head)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        let (head, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        String::from_utf8(head.to_vec()).ok()
    }

    fn word(&mut self) -> Option<String> {
        let index = usize::try_from(self.number()?).ok()?;
        if let Some(known) = index.checked_sub(1) {
            return self.words.get(known).cloned();
        }
        let word = self.text()?;
        self.words.push(word.clone());
        Some(word)
    }

    fn severity(&mut self) -> Option<Severity> {
        let number = self.number()?;
        let rank = u32::try_from(number / PRIORITIES).ok()?;
        let priority = usize::try_from(number % PRIORITIES).ok()?.checked_sub(1).map(|at| Priority::ALL[at]);
        Some(Severity { rank, name: self.word()?, priority })
    }

    fn standing(&mut self) -> Option<Standing> {
        Some(match self.number()? {
            0 => Standing::Waiting,
            1 => Standing::Assumed,
            form @ (3 | 4) => Standing::Own { published: form == 4, superseded_by: None },
            form @ (5 | 6) => Standing::Own { published: form == 6, superseded_by: Some(self.generation()?) },
            form @ (7 | 8) => Standing::Joined { founder: form == 8, storm: self.generation()? },
            _ => return None,
        })
    }

    fn told(&mut self) -> Option<Told> {
        let (changes, told) = (u32::try_from(self.number()?).ok()?, u32::try_from(self.number()?).ok()?);
        let interval = Duration::from_millis(self.number()?);
        Some(Told { changes, told, interval, at: self.maybe_time()?.unwrap_or_default() })
    }
}
