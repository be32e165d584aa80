//! What comes from elsewhere becomes text on the page, and never anything but text.

use std::fmt::{self, Display, Write as _};

/// A text, escaped: for an element's content and for a quoted attribute. What steers a terminal or the direction of writing
/// is shown as a replacement character.
pub(super) struct Text<'a>(pub(super) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                char if char.is_control() || steers(char) => out.write_char('\u{fffd}')?,
                char => out.write_char(char)?,
            }
        }
        Ok(())
    }
}

/// Marks, embeddings, overrides and isolates of direction, and separators of lines.
fn steers(char: char) -> bool {
    matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A count or a rate, as short as it can be said.
pub(super) struct Count(pub(super) f64);

impl Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.fract().abs() > 0.05 && self.0 < 100.0 {
            return write!(out, "{:.1}", self.0);
        }
        let digits = format!("{:.0}", self.0);
        let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
        out.write_str(sign)?;
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                out.write_char('\u{202f}')?;
            }
            out.write_char(digit)?;
        }
        Ok(())
    }
}

/// A span of seconds, as a person would say it.
pub(super) struct Span(pub(super) f64);

impl Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.max(0.0) {
            seconds if seconds < 10.0 => write!(out, "{seconds:.1} s"),
            seconds if seconds < 120.0 => write!(out, "{seconds:.0} s"),
            seconds if seconds < 7200.0 => write!(out, "{:.0} min", seconds / 60.0),
            seconds if seconds < 172_800.0 => write!(out, "{:.0} h", seconds / 3600.0),
            seconds => write!(out, "{:.0} d", seconds / 86_400.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o12_no_text_is_markup_and_none_steers() {
        let hostile = "<script>&\"'\u{1b}[31m\r\n\u{202e}ä";
        assert_eq!(Text(hostile).to_string(), "&lt;script&gt;&amp;&quot;&#39;\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}ä");
    }

    #[test]
    fn figures_are_said_shortly() {
        let counts = [0.0, 12.34, 999.0, 1000.0, -1_234_567.0].map(|count| Count(count).to_string());
        assert_eq!(counts, ["0", "12.3", "999", "1\u{202f}000", "-1\u{202f}234\u{202f}567"]);
        let spans = [0.0, 59.6, 600.0, 10_000.0, 200_000.0].map(|seconds| Span(seconds).to_string());
        assert_eq!(spans, ["0.0 s", "60 s", "10 min", "3 h", "2 d"]);
    }
}
