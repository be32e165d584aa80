//! CEL, compiled at load against an allow list of names and functions.
//!
//! The one variable is `alert`; where an incident is judged, there are `environment` and `severity` too. A label or
//! annotation that an alert lacks reads as the empty text, as in `PromQL`; `'team' in alert.labels` tells whether it is
//! there. There are no loops, no clock and no arithmetic: the length of the source, and how much text of the alert may
//! be looked at ([`Allowance`]), bound the work. Each part is tried on a specimen at load, so that a wrong one is
//! refused before any alert is seen.

mod allowance;
mod check;
pub(in crate::pipeline) mod list;
mod terms;
mod view;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, ExecutionError, Program, Value, common::types::CelString};

pub use self::allowance::Allowance;
use self::{check::Sizes, view::AlertView};
use crate::alert::Alert;

/// The longest source, in bytes.
pub const MAX_SOURCE: usize = 4 * 1024;

/// What the reader of CEL may recurse into, on a thread of its own: some 40 KiB for each of at most 2 000 operators.
/// Only what is touched is taken.
const READER_STACK: usize = 256 * 1024 * 1024;

/// The fields of `alert`.
pub const FIELDS: [&str; 9] =
    ["name", "namespace", "severity", "kind", "resource", "cluster", "source", "labels", "annotations"];

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
    sizes: Sizes,
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
        let (program, terms) = on_deep_stack(|| check::read(source, scope)).unwrap_or_else(|| Err(failed()))?;
        let sizes = Sizes::of(program.expression());
        Ok(Self { source: source.to_owned(), program: Arc::new(program), terms: Arc::new(terms), sizes })
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
    pub const fn patterns(&self) -> usize {
        self.sizes.patterns
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
        self.holds_within(alert, &Allowance::default())
    }

    /// As [`Expression::holds`], of one of several expressions that share an allowance.
    ///
    /// # Errors
    /// What could not be said of this alert.
    pub fn holds_within(&self, alert: &Alert, allowance: &Allowance) -> Result<bool, String> {
        self.told(Value::resolve(self.program.expression(), &context(self.view(alert, allowance))))
    }

    /// Whether it holds for an alert and the standing of its incident.
    ///
    /// # Errors
    /// What could not be said of them.
    pub fn holds_judged(&self, alert: &Alert, standing: Standing<'_>, within: &Allowance) -> Result<bool, String> {
        let longest = standing.environment.len().max(standing.severity.len());
        let view = self.view(alert, within);
        let resolved = within
            .spend(longest * self.sizes.standing * view.weight)
            .and_then(|()| Value::resolve(self.program.expression(), &judged(view, standing)));
        self.told(resolved)
    }

    const fn view<'a>(&self, alert: &'a Alert, allowance: &'a Allowance) -> AlertView<'a> {
        AlertView { alert, allowance, weight: if self.sizes.patterns > 0 { allowance::PATTERN } else { 1 } }
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

fn context(view: AlertView<'_>) -> Context<'_, '_> {
    let mut context = Context::with_env(Arc::clone(&ENV));
    context.add_variable_as_val("alert", Box::new(view));
    context
}

fn judged<'a>(view: AlertView<'a>, standing: Standing<'a>) -> Context<'a, 'a> {
    let mut context = context(view);
    context.add_variable_as_val("environment", Box::new(CelString::from(standing.environment)));
    context.add_variable_as_val("severity", Box::new(CelString::from(standing.severity)));
    context
}
