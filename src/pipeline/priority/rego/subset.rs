//! The part of Rego whose work is bounded: tests of the input, loops over it, rules and functions that use one another.
//!
//! What builds values is refused, since a value that holds itself twice, forty times over, is compared for years
//! between two looks at the clock. So are functions that are not on the list, cycles, and long chains of rules.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Literal, Module, Query, Ref, Rule, RuleHead, Span};

use super::Refused;
use crate::pipeline::{expression::FIELDS, fault::nearest};

/// What may be called: each answers with something no larger than what it was given.
const FUNCTIONS: [&str; 18] = [
    "startswith",
    "endswith",
    "contains",
    "lower",
    "upper",
    "trim",
    "trim_left",
    "trim_right",
    "trim_prefix",
    "trim_suffix",
    "trim_space",
    "count",
    "object.get",
    "is_string",
    "is_number",
    "is_boolean",
    "is_array",
    "is_object",
];

/// What a file may ask of `input`.
const INPUTS: [&str; 3] = ["alert", "environment", "severity"];

/// Rules of a file, clauses of one name counted each.
const MOST_RULES: usize = 200;

/// How many rules may lean on one another in a row; evaluation recurses, so this bounds its stack.
const MOST_CHAIN: usize = 8;

/// How deep loops and conditions may lie within one another.
const MOST_DEPTH: usize = 4;

/// Statements and loops of one rule, its inner ones included; each is evaluated within the one before.
const MOST_STATEMENTS: usize = 12;

/// One walk over a file.
struct Check<'a> {
    rules: BTreeSet<String>,
    leans: BTreeMap<String, BTreeSet<String>>,
    /// The rule under the eye.
    rule: String,
    /// Its statements and loops so far.
    steps: usize,
    wrong: Vec<Refused>,
    module: &'a Module,
}

/// All that is wrong with a file, in its order.
pub(super) fn check(module: &Module, query: &str) -> Vec<Refused> {
    let rules = module.policy.iter().filter_map(|rule| name(rule)).collect();
    let mut check = Check { rules, leans: BTreeMap::new(), rule: String::new(), steps: 0, wrong: Vec::new(), module };
    check.file(query);
    check.wrong
}

fn name(rule: &Rule) -> Option<String> {
    let head = match rule {
        Rule::Spec {
            head: RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. },
            ..
        }
        | Rule::Default { refr, .. } => refr,
    };
    matches!(head.as_ref(), Expr::Var { .. }).then(|| head.span().text().to_owned())
}

fn is_scalar(expr: &Expr) -> bool {
    let texts = matches!(expr, Expr::String { .. } | Expr::RawString { .. });
    texts || matches!(expr, Expr::Number { .. } | Expr::Bool { .. } | Expr::Null { .. })
}

/// Where a path begins; regorus places it at its last dot.
fn root(expr: &Ref<Expr>) -> &Span {
    if let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = expr.as_ref() { root(refr) } else { expr.span() }
}

