//! CEL, compiled at load against an allow list of names and functions.
//!
//! The one variable is `alert`. A label or annotation that an alert lacks reads as the empty text, as in `PromQL`;
//! `'team' in alert.labels` tells whether it is there. There are no loops, no clock and no arithmetic, so that the
//! length of the source bounds the work; each part is tried on a specimen at load, so that a wrong one is refused
//! before any alert is seen.

mod view;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, ExecutionError, IdedExpr, Program, Value,
    common::ast::{Expr, LiteralValue, operators},
};

use self::view::{AlertView, specimen};
use crate::alert::Alert;

/// The longest source, in bytes.
pub const MAX_SOURCE: usize = 4 * 1024;

/// How deep the parts of an expression may nest; evaluation recurses, so this bounds its stack.
const MAX_DEPTH: usize = 24;

/// What the reader of CEL may recurse into, on a thread of its own: some 40 KiB for each of at most 2 000 operators.
/// Only what is touched is taken.
const READER_STACK: usize = 256 * 1024 * 1024;

/// The fields of `alert`.
pub const FIELDS: [&str; 9] =
    ["name", "namespace", "severity", "kind", "resource", "cluster", "source", "labels", "annotations"];

/// What may be called; the rest of CEL's library is refused at load.
const FUNCTIONS: [&str; 18] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "size",
];

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::default().with_optional_support(false).with_stdlib()));

/// A condition on an alert alone, compiled.
#[derive(Clone)]
pub struct Expression {
    source: String,
    program: Arc<Program>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.source)
    }
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}; {hint}")]
pub struct Refused {
    /// Where in the source, in bytes.
    pub offset: usize,
    /// What is wrong.
    pub text: String,
    /// What to write instead.
    pub hint: String,
}

impl Refused {
    /// Of the expression as a whole.
    fn of(text: String, hint: &str) -> Self {
        Self { offset: 0, text, hint: hint.to_owned() }
    }
}

impl Expression {
    /// Compiles a condition; refuses what is not one, or could run away.
    pub fn compile(source: &str) -> Result<Self, Refused> {
        let source = source.trim_end();
        if source.len() > MAX_SOURCE {
            let text = format!("an expression has at most {MAX_SOURCE} bytes, got {}", source.len());
            return Err(Refused::of(text, "split it into several rules"));
        }
        let failed = || Refused::of("the reader of CEL fails on it".to_owned(), "write it more simply");
        let program = std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().stack_size(READER_STACK);
            let reader = reader.spawn_scoped(scope, || read(source)).map_err(|_| failed())?;
            reader.join().map_err(|_| failed())?
        })?;
        Ok(Self { source: source.to_owned(), program: Arc::new(program) })
    }

    /// As written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it holds for an alert. An error counts as not holding; the caller counts it.
    pub fn holds(&self, alert: &Alert) -> Result<bool, String> {
        match evaluate(self.program.expression(), alert) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("{:?} is neither true nor false but {:?}", self.source, other.type_of())),
            Err(error) => Err(format!("{:?}: {error}", self.source)),
        }
    }
}

/// Source → program, checked from the root down and tried on a specimen.
fn read(source: &str) -> Result<Program, Refused> {
    let program = ENV.compile(source).map_err(|errors| unparsed(source, &errors))?;
    let root = program.expression();
    if depth(root) > MAX_DEPTH {
        let text = format!("its parts nest more than {MAX_DEPTH} deep");
        return Err(Refused::of(text, "write lists, x in ['a', 'b'], or split it into several rules"));
    }
    Check { source, program: &program }.node(root)?;
    if !matches!(evaluate(root, &specimen()), Ok(Value::Bool(_))) {
        let hint = "compare it: alert.labels.team == 'platform'";
        return Err(Refused::of("a match must be true or false".to_owned(), hint));
    }
    Ok(program)
}

/// How deep the parts nest. Maps and structs are refused anyway, so what they hold does not count.
fn depth(node: &IdedExpr) -> usize {
    let deepest = match &node.expr {
        Expr::Select(select) => depth(&select.operand),
        Expr::List(list) => list.elements.iter().map(depth).max().unwrap_or_default(),
        Expr::Call(call) => {
            let parts = call.target.iter().map(AsRef::as_ref).chain(&call.args);
            parts.map(depth).max().unwrap_or_default()
        }
        Expr::Literal(_)
        | Expr::Ident(_)
        | Expr::Map(_)
        | Expr::Struct(_)
        | Expr::Comprehension(_)
        | Expr::Unspecified => 0,
    };
    deepest + 1
}

fn evaluate(node: &IdedExpr, alert: &Alert) -> Result<Value, ExecutionError> {
    Value::resolve(node, &context(alert))
}

