//! What an expression may say, and what is refused.

use std::collections::BTreeMap;

use super::{check::MAX_DEPTH, *};
use crate::alert::specimen;

fn alert() -> Alert {
    Alert { labels: BTreeMap::from([("team".into(), "platform".into()), ("tier".into(), "7".into())]), ..specimen() }
}

/// Asserts what an expression says of an alert of the team platform.
fn holds(source: &str, expected: bool) {
    assert_eq!(Expression::compile(source).unwrap().holds(&alert()), Ok(expected), "{source}");
}

/// Asserts that an expression is refused: `COLUMN: text`.
fn refused(source: &str, expected: &str) {
    let refused = Expression::compile(source).unwrap_err();
    assert_eq!(format!("{}: {}", refused.offset + 1, refused.text), expected, "{source}");
}

#[test]
fn an_expression_speaks_of_an_alert() {
    holds("alert.labels.team == 'platform'", true);
    holds("alert.labels['team'].startsWith('plat') && alert.kind == 'Pod'", true);
    holds("'team' in alert.labels && !('owner' in alert.labels)", true);
    holds("alert.labels.owner == ''", true);
    holds("alert.namespace in ['shop', 'cart']", false);
    holds("alert.name.matches('^Spec') ? alert.source == 'prometheus' : false", true);
    holds("size(alert.labels) == 2 || alert.annotations.summary.contains('x')", true);
    holds("alert.labels.team == 7", false);
}

#[test]
fn g11_a_name_that_does_not_exist_is_refused_at_its_column() {
    refused("alert.lables.team == 'x'", "7: an alert has no field lables");
    refused("alert.name == 'x' && labels.team == 'x'", "22: there is no variable labels");
    refused("alert == alert", "1: alert alone is no value");
    refused("alert.name == alert['name']", "15: alert alone is no value");
}

#[test]
fn g13_what_could_loop_or_grow_is_refused() {
    refused("[1, 2].all(a, a > 0)", "8: all is not allowed here");
    refused("has(alert.labels.team)", "1: has is not allowed here");
    refused("alert.name + alert.name == 'x'", "12: + is not allowed here");
    refused("timestamp('x') < timestamp('y')", "1: timestamp is not allowed here");
    refused("alert.name.matches(alert.kind)", "12: the pattern of matches must be written out");
    refused("{'a': 'b'}.a == 'b'", "1: only texts and lists of texts may be written here");
    let long = format!("alert.name == '{}'", "x".repeat(MAX_SOURCE));
    refused(&long, "1: an expression has at most 4096 bytes, got 4112");
}

#[test]
fn g13_what_nests_too_deep_is_refused_and_breaks_no_stack() {
    let chain = |word: &str, n: usize| vec!["true"; n].join(word);
    holds(&chain("==", MAX_DEPTH), true);
    let too_deep = "1: its parts nest more than 24 deep";
    for source in [
        chain("==", MAX_DEPTH + 1),
        chain("==", 680),
        chain(" in ", 500),
        chain("<", 800),
        chain("+", 800),
        chain(" - ", 580),
        format!("alert.labels{} == ''", ".a".repeat(2_000)),
        format!("alert.labels{} == ''", "['a']".repeat(800)),
    ] {
        refused(&source, too_deep);
    }
    for (open, close) in [("(", ")"), ("[", "]"), ("alert[", "]"), ("size(", ")")] {
        assert!(Expression::compile(&format!("{}true{}", open.repeat(500), close.repeat(500))).is_err());
    }
    assert!(Expression::compile(&("!-".repeat(2_000) + "true")).is_err());
    assert!(Expression::compile(&("true?true:".repeat(400) + "true")).is_err());
    assert!(Expression::compile(&("!".repeat(4_000) + "true")).is_ok());
}

#[test]
fn what_can_never_hold_is_refused_at_load_also_behind_a_condition() {
    refused("alert.name", "1: it must be true or false");
    refused("alert.name == 'x' && alert.name < 7", "33: < does not take (string, int)");
    refused(
        "alert.name == 'x' && alert.name.matches('(')",
        "40: Error executing function 'matches': '(' not a valid regex",
    );
}

#[test]
fn what_is_no_cel_is_told_in_words_that_say_what_to_write() {
    for (source, expected) in [
        ("alert.name ==", "14: not CEL: it ends too early; write it like"),
        ("alert.name = 'x'", "12: not CEL: from \"=\" on; write == to compare"),
        ("alert.name == 'x' and alert.kind == 'y'", "19: not CEL: from \"and\" on; write && for and"),
        ("alert.name == 'x' OR alert.kind == 'y'", "19: not CEL: from \"OR\" on; write || for or"),
        ("alert.name == x", "15: there is no variable x; write 'x' in quotes if the word is meant; there are alert"),
        ("labels.team == 'x'", "1: there is no variable labels; write alert.labels"),
        ("severity == 'x'", "1: there is no variable severity; write alert.severity"),
        (
            "environment == 'x'",
            "1: there is no variable environment; it is judged later, and only priority.rules know it",
        ),
    ] {
        let refused = Expression::compile(source).unwrap_err();
        let told = format!("{}: {refused}", refused.offset + 1);
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn g13_a_pattern_is_cheap_to_compile() {
    refused("alert.name.matches('(a{99}){99}')", "12: a pattern that counts repetitions unfolds into a large one");
    refused(r"alert.name.matches('\\w+')", r"12: \w stands for thousands of letters, and takes as long");
    refused(&format!("alert.name.matches('{}')", "a".repeat(65)), "12: a pattern has at most 64 bytes, got 65");
    refused(&["alert.name.matches('a')"; 5].join(" || "), "93: matches stands here more than 4 times");
    holds("alert.name.matches('^[A-Z][a-z]+$') && alert.name.matches('(?i)specimen|other')", true);
}

#[test]
fn a_long_flat_expression_is_welcome() {
    holds(&vec!["alert.labels.team == 'x'"; 140].join(" || "), false);
    holds(&vec!["alert.labels.team.startsWith('x')"; 100].join(" || "), false);
}

proptest::proptest! {
    #[test]
    fn o13_no_text_makes_the_reader_fail(source in "([a-z!=<>&|?:.,()\\[\\]{}'\"+ -]|alert|labels|true| in ){0,60}") {
        let refused = Expression::compile(&source).err().map(|refused| refused.text);
        proptest::prop_assert_ne!(refused.as_deref(), Some("the reader of CEL fails on it"));
    }
}
