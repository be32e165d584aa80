//! The page's inside, section by section. Each stands only where a stage of this process has something to say in it.

use std::fmt::{self, Write as _};

use super::{
    Told,
    pulse::FLOWS,
    text::{Count, Span, Text},
};
use crate::telemetry::recent::{INCIDENTS, Seen};

type Page = String;

/// Everything that is told, from the top of the page to its end.
pub(super) fn main(told: &Told) -> Page {
    let mut page = Page::with_capacity(16 << 10);
    let sections = [stages, flows, waiting, budget, storms, incidents, books, dead_letters, dependencies];
    for section in sections {
        section(&mut page, told).expect("a string takes everything");
    }
    page
}

fn stages(page: &mut Page, told: &Told) -> fmt::Result {
    write!(page, "<section class=\"stages\">")?;
    for stage in &told.stages {
        let class = if stage.readiness.status == "ready" { "good" } else { "bad" };
        let (name, status) = (stage.readiness.stage, stage.readiness.status);
        write!(page, "<p><b>{name}</b> <span class=\"{class}\">{status}</span></p>")?;
    }
    writeln!(page, "<p class=\"told\">told at <time>{:.0}</time></p></section>", told.now)
}

fn flows(page: &mut Page, told: &Told) -> fmt::Result {
    for (flow, (title, families)) in FLOWS.iter().enumerate() {
        if !families.iter().any(|family| told.figures.has(family)) {
            continue;
        }
        let total: f64 = families.iter().map(|family| told.figures.sum(family)).sum();
        write!(
            page,
            "<section class=\"quarter\"><h2>{title}</h2><p class=\"figure\">{} <small>a second · {} in all</small></p>",
            Count(told.pulse.rate(flow)),
            Count(total),
        )?;
        course(page, &told.pulse.course(flow).collect::<Vec<_>>())?;
        writeln!(page, "</section>")?;
    }
    Ok(())
}

/// The last minute as a line; the newest at the right.
fn course(page: &mut Page, rates: &[f64]) -> fmt::Result {
    let most = rates.iter().copied().fold(1.0, f64::max);
    write!(page, "<svg viewBox=\"0 0 60 20\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><polyline points=\"")?;
    for (place, rate) in rates.iter().rev().enumerate() {
        write!(page, "{},{:.1} ", 60 - place.min(60), 19.0 - 18.0 * rate / most)?;
    }
    write!(page, "\"/></svg>")
}

/// Title, metric, and what it counts; `s` and `ms` are told as spans.
const WAITING: [(&str, &str, &str); 9] = [
    ("Alerts not yet judged", "breakwater_work_lag_records", "records"),
    ("Oldest alert in hand", "breakwater_work_oldest_waiting_seconds", "s"),
    ("Waiting for their hold", "breakwater_work_records_waiting", "records"),
    ("Slowest partition behind", "breakwater_work_watermark_lag_milliseconds", "ms"),
    ("Drafts not yet written", "breakwater_sink_lag_records", "records"),
    ("Oldest draft in hand", "breakwater_sink_oldest_waiting_seconds", "s"),
    ("Writes in the lanes", "breakwater_sink_writes_waiting", "writes"),
    ("Resting after a refusal", "breakwater_sink_objects_parked", "objects"),
    ("Live objects", "breakwater_sink_live_objects", "objects"),
];

fn waiting(page: &mut Page, told: &Told) -> fmt::Result {
    if !WAITING.iter().any(|(_, family, _)| told.figures.has(family)) {
        return Ok(());
    }
    write!(page, "<section class=\"half\"><h2>Waiting</h2><table><tbody>")?;
    for (title, family, unit) in WAITING.iter().filter(|(_, family, _)| told.figures.has(family)) {
        let value = told.figures.sum(family);
        write!(page, "<tr><th scope=\"row\">{title}</th><td class=\"number\">")?;
        match *unit {
            "s" => write!(page, "{}", Span(value))?,
            "ms" => write!(page, "{}", Span(value / 1000.0))?,
            unit => write!(page, "{} {unit}", Count(value))?,
        }
        write!(page, "</td></tr>")?;
    }
    writeln!(page, "</tbody></table></section>")
}

