//! CEL, compiled at load against an allow list of names and functions.
//!
//! The one variable is `alert`; where an incident is judged, there are `environment` and `severity` too. A label or annotation that an alert lacks reads as the empty text, as in `PromQL`;
//! `'team' in alert.labels` tells whether it is there. There are no loops, no clock and no arithmetic, so that the
//! length of the source bounds the work; each part is tried on a specimen at load, so that a wrong one is refused
//! before any alert is seen.

mod terms;
mod view;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, ExecutionError, IdedExpr, Program, Value,
    common::{
        ast::{Expr, LiteralValue, operators},
        types::CelString,
    },
};

use self::view::AlertView;
use crate::alert::{Alert, specimen};

/// The longest source, in bytes.
pub const MAX_SOURCE: usize = 4 * 1024;

/// The longest pattern of `matches`, in bytes. It is compiled whenever it is asked, so it must be cheap to compile.
const MAX_PATTERN: usize = 64;

/// What a pattern may not hold: each of these is compiled into tables of Unicode, 2.5 ms without optimisation.
const LARGE_CLASSES: [&str; 8] = ["\\w", "\\W", "\\d", "\\D", "\\b", "\\B", "\\p", "\\P"];

/// How often one expression may ask `matches`.
const MAX_MATCHES: usize = 4;

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

/// What an expression may speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The alert alone.
    Alert,
    /// The alert, and the environment and severity of its incident, as judged.
    Judged,
}

/// What an incident is judged to be, beside its alert.
pub const JUDGED: [&str; 2] = ["environment", "severity"];

/// Environment and severity of an incident.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Of its namespace.
    pub environment: &'a str,
    /// Through the tables.
    pub severity: &'a str,
}

/// A condition, compiled.
#[derive(Clone)]
pub struct Expression {
    source: String,
    program: Arc<Program>,
    terms: Arc<terms::Terms>,
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
    /// Of a condition that can be seen to hold nowhere.
    pub(in crate::pipeline) fn never() -> Self {
        Self::of("it never holds".to_owned(), "a field has one value: write || or in ['a', 'b'] for several")
    }

    /// Of the expression as a whole.
    fn of(text: String, hint: &str) -> Self {
        Self { offset: 0, text, hint: hint.to_owned() }
    }
}

impl Expression {
    /// Compiles a condition on an alert alone; refuses what is not one, or could run away.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn compile(source: &str) -> Result<Self, Refused> {
        Self::compile_for(source, Scope::Alert)
    }

    /// As [`Expression::compile`], of what a scope has.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn compile_for(source: &str, scope: Scope) -> Result<Self, Refused> {
        let source = source.trim_end();
        if source.len() > MAX_SOURCE {
            let text = format!("an expression has at most {MAX_SOURCE} bytes, got {}", source.len());
            return Err(Refused::of(text, "split it into several rules"));
        }
        let failed = || Refused::of("the reader of CEL fails on it".to_owned(), "write it more simply");
        let (program, terms) = on_deep_stack(|| read(source, scope)).unwrap_or_else(|| Err(failed()))?;
        Ok(Self { source: source.to_owned(), program: Arc::new(program), terms: Arc::new(terms) })
    }

    /// As written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it can be seen that this one holds wherever the other does: by its parts, not by what they mean.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.terms.cover(&other.terms)
    }

    /// How often it asks `matches`, which costs more than all else.
    #[must_use]
    pub fn patterns(&self) -> usize {
        count_patterns(self.program.expression())
    }

    /// Whether it can be seen that it holds everywhere.
    #[must_use]
    pub fn is_always(&self) -> bool {
        self.terms.are_always()
    }

    /// Whether it can be seen that it holds nowhere.
    #[must_use]
    pub fn is_never(&self) -> bool {
        self.terms.are_never()
    }

    /// Whether it holds for an alert. An error counts as not holding; the caller counts it.
    ///
    /// # Errors
    /// What could not be said of this alert.
    pub fn holds(&self, alert: &Alert) -> Result<bool, String> {
        self.told(Value::resolve(self.program.expression(), &context(alert)))
    }

    /// Whether it holds for an alert and the standing of its incident.
    ///
    /// # Errors
    /// What could not be said of them.
    pub fn holds_judged(&self, alert: &Alert, standing: Standing<'_>) -> Result<bool, String> {
        self.told(Value::resolve(self.program.expression(), &judged(alert, standing)))
    }

    fn told(&self, value: Result<Value, ExecutionError>) -> Result<bool, String> {
        match value {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("{:?} is neither true nor false but {:?}", self.source, other.type_of())),
            Err(error) => Err(format!("{:?}: {error}", self.source)),
        }
    }
}

/// Runs what recurses on a stack of its own, which only takes what is touched. None if it failed.
pub(in crate::pipeline) fn on_deep_stack<T: Send>(ask: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(READER_STACK);
        reader.spawn_scoped(scope, ask).ok()?.join().ok()
    })
}

