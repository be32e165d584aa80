//! What is asked of an expression before it may run: names and functions that are known, parts that fit together, and
//! nothing that could take long. Each part is tried on a specimen.

use cel::{
    Context, IdedExpr, Program, Value,
    common::ast::{Expr, LiteralValue, operators},
};

use super::{Allowance, ENV, FIELDS, JUDGED, Refused, Scope, Standing, context, judged, terms::Terms, view::AlertView};
use crate::{
    alert::{Alert, specimen},
    pipeline::fault::nearest,
};

/// The longest pattern of `matches`, in bytes. It is compiled whenever it is asked, so it must be cheap to compile.
const MAX_PATTERN: usize = 64;

/// What a pattern may not hold: each of these is compiled into tables of Unicode, 2.5 ms without optimisation.
const LARGE_CLASSES: [&str; 8] = ["\\w", "\\W", "\\d", "\\D", "\\b", "\\B", "\\p", "\\P"];

/// How often one expression may ask `matches`.
const MAX_MATCHES: usize = 4;

/// How deep the parts of an expression may nest; evaluation recurses, so this bounds its stack.
pub(super) const MAX_DEPTH: usize = 24;

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

/// Source → program, checked from the root down and tried on a specimen.
pub(super) fn read(source: &str, scope: Scope) -> Result<(Program, Terms), Refused> {
    let program = ENV.compile(source).map_err(|errors| unparsed(source, &errors))?;
    let root = program.expression();
    if depth(root) > MAX_DEPTH {
        let text = format!("its parts nest more than {MAX_DEPTH} deep");
        return Err(Refused::of(text, "write lists, x in ['a', 'b'], or split it into several rules"));
    }
    let check = Check { source, program: &program, scope };
    check.node(root)?;
    check.few_patterns(root)?;
    if !matches!(Value::resolve(root, &check.context(&specimen(), &Allowance::default())), Ok(Value::Bool(_))) {
        let hint = "compare it: alert.labels.team == 'platform'";
        return Err(Refused::of("it must be true or false".to_owned(), hint));
    }
    let terms = Terms::of(root);
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

/// Where the reader of CEL gives up, in words of ours: its own name every sign that might have stood there.
fn unparsed(source: &str, errors: &cel::ParseErrors) -> Refused {
    let (line, column) = errors.errors.first().map_or((1, 1), |error| error.pos);
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
    let above: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let offset = floor(source, above + column.saturating_sub(1));
    let rest = source[offset..].trim_start();
    let word: String = rest.chars().take_while(|char| !char.is_whitespace()).take(20).collect();
    let text =
        if word.is_empty() { "not CEL: it ends too early".to_owned() } else { format!("not CEL: from {word:?} on") };
    let hint = match word.to_lowercase().as_str() {
        "and" => "write && for and",
        "or" => "write || for or",
        "not" => "write ! for not",
        other if other.starts_with('=') && !other.starts_with("==") => "write == to compare",
        _ => "write it like alert.namespace == 'shop' && alert.labels.team == 'platform'",
    };
    Refused { offset, text, hint: hint.to_owned() }
}

/// What an evaluation complains of, in words of ours where its own are those of a compiler.
fn in_words(said: &str) -> String {
    let said = said.lines().next().unwrap_or_default().trim_end_matches(':');
    let found =
        said.strip_prefix("found no matching overload for '").and_then(|rest| rest.split_once("' applied to '"));
    found.map_or_else(
        || said.to_owned(),
        |(operator, types)| format!("{} does not take {}", operator.trim_matches('_'), types.trim_end_matches('\'')),
    )
}

/// One walk over a compiled source, from the root down.
struct Check<'a> {
    source: &'a str,
    program: &'a Program,
    scope: Scope,
}

impl Check<'_> {
    fn context<'a>(&self, alert: &'a Alert, allowance: &'a Allowance) -> Context<'a, 'a> {
        let view = AlertView { alert, allowance, weight: 1 };
        match self.scope {
            Scope::Alert => context(view),
            Scope::Judged => judged(view, Standing { environment: "production", severity: "critical" }),
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
                self.refuse(node, name, &format!("there is no variable {name}"), &self.instead_of_variable(name))
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

    /// A slip of the pen, a field without its alert, what is judged later, or a text without its quotes.
    fn instead_of_variable(&self, name: &str) -> String {
        let known: &[&str] = if self.scope == Scope::Judged { &["alert", JUDGED[0], JUDGED[1]] } else { &["alert"] };
        match nearest(name, known) {
            _ if FIELDS.contains(&name) => format!("write alert.{name}"),
            Some(near) => format!("write {near}"),
            None if JUDGED.contains(&name) => "it is judged later, and only priority.rules know it".to_owned(),
            None => format!("write '{name}' in quotes if the word is meant; there are {}", known.join(", ")),
        }
    }

    fn field(&self, node: &IdedExpr, field: &str) -> Result<(), Refused> {
        if FIELDS.contains(&field) {
            return Ok(());
        }
        let hint = nearest(field, &FIELDS).map_or_else(
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
                "all" | "exists" | "exists_one" | "filter" | "map" => {
                    "there are no loops: write alert.name in ['a', 'b'], or 'team' in alert.labels"
                }
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
        if Sizes::of(root).patterns <= MAX_MATCHES {
            return Ok(());
        }
        let text = format!("matches stands here more than {MAX_MATCHES} times");
        self.refuse(root, "matches", &text, "join the patterns, a|b, or use startsWith, endsWith, contains, in")
    }

    /// Tries one part on the specimen: a wrong type or a bad pattern shows here, not at three in the morning.
    fn tried(&self, node: &IdedExpr) -> Result<(), Refused> {
        match Value::resolve_val(node, &self.context(&specimen(), &Allowance::default())) {
            Ok(_) => Ok(()),
            Err(error) => self.refuse(
                node,
                "",
                &in_words(&error.to_string()),
                "fields and labels are texts: treat them as such, in quotes",
            ),
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

/// What an evaluation costs, as far as it shows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    /// Calls of `matches`.
    pub patterns: usize,
    /// Where environment or severity are looked at.
    pub standing: usize,
}

impl Sizes {
    /// Of a checked expression.
    pub(super) fn of(node: &IdedExpr) -> Self {
        let of_all = |parts: &mut dyn Iterator<Item = &IdedExpr>| {
            parts.map(Self::of).fold(Self::default(), |all, one| Self {
                patterns: all.patterns + one.patterns,
                standing: all.standing + one.standing,
            })
        };
        match &node.expr {
            Expr::Ident(name) => Self { standing: usize::from(JUDGED.contains(&name.as_str())), ..Self::default() },
            Expr::Select(select) => Self::of(&select.operand),
            Expr::List(list) => of_all(&mut list.elements.iter()),
            Expr::Call(call) => {
                let parts = of_all(&mut call.target.iter().map(AsRef::as_ref).chain(&call.args));
                Self { patterns: parts.patterns + usize::from(call.func_name == "matches"), ..parts }
            }
            Expr::Literal(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Comprehension(_) | Expr::Unspecified => {
                Self::default()
            }
        }
    }
}

/// The character boundary at or before an offset.
fn floor(source: &str, offset: usize) -> usize {
    source.floor_char_boundary(offset)
}
