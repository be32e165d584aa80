//! How fast things went through the last minute: what is counted, looked at once a second. Bounded by that minute.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::figures::Figures;

/// How often it is looked at.
pub(super) const BEAT: Duration = Duration::from_secs(1);
/// Looks that are kept.
const LOOKS: usize = 61;
/// Looks over which a rate is told.
const OVER: usize = 10;

/// What the page tells the rate of: title, and the counters whose sum it is.
pub(super) const FLOWS: [(&str, &[&str]); 4] = [
    ("Alerts accepted", &["breakwater_ingest_alerts_accepted_total"]),
    ("Records judged", &["breakwater_work_records_consumed_total"]),
    ("Drafts and updates out", &["breakwater_work_drafts_published_total", "breakwater_work_updates_published_total"]),
    ("Writes to the API", &["breakwater_sink_writes_total"]),
];

/// What was counted through the last minute.
#[derive(Debug, Default)]
pub(super) struct Pulse(VecDeque<(Instant, [f64; FLOWS.len()])>);

impl Pulse {
    /// Looks once.
    pub(super) fn look(&mut self, figures: &Figures, now: Instant) {
        if self.0.len() == LOOKS {
            self.0.pop_front();
        }
        self.0.push_back((now, FLOWS.map(|(_, families)| families.iter().map(|family| figures.sum(family)).sum())));
    }

    /// How many a second, over the last ten seconds.
    pub(super) fn rate(&self, flow: usize) -> f64 {
        let first = self.0.len().saturating_sub(OVER + 1);
        let (Some((began, from)), Some((ended, to))) = (self.0.get(first), self.0.back()) else { return 0.0 };
        per_second(to[flow] - from[flow], ended.duration_since(*began))
    }

    /// How many a second, between each two looks.
    pub(super) fn course(&self, flow: usize) -> impl Iterator<Item = f64> + '_ {
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        pairs.map(move |((began, from), (ended, to))| per_second(to[flow] - from[flow], ended.duration_since(*began)))
    }
}

fn per_second(count: f64, span: Duration) -> f64 {
    if span.is_zero() { 0.0 } else { (count / span.as_secs_f64()).max(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_ten_seconds_and_the_course_of_the_last_minute() {
        let (mut pulse, start) = (Pulse::default(), Instant::now());
        assert_eq!(pulse.rate(0), 0.0);
        for second in 0..200_u32 {
            let accepted = if second < 190 { 0 } else { (second - 189) * 20 };
            let figures = Figures::read(&format!("breakwater_ingest_alerts_accepted_total {accepted}\n"));
            pulse.look(&figures, start + BEAT * second);
        }
        assert_eq!((pulse.rate(0), pulse.rate(1)), (20.0, 0.0));
        let course: Vec<f64> = pulse.course(0).collect();
        assert_eq!((course.len(), course[0], course[59]), (60, 0.0, 20.0));
    }
}
