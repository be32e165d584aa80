//! As written: values with their places, before anyone judged them; and spans and sizes, as text and back.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

/// A value that was written, and where.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent, bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Written<T>(pub Spanned<T>);

impl<T> Written<T> {
    pub(super) fn place(&self) -> Location {
        self.0.referenced
    }
}

impl<T: JsonSchema> JsonSchema for Written<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

/// A mapping in its written order; a key twice is an error of the YAML reader.
#[derive(Clone, Debug)]
pub(super) struct Entries<V>(pub Vec<(Written<String>, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for InOrder<V> {
            type Value = Entries<V>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder(std::marker::PhantomData))
    }
}

impl<V: JsonSchema> JsonSchema for Entries<V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("MapOf{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<V>();
        json_schema!({ "type": "object", "additionalProperties": value })
    }
}

/// A number or a word; which of the two is right is judged later, so that all faults are found in one go.
#[derive(Clone, Debug)]
pub(super) enum Scalar {
    Whole(i64),
    Other(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(out),
            Self::Other(text) => write!(out, "{text:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Scalar;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("one value")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Other(value.to_string()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::Whole(value))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
                Ok(i64::try_from(value).map_or_else(|_| Scalar::Other(value.to_string()), Scalar::Whole))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar::Other(value.to_string()))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Other(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A whole number.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Count(pub Scalar);

/// A number of bytes with its unit: `384KiB`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Size(pub Scalar);

/// A span of time with its unit: `2s`, `5m`, `1h30m`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Span(pub Scalar);

/// A budget: a whole number, or `unlimited`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Budget(pub Scalar);

/// Gives each scalar form its schema under its own name.
macro_rules! schema {
    ($form:ident, $($json:tt)+) => {
        impl JsonSchema for $form {
            fn schema_name() -> Cow<'static, str> {
                stringify!($form).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($($json)+)
            }
        }
    };
}

schema!(Count, { "type": "integer", "minimum": 0 });
schema!(Size, { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB)$", "description": "Bytes with their unit: 384KiB." });
schema!(Span, {
    "type": ["string", "integer"], "pattern": "^([0-9]+(ms|s|m|h|d))+$", "maximum": 0, "minimum": 0,
    "description": "A span of time with its unit: 2s, 5m, 1h30m. Only 0 needs none."
});
schema!(Budget, { "oneOf": [{ "type": "integer", "minimum": 1 }, { "const": "unlimited" }] });

/// A number and its unit, again and again: `1h30m`. The complaint continues a sentence that begins with the field.
pub(super) fn meant_span(written: &Scalar) -> Result<Duration, (String, String)> {
    let text = match written {
        Scalar::Whole(0) => return Ok(Duration::ZERO),
        Scalar::Whole(number) if *number < 0 => {
            return Err((format!("must not be negative, got {number}"), format!("write {}s", number.unsigned_abs())));
        }
        Scalar::Whole(number) => {
            return Err((format!("has no unit, got {number}"), format!("write {number}s or {number}m")));
        }
        Scalar::Other(text) => text,
    };
    if let Some(rest) = text.strip_prefix('-') {
        return Err((format!("must not be negative, got {text:?}"), format!("write {rest}")));
    }
    parse_span(text).ok_or_else(|| {
        (
            format!("must be a span of time, got {text:?}"),
            "write numbers and units (ms, s, m, h, d) like 2s or 1h30m".into(),
        )
    })
}

/// Reads what [`show_span`] writes, and what people do: `90s`, `1h30m`.
#[must_use]
pub fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        sum = sum.checked_add(Duration::from_millis(number.checked_mul(unit)?))?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(sum)
}

/// As one would write it: `2s`, `1h30m`, `0s`.
#[must_use]
pub fn show_span(span: Duration) -> String {
    let mut left = span.as_millis();
    let mut shown = String::new();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if left >= length {
            shown.push_str(&format!("{}{unit}", left / length));
            left %= length;
        }
    }
    if shown.is_empty() { "0s".to_owned() } else { shown }
}

pub(super) fn parse_size(written: &Scalar) -> Option<usize> {
    let Scalar::Other(text) = written else { return None };
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let unit = match &text[digits..] {
        "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return None,
    };
    text[..digits].parse::<usize>().ok()?.checked_mul(unit)
}

pub(super) fn show_size(bytes: usize) -> String {
    match bytes {
        0 => "0B".to_owned(),
        whole if whole.is_multiple_of(1024 * 1024) => format!("{}MiB", whole / 1024 / 1024),
        whole if whole.is_multiple_of(1024) => format!("{}KiB", whole / 1024),
        odd => format!("{odd}B"),
    }
}