fn budget(page: &mut Page, told: &Told) -> fmt::Result {
    const BUDGET: &str = "breakwater_sink_writes_per_second_budget";
    if !told.figures.has(BUDGET) {
        return Ok(());
    }
    let (budget, used) = (told.figures.sum(BUDGET), told.pulse.rate(FLOWS.len() - 1));
    write!(page, "<section class=\"half\"><h2>Budget of writes</h2><p class=\"figure\">{}", Count(used))?;
    if budget > 0.0 {
        write!(page, " <small>of {} a second are used by this replica</small></p>", Count(budget))?;
        writeln!(page, "<meter min=\"0\" max=\"{budget}\" value=\"{}\"></meter>", used.min(budget))?;
    } else {
        writeln!(page, " <small>a second; there is no limit, or this replica has no partition</small></p>")?;
    }
    match &told.glimpse.pause {
        Some((why, left)) => {
            let left = Span(left.as_secs_f64());
            write!(page, "<p class=\"bad\">Everything pauses for {left} more: {}</p>", Text(why))?;
        }
        None => write!(page, "<p class=\"good\">Nothing pauses.</p>")?,
    }
    writeln!(page, "<p class=\"faint\">{}</p></section>", refusals(told))
}

/// What the API server refused so far, by what its answer asked of us.
fn refusals(told: &Told) -> String {
    let refused = told.figures.by_label("breakwater_sink_refusals_total").filter(|(_, count)| *count > 0.0);
    let each: Vec<String> = refused.map(|(class, count)| format!("{class} {}", Count(count))).collect();
    if each.is_empty() {
        "The API server has refused nothing.".to_owned()
    } else {
        format!("Refused: {}.", each.join(", "))
    }
}

fn storms(page: &mut Page, told: &Told) -> fmt::Result {
    if !told.writes() {
        return Ok(());
    }
    write!(page, "<section id=\"storms\" data-title=\"{}\">", Title(&told.glimpse.storms))?;
    write!(page, "<h2>Storms under way: {}</h2>", told.glimpse.storms.len())?;
    if !told.glimpse.storms.is_empty() {
        write!(
            page,
            "<table class=\"wide\"><thead><tr><th>Alert<th>Object<th class=\"number\">Resources<th class=\"number\">Firings\
             <th>Since<th>Last joined<th>Explain</tr></thead><tbody>"
        )?;
        for seen in &told.glimpse.storms {
            storm(page, told, seen)?;
        }
        write!(page, "</tbody></table>")?;
    }
    writeln!(page, "</section>")
}

/// What the window is called, for whoever has it among others.
struct Title<'a>(&'a [Seen]);

impl fmt::Display for Title<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resources: u64 = self.0.iter().filter_map(|seen| Some(seen.storm.as_ref()?.resources)).sum();
        match self.0.len() {
            0 => write!(out, "Breakwater"),
            1 => write!(out, "1 storm, {resources} resources · Breakwater"),
            storms => write!(out, "{storms} storms, {resources} resources · Breakwater"),
        }
    }
}

fn storm(page: &mut Page, told: &Told, seen: &Seen) -> fmt::Result {
    let Some(storm) = &seen.storm else { return Ok(()) };
    write!(page, "<tr><td><b>{}</b></td>{}", Text(&seen.alert), Object(seen))?;
    write!(page, "<td class=\"number\" data-is=\"Resources\">{}</td>", Count(float(storm.resources)))?;
    write!(page, "<td class=\"number\" data-is=\"Firings\">{}</td>", Count(float(seen.firings)))?;
    write!(page, "<td class=\"keep\" data-is=\"Since\">{} ago</td>", told.since(seen.begun))?;
    write!(
        page,
        "<td class=\"keep\" data-is=\"Last joined\">{} ago</td>{}</tr>",
        told.since(storm.joined),
        Explain(seen)
    )
}

fn incidents(page: &mut Page, told: &Told) -> fmt::Result {
    if !told.writes() {
        return Ok(());
    }
    write!(page, "<section id=\"incidents\"><h2>Newest incidents</h2>")?;
    if told.glimpse.incidents.is_empty() {
        return writeln!(page, "<p class=\"faint\">None yet.</p></section>");
    }
    write!(
        page,
        "<table class=\"wide\"><caption>At most {INCIDENTS}, the newest first</caption><thead><tr><th>Priority<th>Alert<th>About\
         <th>Object<th class=\"number\">Firings<th>Began<th>Explain</tr></thead><tbody>"
    )?;
    for seen in &told.glimpse.incidents {
        write!(page, "<tr><td>{}</td><td><b>{}</b>", Text(&seen.priority), Text(&seen.alert))?;
        if let Some(phase) = &seen.over {
            write!(page, " <span class=\"faint\">{}</span>", Text(phase))?;
        }
        match &seen.storm {
            Some(storm) => write!(page, "</td><td>{} resources, a storm</td>", Count(float(storm.resources)))?,
            None => write!(page, "</td><td>{}</td>", Text(&seen.about))?,
        }
        write!(page, "{}<td class=\"number\" data-is=\"Firings\">{}</td>", Object(seen), Count(float(seen.firings)))?;
        writeln!(
            page,
            "<td class=\"keep\" data-is=\"Began\">{} ago</td>{}</tr>",
            told.since(seen.begun),
            Explain(seen)
        )?;
    }
    writeln!(page, "</tbody></table></section>")
}

