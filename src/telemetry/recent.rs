//! What happened of late, for the status page: the newest incidents with their objects, storms under way, and why nothing
//! is written just now. Whoever sees or writes objects tells it.
//!
//! **Invariant:** it holds [`INCIDENTS`] incidents and [`STORMS`] storms at most, and of each text so many characters.
//! What is in here comes from alerts: it is text, and nothing but text.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

/// Incidents that are kept, the newest.
pub const INCIDENTS: usize = 20;
/// Storms that are kept, those that may go on the longest.
pub const STORMS: usize = 50;
const CHARACTERS: usize = 120;

/// An incident and its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Namespace and name of the object.
    pub object: (String, String),
    /// What `explain` is asked by.
    pub fingerprint: String,
    /// The alert's name.
    pub alert: String,
    /// Whom it is about.
    pub about: String,
    /// The highest so far; empty while the status is not written.
    pub priority: String,
    /// The final phase that it is in, if it is in one.
    pub over: Option<String>,
    /// How often it fired.
    pub firings: u64,
    /// Event time of its first record.
    pub begun: Timestamp,
    /// What it is as a storm, if it is one.
    pub storm: Option<Storm>,
}

/// How a storm stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storm {
    /// Distinct resources that it touches.
    pub resources: u64,
    /// When its youngest member joined.
    pub joined: Timestamp,
    /// Until when further kin join it, if none comes meanwhile.
    pub until: Timestamp,
}

/// Why nothing is written, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// In our own words.
    pub why: String,
    /// The end, by this process' clock.
    pub until: Instant,
}

/// What the page shows of it.
#[derive(Clone, Debug, Default)]
pub struct Glimpse {
    /// The newest first.
    pub incidents: Vec<Seen>,
    /// Storms under way, the largest first.
    pub storms: Vec<Seen>,
    /// Why nothing is written, and for how much longer.
    pub pause: Option<(String, Duration)>,
}

/// What happened of late. Clones speak of the same.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    incidents: Vec<Seen>,
    storms: Vec<Seen>,
    pause: Option<Pause>,
}

impl Recent {
    /// Whether [`Recent::note`] would keep anything of an incident; to be asked first, as there may be very many.
    #[must_use]
    pub fn heeds(&self, begun: Timestamp, storm_until: Option<Timestamp>) -> bool {
        let state = self.lock();
        let among = |kept: &[Seen], most: usize, is_older: &dyn Fn(&Seen) -> bool| {
            kept.len() < most || kept.iter().any(is_older)
        };
        among(&state.incidents, INCIDENTS, &|kept| kept.begun <= begun)
            || storm_until.is_some_and(|until| among(&state.storms, STORMS, &|kept| ends(kept) <= Some(until)))
    }

    /// An incident stands so now.
    pub fn note(&self, mut seen: Seen) {
        for text in [&mut seen.alert, &mut seen.about, &mut seen.priority] {
            *text = cut(text);
        }
        let mut state = self.lock();
        if seen.storm.is_some() && seen.over.is_none() {
            keep(&mut state.storms, seen.clone(), STORMS, ends);
        } else {
            state.storms.retain(|kept| kept.object != seen.object);
        }
        keep(&mut state.incidents, seen, INCIDENTS, |kept| kept.begun);
    }

    /// The object is gone.
    pub fn gone(&self, namespace: &str, name: &str) {
        let mut state = self.lock();
        let other = |kept: &Seen| (kept.object.0.as_str(), kept.object.1.as_str()) != (namespace, name);
        state.storms.retain(other);
        state.incidents.retain(other);
    }

    /// Nothing is written before that moment. A later word only prolongs it.
    pub fn pause(&self, pause: Pause) {
        let mut state = self.lock();
        if state.pause.as_ref().is_none_or(|known| known.until < pause.until) {
            state.pause = Some(pause);
        }
    }

