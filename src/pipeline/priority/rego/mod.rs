//! A Rego file → priority: a part of Rego whose work is bounded, under a timer.
//!
//! regorus looks at its clock between expressions, not within a function or a comparison, and nothing limits its
//! memory. So what could grow is refused when the file is loaded ([`subset`]): then no value is larger than the
//! alert or the file, each step between two looks at the clock is short, and the timer ends the rest. The engine's
//! clock is the only one in the pure rooms, and no decision is read from it: what it ends takes the stated fallback.

mod subset;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use regorus::{Engine, LimitError, PolicyLengthConfig, Value, utils::limits::ExecutionTimerConfig};

use super::{Attached, Beside, Priority, RawRego};
use crate::{
    alert::{Alert, specimen},
    pipeline::{
        expression::{Standing, on_deep_stack},
        fault::Fault,
        reading::Reading,
    },
};

/// The longest file, in bytes.
const MAX_FILE: usize = 16 * 1024;

/// Its longest line, in characters.
const MAX_LINE: u32 = 512;

/// How long one try may take. A step that is under way at the end of it is finished first.
pub const BUDGET: Duration = Duration::from_millis(15);

/// Tries for one incident: the timer is wall time, and a thread that had to wait for a processor is not an endless rule.
/// Both together stay below 50 ms.
const TRIES: usize = 2;

/// Tries when a file is loaded, where nobody waits.
const TRIES_AT_LOAD: usize = 20;

/// How deep brackets of any kind may lie within one another. regorus reads a list twice, as a comprehension and as a
/// list, at each level, so it takes hours for thirty of them: they are counted before it sees the text.
const MAX_NESTING: usize = 8;

/// Work units between two looks at the clock.
const LOOK: u32 = 16;

/// The rule that tells the priority where nothing else is written.
const QUERY: &str = "data.breakwater.priority";

/// A Rego file, checked and prepared.
#[derive(Clone)]
pub struct Rego {
    engine: Engine,
    query: String,
}

impl fmt::Debug for Rego {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Rego({:?})", self.query)
    }
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    line: u32,
    column: u32,
    text: String,
    hint: String,
}

impl Rego {
    /// Reads a file and tries it once. Says all that it finds wrong.
    fn load(name: &str, text: &str, query: &str) -> Result<Self, Vec<Refused>> {
        let alone = |refused: Refused| vec![refused];
        nesting(text).map_err(alone)?;
        let mut engine = engine();
        engine.add_policy(name.to_owned(), text.to_owned()).map_err(|error| alone(unparsed(&error)))?;
        let module = engine.get_modules().first().cloned();
        let module =
            module.ok_or_else(|| alone(Refused::whole("it holds no rules", "write priority := \"P0\" if { … }")))?;
        let wrong = subset::check(&module, query);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let rego = Self { engine, query: query.to_owned() };
        let mut tried = rego.engine.clone();
        tried.set_input(input(&specimen(), Standing { environment: "production", severity: "critical" }));
        match tried.eval_rule(query.to_owned()) {
            Err(error) if !out_of_time(&error) => Err(alone(unparsed(&error))),
            Ok(_) | Err(_) => {
                tried.set_input(Value::Undefined);
                Ok(Self { engine: tried, ..rego }) // compiled by the trial
            }
        }
    }

    /// The priority of an incident, or why the file does not tell it.
    ///
    /// # Errors
    /// Nothing, no priority, two answers, or no answer in time.
    pub fn ask(&self, alert: &Alert, standing: Standing<'_>) -> Result<Priority, String> {
        self.ask_often(alert, standing, TRIES)
    }