impl Check<'_> {
    fn file(&mut self, query: &str) {
        let module = self.module;
        for import in &module.imports {
            let what = import.refr.span().text();
            if what != "rego.v1" && !what.starts_with("future.keywords") {
                self.refuse(import.refr.span(), format!("it imports {what}"), "write input.alert and the like in full");
            }
        }
        let package = module.package.refr.span().text();
        let wanted = query.strip_prefix("data.").and_then(|path| path.rsplit_once('.'));
        if wanted.is_none_or(|(path, rule)| path != package || !self.rules.contains(rule)) {
            let rules: Vec<&str> = self.rules.iter().map(String::as_str).collect();
            let text = format!("there is no rule {query}; this is package {package} with {}", rules.join(", "));
            self.refuse(module.package.refr.span(), text, "name one of them as priority.rego.query");
        }
        if module.policy.len() > MOST_RULES {
            let text = format!("it has more than {MOST_RULES} rules");
            self.refuse(module.package.refr.span(), text, "join them, or use priority.matrix for the table");
        }
        for rule in module.policy.iter().take(MOST_RULES) {
            self.rule = name(rule).unwrap_or_default();
            self.one(rule);
        }
        self.chains();
    }

    fn one(&mut self, rule: &Rule) {
        match rule {
            Rule::Default { value, args, .. } => {
                self.plain(value);
                args.iter().for_each(|arg| self.plain(arg));
            }
            Rule::Spec { head, bodies, .. } => {
                self.head(head);
                for body in bodies {
                    self.steps = 0;
                    body.assign.iter().for_each(|assign| self.value(&assign.value));
                    self.query(&body.query, 0);
                    if self.steps > MOST_STATEMENTS {
                        let text = format!("a rule of more than {MOST_STATEMENTS} statements and loops");
                        self.refuse(&body.span, text, "make functions or rules of some of them");
                    }
                }
            }
        }
    }

    fn head(&mut self, head: &RuleHead) {
        match head {
            RuleHead::Set { span, .. } => self.builds(span, "a rule that gathers a set"),
            RuleHead::Compr { refr, assign, .. } => {
                if !matches!(refr.as_ref(), Expr::Var { .. }) {
                    self.builds(root(refr), "a rule that gathers an object");
                }
                assign.iter().for_each(|assign| self.value(&assign.value));
            }
            RuleHead::Func { args, assign, .. } => {
                args.iter().for_each(|arg| self.value(arg));
                assign.iter().for_each(|assign| self.value(&assign.value));
            }
        }
    }

    fn query(&mut self, query: &Query, depth: usize) {
        if depth > MOST_DEPTH {
            let text = format!("conditions lie more than {MOST_DEPTH} deep within one another");
            self.refuse(&query.span, text, "make a rule of the inner ones");
            return;
        }
        for statement in &query.stmts {
            self.steps += 1;
            if let Some(with) = statement.with_mods.first() {
                self.refuse(&with.span, "with puts other values in place".into(), "pass them to a function");
            }
            match &statement.literal {
                Literal::SomeVars { .. } => {}
                Literal::SomeIn { key, value, collection, .. } => {
                    key.iter().chain([value, collection]).for_each(|part| self.value(part));
                }
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.value(expr),
                Literal::Every { domain, query, .. } => {
                    self.value(domain);
                    self.query(query, depth + 1);
                }
            }
        }
    }

    fn value(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
            Expr::Var { span, .. } => self.variable(span),
            Expr::Array { .. } | Expr::Set { .. } | Expr::Object { .. } => self.plain(expr),
            Expr::ArrayCompr { span, .. } | Expr::SetCompr { span, .. } | Expr::ObjectCompr { span, .. } => {
                self.builds(span, "a comprehension");
            }
            Expr::BinExpr { span, .. } => self.builds(span, "a union or intersection"),
            Expr::ArithExpr { span, .. } => {
                self.refuse(span, "it calculates".into(), "compare with a number that is written out");
            }
            Expr::UnaryExpr { expr, .. } => self.plain(expr),
            Expr::Call { fcn, params, .. } => {
                self.call(fcn);
                params.iter().for_each(|part| self.value(part));
            }
            Expr::RefDot { refr, field, .. } => self.field(refr, field.0.text(), &field.0),
            Expr::RefBrack { refr, index, .. } => {
                if let Expr::String { span, .. } = index.as_ref() {
                    self.field(refr, span.text().trim_matches('"'), span);
                } else {
                    self.steps += 1; // a variable in there loops
                    self.value(refr);
                }
                self.value(index);
            }
            Expr::BoolExpr { lhs, rhs, .. } | Expr::AssignExpr { lhs, rhs, .. } => {
                self.value(lhs);
                self.value(rhs);
            }
            Expr::Membership { key, value, collection, .. } => {
                key.iter().chain([value, collection]).for_each(|part| self.value(part));
            }
        }
    }

    /// A value that is written out: the file bounds it.
    fn plain(&mut self, expr: &Ref<Expr>) {
        if let Expr::Array { items, .. } | Expr::Set { items, .. } = expr.as_ref() {
            items.iter().for_each(|item| self.plain(item));
        } else if let Expr::Object { fields, .. } = expr.as_ref() {
            for (_, key, value) in fields {
                self.plain(key);
                self.plain(value);
            }
        } else if !is_scalar(expr) {
            self.builds(expr.span(), "a list, set or object of what is not written out");
        }
    }

    fn variable(&mut self, span: &Span) {
        let name = span.text();
        if name == "data" {
            self.refuse(span, "it reads data, and there is none".into(), "use a rule of this file by its name");
        } else if self.rules.contains(name) {
            self.leans.entry(self.rule.clone()).or_default().insert(name.to_owned());
        }
    }

    fn field(&mut self, of: &Ref<Expr>, field: &str, span: &Span) {
        let known: &[&str] = match of.span().text() {
            "input" => &INPUTS,
            "input.alert" => &FIELDS,
            _ => return self.value(of),
        };
        if !known.contains(&field) {
            let hint = nearest(field, known).map_or_else(
                || format!("there are {}", known.join(", ")),
                |near| format!("write {}.{near}", of.span().text()),
            );
            self.refuse(span, format!("{} has no field {field}", of.span().text()), &hint);
        }
    }

    fn call(&mut self, function: &Ref<Expr>) {
        let (name, span) = (function.span().text(), root(function));
        if self.rules.contains(name) {
            self.leans.entry(self.rule.clone()).or_default().insert(name.to_owned());
        } else if !FUNCTIONS.contains(&name) {
            let hint = format!("there are {}, and functions of this file", FUNCTIONS.join(", "));
            self.refuse(span, format!("{name} is not allowed here"), &hint);
        }
    }

    fn builds(&mut self, span: &Span, what: &str) {
        let hint = "a priority needs no new values: test what is there, with some x in …, every, in, and functions";
        self.refuse(span, format!("{what} builds a value that may grow"), hint);
    }

    /// Rules that lean on one another in a circle, or in too long a row.
    fn chains(&mut self) {
        let mut heights: BTreeMap<String, usize> = self.rules.iter().map(|rule| (rule.clone(), 0)).collect();
        for _ in 0..=MOST_CHAIN {
            for (rule, below) in &self.leans {
                let highest = below.iter().filter_map(|below| heights.get(below)).max();
                let height = highest.map_or(0, |below| below + 1);
                heights.insert(rule.clone(), height);
            }
        }
        let high = heights.iter().find(|(_, height)| **height > MOST_CHAIN).map(|(rule, _)| rule.clone());
        if let Some(rule) = high {
            let module = self.module;
            let at = module.policy.iter().find(|one| name(one).as_ref() == Some(&rule));
            let span = at.map_or(module.package.refr.span(), |rule| rule.span());
            let text = format!("{rule} leans on itself, or on more than {MOST_CHAIN} rules in a row");
            self.refuse(span, text, "break the circle, or join the rules");
        }
    }

    fn refuse(&mut self, span: &Span, text: String, hint: &str) {
        let refused = Refused { line: span.line, column: span.col, text, hint: hint.to_owned() };
        if self.wrong.len() < 20 && !self.wrong.contains(&refused) {
            self.wrong.push(refused);
        }
    }
}
