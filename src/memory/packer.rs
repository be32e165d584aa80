//! Numbers, times and words, packed: the letters in which [`super::form`] writes.
//!
//! Numbers are variable-length (LEB128, signed ones zigzag). Times and offsets are differences to the one before, names
//! too as far as they begin alike; words that repeat are written once, and words of every day not at all.

use std::collections::BTreeMap;

use crate::{
    alert::{EventTime, Position},
    decide::dedup::Severity,
    pipeline::priority::Priority,
    remediation::Generation,
};

/// The form of what is written. A value of another form is read as none; a new form gets a new number.
pub(super) const FORM: u8 = 3;

/// None, or one of four.
const PRIORITIES: u64 = 1 + Priority::ALL.len() as u64;

/// Words that nearly every value has, by their place. None is ever taken away or moved: that is a new form.
const EVERY_DAY: [&str; 8] = ["", "warning", "critical", "info", "Pod", "Deployment", "Node", "unknown"];

/// Writes.
pub(super) struct Packer {
    /// What was written.
    pub(super) bytes: Vec<u8>,
    words: BTreeMap<String, u64>,
    clock: i64,
    offsets: BTreeMap<i32, i64>,
    name: String,
}

impl Packer {
    pub(super) fn new() -> Self {
        let (words, offsets, name) = (BTreeMap::new(), BTreeMap::new(), String::new());
        Self { bytes: vec![FORM], words, clock: 0, offsets, name }
    }

    pub(super) fn many<T>(
        &mut self,
        items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
        mut pack: impl FnMut(&mut Self, T),
    ) {
        let items = items.into_iter();
        self.number(items.len() as u64);
        items.for_each(|item| pack(self, item));
    }

    pub(super) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push((value & 0x7f) as u8);
    }

    fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    pub(super) fn time(&mut self, at: EventTime) {
        self.aside(at);
        self.clock = at.0;
    }

    /// A far-off time would spoil the differences, so it leaves the clock alone.
    pub(super) fn aside(&mut self, at: EventTime) {
        self.signed(at.0.wrapping_sub(self.clock));
    }

    pub(super) fn maybe_time(&mut self, at: Option<EventTime>) {
        self.number(u64::from(at.is_some()));
        at.into_iter().for_each(|at| self.aside(at));
    }

    pub(super) fn position(&mut self, position: Position) {
        self.signed(i64::from(position.partition));
        let before = self.offsets.insert(position.partition, position.offset).unwrap_or_default();
        self.signed(position.offset.wrapping_sub(before));
    }

    pub(super) fn generation(&mut self, generation: Generation) {
        self.time(generation.at);
        self.position(generation.position);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Names of one group mostly begin alike.
    pub(super) fn name(&mut self, name: &str) {
        let alike = self.name.bytes().zip(name.bytes()).take_while(|(before, now)| before == now).count();
        let alike = (0..=alike).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
        self.number(alike as u64);
        self.text(&name[alike..]);
        name.clone_into(&mut self.name);
    }

    pub(super) fn word(&mut self, word: &str) {
        let next = (EVERY_DAY.len() + self.words.len()) as u64 + 1;
        let known = EVERY_DAY.iter().position(|known| *known == word).map(|place| place as u64 + 1);
        match known.or_else(|| self.words.get(word).copied()) {
            Some(index) => self.number(index),
            None => {
                self.words.insert(word.to_owned(), next);
                self.number(0);
                self.text(word);
            }
        }
    }

    /// Rank and priority in one number: a byte, as orders are short.
    pub(super) fn severity(&mut self, severity: &Severity) {
        let priority = severity.priority.map_or(0, |priority| priority as u64 + 1);
        self.number(u64::from(severity.rank) * PRIORITIES + priority);
        self.word(&severity.name);
    }
}

/// Reads what a [`Packer`] wrote, in the same order.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    words: Vec<String>,
    clock: i64,
    offsets: BTreeMap<i32, i64>,
    name: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let (form, bytes) = bytes.split_first()?;
        let (words, offsets, name) = (Vec::new(), BTreeMap::new(), String::new());
        (*form == FORM).then_some(Self { bytes, words, clock: 0, offsets, name })
    }

    pub(super) fn many<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number()?;
        (0..count).map(|_| read(self)).collect()
    }

    pub(super) fn number(&mut self) -> Option<u64> {
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

    pub(super) fn time(&mut self) -> Option<EventTime> {
        let at = self.aside()?;
        self.clock = at.0;
        Some(at)
    }

    pub(super) fn aside(&mut self) -> Option<EventTime> {
        Some(EventTime(self.clock.wrapping_add(self.signed()?)))
    }

    pub(super) fn maybe_time(&mut self) -> Option<Option<EventTime>> {
        if self.number()? == 0 { Some(None) } else { self.aside().map(Some) }
    }

    pub(super) fn position(&mut self) -> Option<Position> {
        let partition = i32::try_from(self.signed()?).ok()?;
        let before = self.offsets.get(&partition).copied().unwrap_or_default();
        let offset = before.wrapping_add(self.signed()?);
        self.offsets.insert(partition, offset);
        Some(Position { partition, offset })
    }

    pub(super) fn generation(&mut self) -> Option<Generation> {
        Some(Generation { at: self.time()?, position: self.position()? })
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
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

    pub(super) fn name(&mut self) -> Option<String> {
        let alike = usize::try_from(self.number()?).ok()?;
        let rest = self.text()?;
        let name = format!("{}{rest}", self.name.get(..alike)?);
        self.name.clone_from(&name);
        Some(name)
    }

    pub(super) fn word(&mut self) -> Option<String> {
        let index = usize::try_from(self.number()?).ok()?;
        if let Some(known) = index.checked_sub(1) {
            let own = || self.words.get(known.checked_sub(EVERY_DAY.len())?).cloned();
            return EVERY_DAY.get(known).map(|word| (*word).to_owned()).or_else(own);
        }
        let word = self.text()?;
        self.words.push(word.clone());
        Some(word)
    }

    pub(super) fn severity(&mut self) -> Option<Severity> {
        let number = self.number()?;
        let rank = u32::try_from(number / PRIORITIES).ok()?;
        let priority = usize::try_from(number % PRIORITIES).ok()?.checked_sub(1).map(|at| Priority::ALL[at]);
        Some(Severity { rank, name: self.word()?, priority })
    }
}