    /// What there is to show at this moment.
    #[must_use]
    pub fn glimpse(&self, now: Timestamp, instant: Instant) -> Glimpse {
        let state = self.lock();
        let mut storms: Vec<Seen> = state.storms.iter().filter(|kept| ends(kept) > Some(now)).cloned().collect();
        storms.sort_by_key(|kept| std::cmp::Reverse(kept.storm.as_ref().map(|storm| storm.resources)));
        let left = |pause: &Pause| (pause.why.clone(), pause.until.saturating_duration_since(instant));
        let pause = state.pause.as_ref().map(left).filter(|(_, left)| !left.is_zero());
        Glimpse { incidents: state.incidents.clone(), storms, pause }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ends(seen: &Seen) -> Option<Timestamp> {
    seen.storm.as_ref().map(|storm| storm.until)
}

/// Puts it in its place, the greatest rank first; whoever comes last is forgotten.
fn keep<K: Ord>(kept: &mut Vec<Seen>, seen: Seen, most: usize, rank: impl Fn(&Seen) -> K) {
    kept.retain(|other| other.object != seen.object);
    let place = kept.partition_point(|other| rank(other) > rank(&seen));
    kept.insert(place, seen);
    kept.truncate(most);
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, begun: i64, storm: Option<(u64, i64)>) -> Seen {
        let at = |second| Timestamp::from_second(second).unwrap();
        Seen {
            object: ("shop".to_owned(), name.to_owned()),
            fingerprint: "f".repeat(64),
            alert: "PodCrashLooping".to_owned(),
            about: "Pod/payment-1".to_owned(),
            priority: "P0".to_owned(),
            over: None,
            firings: 3,
            begun: at(begun),
            storm: storm.map(|(resources, until)| Storm { resources, joined: at(begun), until: at(until) }),
        }
    }

    fn names(seen: &[Seen]) -> Vec<&str> {
        seen.iter().map(|seen| seen.object.1.as_str()).collect()
    }

    fn glimpse(recent: &Recent, now: i64) -> Glimpse {
        recent.glimpse(Timestamp::from_second(now).unwrap(), Instant::now())
    }

    #[test]
    fn the_newest_incidents_are_kept_whatever_the_order_in_which_they_come() {
        let recent = Recent::default();
        for begun in (0..500).rev().chain(0..500) {
            recent.note(seen(&begun.to_string(), begun, Some((begun.unsigned_abs(), begun + 60))));
        }
        let glimpse = glimpse(&recent, 0);
        assert_eq!((glimpse.incidents.len(), glimpse.storms.len()), (INCIDENTS, STORMS));
        assert_eq!(names(&glimpse.incidents)[..2], ["499", "498"]);
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(recent.heeds(at(490), None) && !recent.heeds(at(1), None) && !recent.heeds(at(1), Some(at(400))));
    }

    #[test]
    fn a_storm_is_under_way_until_it_is_quiet_or_its_object_is_final_or_gone() {
        let recent = Recent::default();
        for (name, resources) in [("small", 10), ("large", 40), ("final", 5), ("gone", 5)] {
            recent.note(seen(name, 100, Some((resources, 160))));
        }
        recent.note(Seen { over: Some("Completed".to_owned()), ..seen("final", 100, Some((5, 160))) });
        recent.gone("shop", "gone");
        assert_eq!(names(&glimpse(&recent, 159).storms), ["large", "small"]);
        recent.note(seen("small", 100, Some((50, 170))));
        assert_eq!(names(&glimpse(&recent, 165).storms), ["small"]);
        assert_eq!(glimpse(&recent, 170).storms, []);
        assert_eq!(glimpse(&recent, 170).incidents.len(), 3);
    }

    #[test]
    fn a_pause_ends_by_itself_and_only_grows() {
        let (recent, now) = (Recent::default(), Instant::now());
        let pause = |why: &str, seconds| Pause { why: why.to_owned(), until: now + Duration::from_secs(seconds) };
        recent.pause(pause("throttled", 10));
        recent.pause(pause("a word that is late", 5));
        let told = |seconds| recent.glimpse(Timestamp::UNIX_EPOCH, now + Duration::from_secs(seconds)).pause;
        assert_eq!(told(4), Some(("throttled".to_owned(), Duration::from_secs(6))));
        assert_eq!(told(10), None);
    }

    #[test]
    fn a_text_of_any_length_is_cut() {
        let recent = Recent::default();
        recent.note(Seen { alert: "ä".repeat(100_000), ..seen("a", 1, None) });
        assert_eq!(glimpse(&recent, 1).incidents[0].alert.chars().count(), CHARACTERS + 1);
    }
}