    fn ask_often(&self, alert: &Alert, standing: Standing<'_>, tries: usize) -> Result<Priority, String> {
        let input = input(alert, standing);
        let mut answers = (0..tries).map(|_| {
            let mut engine = self.engine.clone();
            engine.set_input(input.clone());
            engine.eval_rule(self.query.clone())
        });
        let in_time = |answer: &anyhow::Result<Value>| !matches!(answer, Err(error) if out_of_time(error));
        let Some(answer) = answers.find(in_time) else {
            return Err(format!("priority.rego takes longer than {} ms", BUDGET.as_millis()));
        };
        match answer {
            Ok(Value::String(text)) => Priority::parse(&text).ok_or_else(|| {
                let shown: String = text.chars().take(20).collect();
                format!("priority.rego answers {shown:?}, which is no priority")
            }),
            Ok(Value::Undefined) => Err("priority.rego answers nothing".to_owned()),
            Ok(_) => Err("priority.rego answers something else than a text".to_owned()),
            Err(error) => Err(format!("priority.rego fails: {}", unparsed(&error).text)),
        }
    }
}

impl Refused {
    fn whole(text: &str, hint: &str) -> Self {
        Self { line: 1, column: 1, text: text.to_owned(), hint: hint.to_owned() }
    }
}

/// Refuses a text whose brackets nest too deep. Quotes and comments are told apart as Rego does.
fn nesting(text: &str) -> Result<(), Refused> {
    let (mut depth, mut quote, mut comment, mut escaped) = (0_usize, None, false, false);
    let (mut line, mut column) = (1, 0);
    for char in text.chars() {
        column += 1;
        match char {
            '\n' => (line, column, comment) = (line + 1, 0, false),
            _ if comment => {}
            _ if escaped => escaped = false,
            '\\' if quote == Some('"') => escaped = true,
            _ if quote.is_some() => quote = quote.filter(|open| *open != char),
            '"' | '`' => quote = Some(char),
            '#' => comment = true,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            let text = format!("brackets lie more than {MAX_NESTING} deep within one another");
            return Err(Refused { line, column, text, hint: "make rules or functions of the inner parts".into() });
        }
    }
    Ok(())
}

/// regorus tells it as an error of its own, or in words where it was wrapped on its way.
fn out_of_time(error: &anyhow::Error) -> bool {
    error.downcast_ref::<LimitError>().is_some() || format!("{error:#}").contains("exceeded time limit")
}

/// An engine with every limit that it knows.
fn engine() -> Engine {
    let mut engine = Engine::new();
    let (column, size) = (NonZeroU32::new(MAX_LINE), NonZeroUsize::new(MAX_FILE));
    let usual = PolicyLengthConfig::default();
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: column.unwrap_or(usual.max_col),
        max_file_bytes: size.unwrap_or(usual.max_file_bytes),
        max_lines: size.unwrap_or(usual.max_lines),
    });
    let check_interval = NonZeroU32::new(LOOK).unwrap_or(NonZeroU32::MIN);
    engine.set_execution_timer_config(ExecutionTimerConfig { limit: BUDGET, check_interval });
    engine.set_strict_builtin_errors(true);
    engine
}

/// What a file may speak of. Made without a detour by JSON: the timer does not see it, and an alert may have many labels.
fn input(alert: &Alert, standing: Standing<'_>) -> Value {
    let told = object([
        ("name", alert.name.as_str().into()),
        ("namespace", alert.target.namespace.as_deref().unwrap_or_default().into()),
        ("severity", alert.severity.as_deref().unwrap_or_default().into()),
        ("kind", alert.target.kind.as_str().into()),
        ("resource", alert.target.name.as_str().into()),
        ("cluster", alert.cluster.as_deref().unwrap_or_default().into()),
        ("source", alert.source.as_str().into()),
        ("labels", texts(&alert.labels)),
        ("annotations", texts(&alert.annotations)),
    ]);
    let (environment, severity) = (standing.environment.into(), standing.severity.into());
    object([("environment", environment), ("severity", severity), ("alert", told)])
}

fn texts(texts: &BTreeMap<String, String>) -> Value {
    object(texts.iter().map(|(key, text)| (key.as_str(), text.as_str().into())))
}

fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    fields.into_iter().map(|(key, value)| (Value::from(key), value)).collect::<BTreeMap<_, _>>().into()
}