fn context(alert: &Alert) -> Context<'_, '_> {
    let mut context = Context::with_env(Arc::clone(&ENV));
    context.add_variable_as_val("alert", Box::new(AlertView(alert)));
    context
}

fn unparsed(source: &str, errors: &cel::ParseErrors) -> Refused {
    let first = errors.errors.first();
    let (line, column) = first.map_or((1, 1), |error| error.pos);
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
    let above: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let said = first.map_or("unreadable", |error| error.msg.as_str());
    let text = format!("not CEL: {}", said.lines().next().unwrap_or("unreadable"));
    let offset = floor(source, above + column.saturating_sub(1));
    Refused { offset, text, hint: "write it like alert.namespace == 'shop' && alert.labels.team == 'platform'".into() }
}

/// One walk over a compiled source, from the root down.
struct Check<'a> {
    source: &'a str,
    program: &'a Program,
}

impl Check<'_> {
    fn node(&self, node: &IdedExpr) -> Result<(), Refused> {
        match &node.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) if name == "alert" => {
                self.refuse(node, name, "alert alone is no value", "write a field of it, such as alert.namespace")
            }
            Expr::Ident(name) => {
                let hint = format!("the one variable is alert, with the fields {}", FIELDS.join(", "));
                self.refuse(node, name, &format!("there is no variable {name}"), &hint)
            }
            Expr::Select(select) if select.operand.expr == Expr::Ident("alert".into()) => {
                self.field(node, &select.field)
            }
            Expr::Select(select) => self.node(&select.operand).and_then(|()| self.tried(node)),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.node(element)),
            Expr::Call(call) => {
                self.function(node, call)?;
                call.target.iter().map(AsRef::as_ref).chain(&call.args).try_for_each(|part| self.node(part))?;
                self.tried(node)
            }
            Expr::Map(_) | Expr::Struct(_) | Expr::Comprehension(_) | Expr::Unspecified => {
                self.refuse(node, "{", "only texts and lists of texts may be written here", "use 'x' in ['a', 'b']")
            }
        }
    }

    fn field(&self, node: &IdedExpr, field: &str) -> Result<(), Refused> {
        if FIELDS.contains(&field) {
            return Ok(());
        }
        let hint = super::fault::nearest(field, &FIELDS).map_or_else(
            || format!("it has {}; a label is alert.labels.{field}", FIELDS.join(", ")),
            |near| format!("write alert.{near}"),
        );
        self.refuse(node, field, &format!("an alert has no field {field}"), &hint)
    }

    fn function(&self, node: &IdedExpr, call: &cel::common::ast::CallExpr) -> Result<(), Refused> {
        let name = call.func_name.as_str();
        if !FUNCTIONS.contains(&name) {
            let hint = match name {
                "has" => "write 'team' in alert.labels",
                _ => "there are startsWith, endsWith, contains, matches, size, in, comparisons, && || ! and ?:",
            };
            let word = name.trim_matches(['_', '@']);
            return self.refuse(node, word, &format!("{word} is not allowed here"), hint);
        }
        let literal = |part: &IdedExpr| matches!(part.expr, Expr::Literal(LiteralValue::String(_)));
        if name == "matches" && !call.args.last().is_some_and(literal) {
            return self.refuse(node, name, "the pattern of matches must be written out", "write it in quotes");
        }
        Ok(())
    }

    /// Tries one part on the specimen: a wrong type or a bad pattern shows here, not at three in the morning.
    fn tried(&self, node: &IdedExpr) -> Result<(), Refused> {
        match Value::resolve_val(node, &context(&specimen())) {
            Ok(_) => Ok(()),
            Err(error) => {
                let said = error.to_string();
                let said = said.lines().next().unwrap_or_default().trim_end_matches(':');
                self.refuse(node, "", said, "fields and labels are texts: treat them as such, in quotes")
            }
        }
    }

    /// Refuses a part, at the first place of a word from the part's own place on.
    fn refuse(&self, node: &IdedExpr, word: &str, text: &str, hint: &str) -> Result<(), Refused> {
        let start = self.program.source_info().offset_for(node.id).map_or(0, |(start, _)| start as usize);
        let start = floor(self.source, start);
        let (before, after) = self.source.split_at(start);
        let offset = match before.strip_suffix(word) {
            Some(before) if after.starts_with('(') => before.len(), // of a call, the reader keeps the place of its bracket
            Some(_) | None => after.find(word).map_or(start, |at| start + at),
        };
        Err(Refused { offset, text: text.to_owned(), hint: hint.to_owned() })
    }
}

/// The character boundary at or before an offset.
fn floor(source: &str, offset: usize) -> usize {
    source.floor_char_boundary(offset)
}
