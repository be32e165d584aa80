//! How JSON from anywhere is read: never deeper than told, never by position, and every fault named with its place.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, MapAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

use super::record::AlertError;

/// Labels or annotations as they stand in the text: borrowed where no escape forbids it, in their order.
#[derive(Debug, Default)]
pub(super) struct Texts<'a>(pub(super) Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Texts<'a> {
    /// The value of a key that is there and not empty; of a key given twice the last one counts.
    pub(super) fn find(&self, key: &str) -> Option<&Cow<'a, str>> {
        let (_, value) = self.0.iter().rev().find(|(name, _)| name == key)?;
        (!value.is_empty()).then_some(value)
    }

    /// All of them, owned; of a key given twice the last one counts.
    pub(super) fn into_map(self) -> std::collections::BTreeMap<String, String> {
        self.0.into_iter().map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
    }
}

/// Decodes an object of labels; for `deserialize_with`.
pub(super) fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Texts<'de>, D::Error> {
    deserializer.deserialize_map(OfTexts { what: "label" })
}

/// Decodes an object of annotations, or null; for `deserialize_with`.
pub(super) fn annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Texts<'de>, D::Error> {
    deserializer.deserialize_any(OfTexts { what: "annotation" })
}

struct OfTexts {
    what: &'static str,
}

impl<'de> Visitor<'de> for OfTexts {
    type Value = Texts<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "an object of {}s", self.what)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        match self.what {
            "annotation" => Ok(Texts::default()),
            _ => Err(E::invalid_type(serde::de::Unexpected::Unit, &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::with_capacity(16);
        while let Some(Text(key)) = map.next_key()? {
            let value = map.next_value_seed(ValueOf { what: self.what, key: &key })?;
            texts.push((key, value));
        }
        Ok(Texts(texts))
    }
}

/// The fields of an object, none of them read yet; of a field given twice the last one counts.
#[derive(Default)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The first of these names that is there and not null.
    pub(super) fn find(&self, names: &[&str]) -> Option<&'a RawValue> {
        names.iter().find_map(|name| {
            let (_, value) = self.0.iter().rev().find(|(key, _)| key == name)?;
            (value.get() != "null").then_some(*value)
        })
    }

    /// The same, if it is a text that is not empty.
    pub(super) fn text(&self, names: &[&str]) -> Option<Cow<'a, str>> {
        lenient(self.find(names))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfFields)
    }
}

struct OfFields;

impl<'de> Visitor<'de> for OfFields {
    type Value = Fields<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((Text(key), value)) = map.next_entry()? {
            fields.push((key, value));
        }
        Ok(Fields(fields))
    }
}

/// A text, borrowed where no escape forbids it.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The value of one label: a text, or a fault that names the label.
struct ValueOf<'k> {
    what: &'static str,
    key: &'k str,
}

impl<'de> DeserializeSeed<'de> for ValueOf<'_> {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for ValueOf<'_> {
    type Value = Cow<'de, str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "text as the value of {} `{}`", self.what, shown(self.key, 100))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The text behind an optional field; anything but a text that is not empty is as good as none.
pub(super) fn lenient(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let Text(text) = serde_json::from_str(raw?.get()).ok()?;
    (!text.is_empty()).then_some(text)
}

/// The number behind an optional field; anything but a number from 0 on is as good as none.
pub(super) fn count(raw: Option<&RawValue>) -> Option<u64> {
    raw?.get().parse().ok()
}

/// The bytes as text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, AlertError> {
    std::str::from_utf8(bytes).map_err(|fault| {
        let (line, column) = place(bytes, fault.valid_up_to());
        AlertError::malformed(format!("not UTF-8 at line {line} column {column}"))
    })
}

/// Whether arrays and objects nest at most so deep. Looks at every byte once and keeps nothing, so that no input can
/// exhaust the stack of what reads it next.
pub(super) fn shallow(text: &str, limit: usize) -> Result<(), AlertError> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            let (line, column) = place(text.as_bytes(), at);
            return Err(AlertError::malformed(format!(
                "nested deeper than {limit} arrays and objects at line {line} column {column}"
            )));
        }
    }
    Ok(())
}

/// Reads one JSON object, and nothing after it. `what` begins the fault's text.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str, what: &str) -> Result<T, AlertError> {
    // because serde would fill a struct from an array too, by position
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => serde_json::from_str(text).map_err(|fault| told(&fault, what)),
        first => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Err(fault) => Err(told(&fault, what)),
            Ok(_) => Err(AlertError::invalid(format!("{what}: must be an object, got {}", called(first)))),
        },
    }
}

fn called(first: Option<&u8>) -> &'static str {
    match first {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        _ => "a number",
    }
}

/// What serde found wrong, cut to a readable length, with line and column.
fn told(fault: &serde_json::Error, what: &str) -> AlertError {
    let place = format!(" at line {} column {}", fault.line(), fault.column());
    let whole = fault.to_string();
    let cause = shown(whole.strip_suffix(&place).unwrap_or(&whole), 300);
    let text = format!("{what}: {cause}{place}");
    match fault.classify() {
        Category::Data => AlertError::invalid(text),
        Category::Syntax | Category::Eof | Category::Io => AlertError::malformed(text),
    }
}

/// Someone else's text in a message of ours: escaped, and at most so many characters.
pub(super) fn shown(text: &str, most: usize) -> String {
    let mut head: String = text.chars().take(most).flat_map(keep_visible).collect();
    if text.chars().nth(most).is_some() {
        head.push('…');
    }
    head
}

fn keep_visible(letter: char) -> impl Iterator<Item = char> {
    let escaped = letter.is_control().then(|| letter.escape_debug());
    let plain = escaped.is_none().then_some(letter);
    escaped.into_iter().flatten().chain(plain)
}

/// Line and column, from 1, of a byte.
fn place(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = &bytes[..at.min(bytes.len())];
    let line = before.split(|byte| *byte == b'\n').count();
    let column = before.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c08_nesting_is_counted_outside_of_strings_only() {
        assert!(shallow(r#"{"a":["[[[[[[","\"[[[[", {"b":[]}]}"#, 4).is_ok());
        assert!(shallow(&"[".repeat(10_000), 100).is_err());
        let text = shallow("{\n \"a\": [[[", 3).unwrap_err().text;
        assert_eq!(text, "nested deeper than 3 arrays and objects at line 2 column 9");
    }

    #[test]
    fn c01_bytes_that_are_no_text_are_told_by_line_and_column() {
        let fault = text(b"{\n  \"a\xff\"}").unwrap_err();
        assert_eq!((fault.reason, fault.text.as_str()), ("malformed", "not UTF-8 at line 2 column 5"));
    }

    #[test]
    fn foreign_text_in_a_message_is_short_and_without_control_characters() {
        assert_eq!(shown("a\r\n\u{1b}[31mb", 100), "a\\r\\n\\u{1b}[31mb");
        assert_eq!(shown("ééééé", 3), "ééé…");
    }

    #[test]
    fn a_struct_is_never_filled_by_position() {
        #[derive(Debug, Deserialize)]
        struct One {
            #[expect(dead_code, reason = "only its form matters")]
            a: u8,
        }
        assert!(object::<One>(r#"{"a":1}"#, "it").is_ok());
        assert_eq!(object::<One>("[1]", "it").unwrap_err().text, "it: must be an object, got an array");
        assert_eq!(object::<One>("[1", "it").unwrap_err().reason, "malformed");
    }
}
