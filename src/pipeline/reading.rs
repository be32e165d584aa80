//! One pass over a text: turns each value that was written into what is meant, or notes a fault.
//!
//! **Invariant:** a value passes through a [`Reading`] exactly once, so that `print config` can tell where each came from.

use std::{fmt, ops::RangeInclusive, time::Duration};

use serde_saphyr::Location;

use super::{
    fault::{self, Fault},
    written::{Budget, Count, Scalar, Size, Span, Written, meant_span, parse_size, show_size, show_span},
};

/// One setting in force, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `storm.threshold`.
    pub field: String,
    /// As one would write it.
    pub value: String,
    /// `default`, or `FILE:LINE:COLUMN`.
    pub origin: String,
}

/// One pass over a pipeline's text: faults and settings gather here.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    file: &'a str,
    text: &'a str,
    /// What was wrong, so far.
    pub faults: Vec<Fault>,
    /// What is in force, so far.
    pub settings: Vec<Setting>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, faults: Vec::new(), settings: Vec::new() }
    }

    /// Notes a fault at a place, the file's beginning if nothing was written.
    pub(super) fn fault(&mut self, place: Option<Location>, text: impl Into<String>, hint: impl Into<String>) {
        let (line, column) = fault::place(place);
        self.fault_at(line, column, (text.into(), hint.into()));
    }

    /// Notes a fault at a line and column.
    pub(super) fn fault_at(&mut self, line: u64, column: u64, (text, hint): (String, String)) {
        self.faults.push(Fault { file: self.file.to_owned(), line, column, text, hint });
    }

    /// The line and column of a character inside a written text; the text's own place if it was folded or escaped.
    pub(super) fn inside(&self, written: &Written<String>, offset: usize) -> (u64, u64) {
        let value = &written.0.value;
        let (line, column) = fault::place(Some(written.place()));
        let before = value.get(..offset).unwrap_or_default();
        let row = before.matches('\n').count();
        let (indent, of_row) =
            (before.rsplit('\n').next().unwrap_or_default(), value.lines().nth(row).unwrap_or_default());
        let first = usize::try_from(line - 1).unwrap_or(usize::MAX);
        let mut lines = (line..).zip(self.text.lines().skip(first)).skip(row);
        let found = lines.find_map(|(line, text)| text.find(of_row).map(|at| (line, &text[..at])));
        found.map_or((line, column), |(line, head)| (line, (head.chars().count() + indent.chars().count()) as u64 + 1))
    }

    /// Notes that a setting is in force.
    pub(super) fn note(&mut self, field: &str, value: impl fmt::Display, place: Option<Location>) {
        let origin = place
            .map_or_else(|| "default".to_owned(), |place| format!("{}:{}:{}", self.file, place.line(), place.column()));
        self.settings.push(Setting { field: field.to_owned(), value: value.to_string(), origin });
    }

    /// A whole number within its limits.
    pub(super) fn count<N>(
        &mut self,
        field: &str,
        written: &Option<Written<Count>>,
        default: N,
        limits: RangeInclusive<N>,
    ) -> N
    where
        N: Copy + PartialOrd + fmt::Display + TryFrom<i64>,
    {
        let meant = written.as_ref().and_then(|count| self.whole(field, &count.0.value.0, count.place()));
        let got = meant.and_then(|number| self.within(field, number, &limits, written.as_ref().map(Written::place)));
        let value = got.unwrap_or(default);
        self.note(field, value, written.as_ref().map(Written::place));
        value
    }

    /// A budget: a whole number from 1 on, or none.
    pub(super) fn budget(
        &mut self,
        field: &str,
        written: &Option<Written<Budget>>,
        default: Option<u32>,
    ) -> Option<u32> {
        let place = written.as_ref().map(Written::place);
        let value = match written.as_ref().map(|budget| &budget.0.value.0) {
            None => default,
            Some(Scalar::Other(word)) if word == "unlimited" => None,
            Some(Scalar::Other(word)) => {
                let text = format!("{field} must be a whole number or the word unlimited, got {word:?}");
                self.fault(place, text, "write it like 20, or unlimited");
                default
            }
            Some(Scalar::Whole(number)) => self.within(field, *number, &(1..=100_000), place).or(default),
        };
        self.note(field, value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string()), place);
        value
    }

    /// A span of time within its limits.
    pub(super) fn span(
        &mut self,
        field: &str,
        written: &Option<Written<Span>>,
        default: Duration,
        limits: RangeInclusive<Duration>,
    ) -> Duration {
        let place = written.as_ref().map(Written::place);
        let meant = written.as_ref().and_then(|span| match meant_span(&span.0.value.0) {
            Ok(span) => Some(span),
            Err((text, hint)) => {
                self.fault(place, format!("{field} {text}"), hint);
                None
            }
        });
        let value = match meant {
            Some(span) if span < *limits.start() => {
                let least = show_span(*limits.start());
                self.fault(
                    place,
                    format!("{field} must be at least {least}, got {}", show_span(span)),
                    format!("write {least} or more"),
                );
                default
            }
            Some(span) if span > *limits.end() => {
                let most = show_span(*limits.end());
                self.fault(
                    place,
                    format!("{field} must be at most {most}, got {}", show_span(span)),
                    format!("write {most} or less"),
                );
                default
            }
            Some(span) => span,
            None => default,
        };
        self.note(field, show_span(value), place);
        value
    }

    /// A number of bytes within its limits.
    pub(super) fn size(
        &mut self,
        field: &str,
        written: &Option<Written<Size>>,
        default: usize,
        limits: RangeInclusive<usize>,
    ) -> usize {
        let place = written.as_ref().map(Written::place);
        let meant = written.as_ref().and_then(|size| {
            let bytes = parse_size(&size.0.value.0);
            if bytes.is_none() {
                let text = format!("{field} must be a number of bytes with its unit, got {}", size.0.value.0);
                self.fault(place, text, format!("write it like {}", show_size(default)));
            }
            bytes
        });
        let value = match meant {
            Some(bytes) if !limits.contains(&bytes) => {
                let (least, most) = (show_size(*limits.start()), show_size(*limits.end()));
                self.fault(
                    place,
                    format!("{field} must be from {least} to {most}, got {}", show_size(bytes)),
                    format!("write it like {}", show_size(default)),
                );
                default
            }
            Some(bytes) => bytes,
            None => default,
        };
        self.note(field, show_size(value), place);
        value
    }

    /// A name that is not empty, of the letters that Kafka takes for topics and groups.
    pub(super) fn name(&mut self, field: &str, written: &Option<Written<String>>, default: &str) -> String {
        let place = written.as_ref().map(Written::place);
        let name = written.as_ref().map_or(default, |name| name.0.value.as_str());
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.contains(':') || name.contains('/') {
            let text = format!("{field} is a name, got {name:?}, which looks like an address");
            self.fault(
                place,
                text,
                "addresses are set in the environment: BREAKWATER_KAFKA_BROKERS, BREAKWATER_REDIS_URL",
            );
        } else if name.is_empty() || name.len() > 200 || !name.chars().all(legal) || name == "." || name == ".." {
            let text = format!("{field} must be 1 to 200 letters, digits, dots, dashes or underscores, got {name:?}");
            self.fault(place, text, format!("write it like {default}"));
        }
        self.note(field, name, place);
        name.to_owned()
    }

    /// A text that is neither empty nor blank.
    pub(super) fn text(&mut self, field: &str, written: &Option<Written<String>>, default: &str) -> String {
        let place = written.as_ref().map(Written::place);
        let text = written.as_ref().map_or(default, |text| text.0.value.as_str());
        self.filled(field, text, place);
        self.note(field, text, place);
        text.to_owned()
    }

    /// Notes a fault where a text is empty or blank.
    pub(super) fn filled(&mut self, field: &str, text: &str, place: Option<Location>) {
        if text.trim().is_empty() {
            self.fault(place, format!("{field} must not be empty"), "write a value, or remove the line");
        }
    }

    fn whole(&mut self, field: &str, scalar: &Scalar, place: Location) -> Option<i64> {
        match scalar {
            Scalar::Whole(number) => Some(*number),
            Scalar::Other(_) => {
                self.fault(
                    Some(place),
                    format!("{field} must be a whole number, got {scalar}"),
                    "write digits only, without quotes",
                );
                None
            }
        }
    }

    fn within<N>(&mut self, field: &str, number: i64, limits: &RangeInclusive<N>, place: Option<Location>) -> Option<N>
    where
        N: Copy + PartialOrd + fmt::Display + TryFrom<i64>,
    {
        let (least, most) = (limits.start(), limits.end());
        match N::try_from(number) {
            Ok(value) if limits.contains(&value) => return Some(value),
            Ok(value) if value > *most => {
                self.fault(
                    place,
                    format!("{field} must be at most {most}, got {number}"),
                    format!("write {most} or less"),
                );
            }
            Err(_) if number > 0 => {
                self.fault(
                    place,
                    format!("{field} must be at most {most}, got {number}"),
                    format!("write {most} or less"),
                );
            }
            Ok(_) | Err(_) => {
                self.fault(
                    place,
                    format!("{field} must be at least {least}, got {number}"),
                    format!("write {least} or more"),
                );
            }
        }
        None
    }
}