/// The cell that names an object.
struct Object<'a>(&'a Seen);

impl fmt::Display for Object<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (namespace, name) = &self.0.object;
        write!(out, "<td>{}/{}</td>", Text(namespace), Text(name))
    }
}

/// The cell with the command that tells its story.
struct Explain<'a>(&'a Seen);

impl fmt::Display for Explain<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "<td><code>breakwater explain {}</code></td>", Text(&self.0.fingerprint))
    }
}

fn books(page: &mut Page, told: &Told) -> fmt::Result {
    for stage in ["work", "sink"] {
        let [consumed, outcomes, in_flight] = ["records_consumed_total", "outcomes_total", "records_in_flight"]
            .map(|noun| format!("breakwater_{stage}_{noun}"));
        if !told.figures.has(&consumed) {
            continue;
        }
        let [taken, ended, held] = [&consumed, &outcomes, &in_flight].map(|family| told.figures.sum(family));
        write!(page, "<section class=\"third\" id=\"books-{stage}\"><h2>Outcomes of {stage}</h2><table><tbody>")?;
        for (outcome, count) in told.figures.by_label(&outcomes) {
            write!(page, "<tr><th scope=\"row\">{outcome}</th><td class=\"number\">{}</td></tr>", Count(count))?;
        }
        write!(page, "<tr><th scope=\"row\">in flight</th><td class=\"number\">{}</td></tr></tbody>", Count(held))?;
        let sum = Count(ended + held);
        write!(page, "<tfoot><tr><th scope=\"row\">together</th><td class=\"number\">{sum}</td></tr>")?;
        write!(
            page,
            "<tr><th scope=\"row\">taken</th><td class=\"number\">{}</td></tr></tfoot></table>",
            Count(taken)
        )?;
        let balanced = (ended + held - taken).abs() < 0.5 && held >= 0.0;
        let verdict = if balanced { "<p class=\"good\">It adds up." } else { "<p class=\"bad\">It does not add up." };
        writeln!(page, "{verdict}</p></section>")?;
    }
    Ok(())
}

/// Who sets aside, and where that is counted.
const SET_ASIDE: [(&str, &str); 3] = [
    ("ingest", "breakwater_ingest_alerts_rejected_total"),
    ("work", "breakwater_work_dead_letters_published_total"),
    ("sink", "breakwater_sink_dead_letters_published_total"),
];

fn dead_letters(page: &mut Page, told: &Told) -> fmt::Result {
    write!(page, "<section class=\"third\"><h2>Dead letters</h2>")?;
    let each = SET_ASIDE.iter().flat_map(|(stage, family)| {
        let counted = told.figures.by_label(family).filter(|(_, count)| *count > 0.0);
        counted.map(move |(reason, count)| (*stage, reason, count))
    });
    let each: Vec<_> = each.collect();
    if each.is_empty() {
        return writeln!(page, "<p class=\"good\">None since this process began.</p></section>");
    }
    write!(page, "<table><tbody>")?;
    for (stage, reason, count) in each {
        write!(page, "<tr><th scope=\"row\">{stage}: {reason}</th><td class=\"number\">{}</td></tr>", Count(count))?;
    }
    writeln!(page, "</tbody></table><p><code>breakwater dead-letters list</code></p></section>")
}

fn dependencies(page: &mut Page, told: &Told) -> fmt::Result {
    write!(page, "<section><h2>What is needed</h2><table class=\"wide\"><thead><tr><th>Stage<th>Needs<th>Now")?;
    write!(page, "<th class=\"number\">Outages<th class=\"number\">Away in all</tr></thead><tbody>")?;
    for stage in &told.stages {
        for dependency in &stage.dependencies {
            write!(page, "<tr><td>{}</td><td>{}</td>", stage.readiness.stage, dependency.name)?;
            match &dependency.missing {
                Some(reason) => write!(page, "<td class=\"bad\">{}</td>", Text(reason))?,
                None => write!(page, "<td class=\"good\">there</td>")?,
            }
            write!(page, "<td class=\"number\" data-is=\"Outages\">{}</td>", dependency.outages)?;
            let away = Span(dependency.away.as_secs_f64());
            writeln!(page, "<td class=\"number\" data-is=\"Away in all\">{away}</td></tr>")?;
        }
    }
    writeln!(page, "</tbody></table></section>")
}

#[expect(clippy::cast_precision_loss, reason = "shown with fewer digits than a double has")]
fn float(count: u64) -> f64 {
    count as f64
}