/// regorus' complaint, with the place that it begins with: `--> FILE:LINE:COLUMN`, the source, `error: …`.
fn unparsed(error: &anyhow::Error) -> Refused {
    let said = format!("{error:#}");
    let place = said.split_once("--> ").and_then(|(_, rest)| rest.lines().next());
    let mut parts = place.unwrap_or_default().rsplitn(3, ':').map(|part| part.trim().parse::<u32>().unwrap_or(1));
    let (column, line) = (parts.next().unwrap_or(1), parts.next().unwrap_or(1));
    let text = said.lines().find_map(|line| line.trim().strip_prefix("error: ")).unwrap_or(said.as_str());
    let text = text.lines().next().unwrap_or("unreadable").trim();
    Refused {
        line: line.max(1),
        column: column.max(1),
        text: format!("not Rego: {text}"),
        hint: "write rules like priority := \"P0\" if input.environment == \"production\"".to_owned(),
    }
}

/// Checks what the pipeline says and the file that it names.
pub(super) fn check(raw: &RawRego, beside: Beside<'_>, reading: &mut Reading<'_>) -> Option<Rego> {
    let query = reading.text("priority.rego.query", &raw.query, QUERY);
    let (name, text) = attached(raw, beside, reading)?;
    let failed = || Err(vec![Refused::whole("the reader of Rego fails on it", "write it more simply")]);
    match on_deep_stack(|| Rego::load(name, text, &query)).unwrap_or_else(failed) {
        Ok(rego) => {
            unanswered(&rego, (name, beside), (Some(raw.file.place()), reading));
            Some(rego)
        }
        Err(wrong) => {
            reading.faults.extend(wrong.into_iter().map(|Refused { line, column, text, hint }| Fault {
                file: name.to_owned(),
                line: line.into(),
                column: column.into(),
                text: format!("priority.rego: {text}"),
                hint,
            }));
            None
        }
    }
}

/// The name and text of the file, as its loader found it; else what is wrong with it is noted.
fn attached<'a>(raw: &RawRego, beside: Beside<'a>, reading: &mut Reading<'_>) -> Option<(&'a str, &'a str)> {
    let file = reading.text("priority.rego.file", &Some(raw.file.clone()), "priority.rego");
    let place = Some(raw.file.place());
    if file.starts_with('/') || file.split('/').any(|part| part == "..") {
        let text = format!("priority.rego.file must lie in the folder of the pipeline, got {file:?}");
        reading.fault(place, text, "write its name, such as priority.rego");
        return None;
    }
    let Some(Attached { name, text }) = beside.attached else {
        let text = format!("priority.rego.file: {file} was not read");
        reading.fault(place, text, "check the pipeline where its file lies");
        return None;
    };
    let why = match text {
        Ok(text) if !text.trim().is_empty() => return Some((name, text)),
        Ok(_) => "is empty",
        Err(why) => why,
    };
    let hint = "name a file with a rule that tells the priority, such as pipelines/priority.rego";
    reading.fault(place, format!("priority.rego.file: {name} {why}"), hint);
    None
}

/// Notes each severity and environment that is named somewhere and that the file does not answer.
fn unanswered(
    rego: &Rego,
    (name, beside): (&str, Beside<'_>),
    (place, reading): (Option<serde_saphyr::Location>, &mut Reading<'_>),
) {
    let mut environments: Vec<&str> = beside.environment.patterns.iter().map(|(_, means)| means.as_str()).collect();
    environments.push(&beside.environment.default);
    environments.sort_unstable();
    environments.dedup();
    let bare = Alert { labels: Default::default(), annotations: Default::default(), ..specimen() };
    for severity in &beside.severity.order {
        for environment in &environments {
            if let Err(why) = rego.ask_often(&bare, Standing { environment, severity }, TRIES_AT_LOAD) {
                let text = format!("{name} does not tell the priority of {severity} in {environment}: {why}");
                reading.fault(place, text, "add a rule for it, or default priority := \"P2\"");
                return; // the others would be told the same
            }
        }
    }
}
