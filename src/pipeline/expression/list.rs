//! What the conditions of one list of rules may be together: they are asked one after the other, until one holds.

use super::Expression;

/// All conditions together, in bytes: what a judgement takes is in proportion to it.
const MOST_TEXT: usize = 16 * 1024;

/// Patterns of all conditions together: each is compiled when it is asked.
const MOST_PATTERNS: usize = 8;

/// Rules of one list.
pub(in crate::pipeline) const MOST_RULES: usize = 200;

/// What is too much about a list of rules, and what to do about it; `join` says how rules become fewer.
pub(in crate::pipeline) fn too_much<'a>(
    (field, rules): (&str, usize),
    sources: impl Iterator<Item = &'a str>,
    compiled: impl Iterator<Item = &'a Expression>,
    join: &str,
) -> Option<(String, String)> {
    let (bytes, patterns) = (sources.map(str::len).sum::<usize>(), compiled.map(Expression::patterns).sum::<usize>());
    if patterns > MOST_PATTERNS {
        let text = format!("{field} asks matches {patterns} times, at most {MOST_PATTERNS} are allowed");
        return Some((text, "use startsWith, endsWith, contains or in, or join patterns, a|b".to_owned()));
    }
    (rules > MOST_RULES || bytes > MOST_TEXT).then(|| {
        let most = format!("{field} has at most {MOST_RULES} rules and {MOST_TEXT} bytes of conditions");
        (format!("{most}, got {rules} and {bytes}"), join.to_owned())
    })
}