/// Source → program, checked from the root down and tried on a specimen.
fn read(source: &str, scope: Scope) -> Result<(Program, terms::Terms), Refused> {
    let program = ENV.compile(source).map_err(|errors| unparsed(source, &errors))?;
    let root = program.expression();
    if depth(root) > MAX_DEPTH {
        let text = format!("its parts nest more than {MAX_DEPTH} deep");
        return Err(Refused::of(text, "write lists, x in ['a', 'b'], or split it into several rules"));
    }
    let check = Check { source, program: &program, scope };
    check.node(root)?;
    check.few_patterns(root)?;
    if !matches!(Value::resolve(root, &check.context(&specimen())), Ok(Value::Bool(_))) {
        let hint = "compare it: alert.labels.team == 'platform'";
        return Err(Refused::of("a match must be true or false".to_owned(), hint));
    }
    let terms = terms::Terms::of(root);
    Ok((program, terms))
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

fn context(alert: &Alert) -> Context<'_, '_> {
    let mut context = Context::with_env(Arc::clone(&ENV));
    context.add_variable_as_val("alert", Box::new(AlertView(alert)));
    context
}

fn judged<'a>(alert: &'a Alert, standing: Standing<'a>) -> Context<'a, 'a> {
    let mut context = context(alert);
    context.add_variable_as_val("environment", Box::new(CelString::from(standing.environment)));
    context.add_variable_as_val("severity", Box::new(CelString::from(standing.severity)));
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
    scope: Scope,
}

impl Check<'_> {
    fn context<'a>(&self, alert: &'a Alert) -> Context<'a, 'a> {
        match self.scope {
            Scope::Alert => context(alert),
            Scope::Judged => judged(alert, Standing { environment: "production", severity: "critical" }),
        }
    }

    fn node(&self, node: &IdedExpr) -> Result<(), Refused> {
        match &node.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) if name == "alert" => {
                self.refuse(node, name, "alert alone is no value", "write a field of it, such as alert.namespace")
            }
            Expr::Ident(name) if self.scope == Scope::Judged && JUDGED.contains(&name.as_str()) => Ok(()),
            Expr::Ident(name) => {
                let hint = match self.scope {
                    Scope::Alert => format!("the one variable is alert, with the fields {}", FIELDS.join(", ")),
                    Scope::Judged => {
                        format!("there are environment, severity, and alert with the fields {}", FIELDS.join(", "))
                    }
                };
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
        if name == "matches"
            && let Some(Expr::Literal(LiteralValue::String(pattern))) = call.args.last().map(|part| &part.expr)
        {
            return self.pattern(node, pattern.inner());
        }
        Ok(())
    }

    /// A short pattern without counted repetition compiles in a moment; the engine itself takes linear time.
    fn pattern(&self, node: &IdedExpr, pattern: &str) -> Result<(), Refused> {
        if pattern.len() > MAX_PATTERN {
            let text = format!("a pattern has at most {MAX_PATTERN} bytes, got {}", pattern.len());
            return self.refuse(node, "matches", &text, "shorten it, or use startsWith, endsWith, contains, in");
        }
        if pattern.contains('{') {
            let text = "a pattern that counts repetitions unfolds into a large one";
            return self.refuse(node, "matches", text, "write x+ or x*, or the characters out");
        }
        let class = LARGE_CLASSES.iter().find(|class| pattern.contains(**class));
        if let Some(class) = class {
            let text = format!("{class} stands for thousands of letters, and takes as long");
            return self.refuse(node, "matches", &text, "write [A-Za-z0-9_] or [0-9]");
        }
        Ok(())
    }

    fn few_patterns(&self, root: &IdedExpr) -> Result<(), Refused> {
        if count_patterns(root) <= MAX_MATCHES {
            return Ok(());
        }
        let text = format!("matches stands here more than {MAX_MATCHES} times");
        self.refuse(root, "matches", &text, "join the patterns, a|b, or use startsWith, endsWith, contains, in")
    }

    /// Tries one part on the specimen: a wrong type or a bad pattern shows here, not at three in the morning.
    fn tried(&self, node: &IdedExpr) -> Result<(), Refused> {
        match Value::resolve_val(node, &self.context(&specimen())) {
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

/// Calls of `matches` in a checked expression.
fn count_patterns(node: &IdedExpr) -> usize {
    match &node.expr {
        Expr::Select(select) => count_patterns(&select.operand),
        Expr::List(list) => list.elements.iter().map(count_patterns).sum(),
        Expr::Call(call) => {
            let parts = call.target.iter().map(AsRef::as_ref).chain(&call.args);
            usize::from(call.func_name == "matches") + parts.map(count_patterns).sum::<usize>()
        }
        Expr::Literal(_)
        | Expr::Ident(_)
        | Expr::Map(_)
        | Expr::Struct(_)
        | Expr::Comprehension(_)
        | Expr::Unspecified => 0,
    }
}

/// The character boundary at or before an offset.
fn floor(source: &str, offset: usize) -> usize {
    source.floor_char_boundary(offset)
}
