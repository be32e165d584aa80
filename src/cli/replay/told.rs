//! What a replay found, as it is printed.

use crate::{
    cli::Failure,
    replay::report::{Line, Report},
};

/// Lines of one kind that a table shows.
const SHOWN: usize = 20;

/// What a replay cannot know.
pub(super) fn exceptions() -> [String; 1] {
    ["namespaces' labels are those of now, the pipeline is this one, and no partition is taken for unread: where that was \
      otherwise, the live run may have decided otherwise"
        .to_owned()]
}

/// The report as one document.
pub(super) fn json(report: &Report, notes: &[String], interrupted: bool) -> Result<String, Failure> {
    let mut told = serde_json::to_value(report)?;
    told["notes"] = serde_json::json!(notes);
    told["interrupted"] = serde_json::json!(interrupted);
    Ok(format!("{told:#}\n"))
}

/// The report for eyes.
pub(super) fn table(report: &Report, notes: &[String]) -> String {
    let mut text = format!(
        "would create: {}\nexist: {}\ndiffer: {}\nover: {}\npublished: {}\nbrought up to date: {}\nunreadable: {}\nrecords read: {}\n",
        report.would_create,
        report.exist,
        report.differ,
        report.over,
        report.published,
        report.brought_up,
        report.unreadable,
        report.records,
    );
    let outcomes: Vec<String> = report.outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
    text += &format!("records of the range: {}\n", outcomes.join(", "));
    for (what, lines) in
        [("would create", &report.missing), ("differ", &report.differing), ("over", &report.suppressed)]
    {
        if !lines.is_empty() {
            text += &format!("\n{what}:\n{}", rows(lines));
        }
    }
    for note in notes {
        text += &format!("\nnote: {note}\n");
    }
    text
}

fn rows(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines.iter().take(SHOWN) {
        let storm = if line.storm { " storm" } else { "" };
        let phase = line.phase.as_ref().map(|phase| format!(" {phase}")).unwrap_or_default();
        text +=
            &format!("  {} {} {}{storm}{phase} since {}\n", line.object, line.priority, line.alert, line.first_seen);
        for field in &line.fields {
            text += &format!("    {}: {} then, {} now\n", field.field, short(&field.then), short(&field.now));
        }
    }
    if lines.len() > SHOWN {
        text += &format!("  and {} more; --output json lists them\n", lines.len() - SHOWN);
    }
    text
}

fn short(value: &serde_json::Value) -> String {
    let text = value.to_string();
    match text.chars().count() > 120 {
        true => format!("{}…", text.chars().take(120).collect::<String>()),
        false => text,
    }
}
