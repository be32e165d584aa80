//! An expression as a choice of conditions that hold together, as far as that can be seen by its form. This is what tells
//! a rule that another one hides, and a rule that never holds. What it cannot see it leaves alone.

use std::collections::BTreeSet;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, LiteralValue, operators},
};

/// More alternatives than this are not looked at: the expression then stands for itself, as one condition.
const MOST: usize = 64;

/// One condition, in one spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Atom {
    /// What is written on the left has the value on the right.
    Is(String, String),
    /// Anything else.
    Other(String),
    /// The opposite of anything else.
    Not(String),
}

/// Conditions that hold together.
type Together = BTreeSet<Atom>;

/// Alternatives, one of which must hold. None = it never holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms(Vec<Together>);

impl Terms {
    /// Of a checked expression.
    pub(super) fn of(root: &IdedExpr) -> Self {
        let whole = || vec![Together::from([Atom::Other(text(root))])];
        Self(alternatives(root).unwrap_or_else(whole))
    }

    /// Whether each alternative of the other asks for all that one of ours asks for.
    pub(super) fn cover(&self, other: &Self) -> bool {
        let ours = |theirs: &Together| self.0.iter().any(|ours| ours.is_subset(theirs));
        other.0.iter().filter(|theirs| !contradict(theirs)).all(ours)
    }

    /// Whether one alternative asks for nothing.
    pub(super) fn are_always(&self) -> bool {
        self.0.iter().any(BTreeSet::is_empty)
    }

    /// Whether each alternative contradicts itself.
    pub(super) fn are_never(&self) -> bool {
        self.0.iter().all(contradict)
    }
}

fn contradict(together: &Together) -> bool {
    together.iter().any(|atom| match atom {
        Atom::Is(left, value) => {
            together.iter().any(|other| matches!(other, Atom::Is(same, another) if same == left && another != value))
        }
        Atom::Not(text) => together.iter().any(|other| !matches!(other, Atom::Not(_)) && spelled(other) == *text),
        Atom::Other(_) => false,
    })
}

/// The alternatives of a part; none if they are too many.
fn alternatives(node: &IdedExpr) -> Option<Vec<Together>> {
    let atom = |atom: Atom| Some(vec![Together::from([atom])]);
    let Expr::Call(call) = &node.expr else {
        return match boolean(node) {
            Some(true) => Some(vec![Together::new()]),
            Some(false) => Some(Vec::new()),
            None => atom(Atom::Other(text(node))),
        };
    };
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::LOGICAL_OR, [left, right]) => {
            let mut all = alternatives(left)?;
            all.extend(alternatives(right)?);
            (all.len() <= MOST).then_some(all)
        }
        (operators::LOGICAL_AND, [left, right]) => both(&alternatives(left)?, &alternatives(right)?),
        (operators::EQUALS, [left, right]) => atom(equal(left, right)),
        (operators::NOT_EQUALS, [left, right]) => atom(Atom::Not(spelled(&equal(left, right)))),
        (operators::IN, [left, right]) => one_of(left, right).or_else(|| atom(Atom::Other(text(node)))),
        (operators::LOGICAL_NOT, [part]) => match boolean(part) {
            Some(value) => Some(if value { Vec::new() } else { vec![Together::new()] }),
            None => atom(Atom::Not(text(part))),
        },
        _ => atom(Atom::Other(text(node))),
    }
}

fn both(left: &[Together], right: &[Together]) -> Option<Vec<Together>> {
    let pairs = left.iter().flat_map(|left| right.iter().map(move |right| left.union(right).cloned().collect()));
    (left.len().saturating_mul(right.len()) <= MOST).then(|| pairs.collect())
}

/// `x in ['a', 'b']` is `x == 'a' || x == 'b'`.
fn one_of(left: &IdedExpr, right: &IdedExpr) -> Option<Vec<Together>> {
    let Expr::List(list) = &right.expr else { return None };
    let all = list.elements.iter().all(|element| matches!(element.expr, Expr::Literal(_)));
    let each = list.elements.iter().map(|element| Together::from([equal(left, element)]));
    (all && list.elements.len() <= MOST).then(|| each.collect())
}

fn equal(left: &IdedExpr, right: &IdedExpr) -> Atom {
    match (&left.expr, &right.expr) {
        (Expr::Literal(_), Expr::Literal(_)) => Atom::Other(format!("{} == {}", text(left), text(right))),
        (Expr::Literal(_), _) => Atom::Is(text(right), text(left)),
        (_, Expr::Literal(_)) => Atom::Is(text(left), text(right)),
        _ => {
            let mut sides = [text(left), text(right)];
            sides.sort();
            Atom::Other(sides.join(" == "))
        }
    }
}

fn spelled(atom: &Atom) -> String {
    match atom {
        Atom::Is(left, value) => format!("{left} == {value}"),
        Atom::Other(text) | Atom::Not(text) => text.clone(),
    }
}

fn boolean(node: &IdedExpr) -> Option<bool> {
    let Expr::Literal(LiteralValue::Boolean(value)) = &node.expr else { return None };
    Some(*value.inner())
}

/// A part in one spelling, however it was written.
fn text(node: &IdedExpr) -> String {
    match &node.expr {
        Expr::Ident(name) => name.clone(),
        Expr::Literal(literal) => format!("{literal:?}"),
        Expr::Select(select) => format!("{}[{:?}]", text(&select.operand), select.field),
        Expr::List(list) => format!("[{}]", list.elements.iter().map(text).collect::<Vec<_>>().join(", ")),
        Expr::Call(call) => call_text(call),
        other @ (Expr::Map(_) | Expr::Struct(_) | Expr::Comprehension(_) | Expr::Unspecified) => format!("{other:?}"),
    }
}

fn call_text(call: &CallExpr) -> String {
    let parts: Vec<&IdedExpr> = call.target.iter().map(AsRef::as_ref).chain(&call.args).collect();
    match (call.func_name.as_str(), parts.as_slice()) {
        (operators::INDEX, [target, index]) => {
            if let Expr::Literal(LiteralValue::String(key)) = &index.expr {
                format!("{}[{:?}]", text(target), key.inner())
            } else {
                format!("{}[{}]", text(target), text(index))
            }
        }
        (operators::EQUALS, [left, right]) => spelled(&equal(left, right)),
        (name, parts) => format!("{name}({})", parts.iter().map(|part| text(part)).collect::<Vec<_>>().join(", ")),
    }
}
