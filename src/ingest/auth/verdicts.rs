//! What was judged of whom, for a short while. One token is asked about by one at a time, and the others who show it
//! wait for that answer; the number of tokens that are known, and of questions under way, is bounded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{UNJUDGED, Verdict};

/// How long an answer may take, waiting for its turn included.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long who was permitted stays so: a token that was revoked opens the door for so long.
const PERMITTED: Duration = Duration::from_secs(30);
/// How long who was turned away stays so: a right that was given just now is seen after that.
const REFUSED: Duration = Duration::from_secs(10);
/// How long nobody asks again about a token to which there was no answer.
const AWAY: Duration = Duration::from_secs(1);
/// Tokens that are known at once, with 32 bytes and a lock each.
const MOST: usize = 4096;
/// Questions under way at once: whoever shows thousands of tokens must not be a burden to whoever judges them.
const QUESTIONS: usize = 32;

/// The SHA-256 of a token and what was asked about it.
pub(super) type Key = [u8; 32];

/// One token's verdict and its end; whoever asks about it holds the lock.
type Slot = Arc<tokio::sync::Mutex<Option<(Verdict, Instant)>>>;

/// Verdicts by token.
#[derive(Debug)]
pub(super) struct Verdicts {
    slots: Mutex<HashMap<Key, Slot>>,
    questions: Semaphore,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self { slots: Mutex::default(), questions: Semaphore::new(QUESTIONS) }
    }
}

impl Verdicts {
    /// The verdict that is known, or else the answer to the question. Whoever gives up while he asks leaves it to the next.
    pub(super) async fn of(&self, key: Key, question: impl Future<Output = Verdict>) -> Verdict {
        let Some(slot) = self.slot(key) else { return Verdict::Away };
        let mut known = slot.lock().await;
        if let Some((verdict, end)) = *known
            && Instant::now() < end
        {
            return verdict;
        }
        let turn = async {
            let _turn = self.questions.acquire().await;
            question.await
        };
        let verdict = timeout(PATIENCE, turn).await.unwrap_or_else(|_| {
            UNJUDGED.raise(&format_args!("there was no answer within {} s", PATIENCE.as_secs()));
            Verdict::Away
        });
        *known = Some((verdict, Instant::now() + lasts(verdict)));
        verdict
    }

    /// The token's own slot; none if all are being asked about.
    fn slot(&self, key: Key) -> Option<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST && !slots.contains_key(&key) {
            make_room(&mut slots, Instant::now());
            if slots.len() >= MOST {
                return None;
            }
        }
        Some(Arc::clone(slots.entry(key).or_default()))
    }
}

fn lasts(verdict: Verdict) -> Duration {
    match verdict {
        Verdict::Permitted => PERMITTED,
        Verdict::Unknown | Verdict::Forbidden => REFUSED,
        Verdict::Away => AWAY,
    }
}

/// Forgets what is over, and who was turned away, for of those anybody can make as many as he likes. Who is permitted has
/// to go only where they are too many themselves.
fn make_room(slots: &mut HashMap<Key, Slot>, now: Instant) {
    let asked_about = |slot: &Slot| Arc::strong_count(slot) > 1;
    let permitted = |slot: &Slot| match slot.try_lock().as_deref() {
        Ok(Some((verdict, end))) => now < *end && *verdict == Verdict::Permitted,
        Ok(None) => false,
        Err(_) => true,
    };
    slots.retain(|_, slot| asked_about(slot) || permitted(slot));
    let questions = slots.values().filter(|slot| asked_about(slot)).count();
    if slots.len() >= MOST && questions < MOST / 2 {
        slots.retain(|_, slot| asked_about(slot));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use futures::future::join_all;

    use super::*;

    /// A judge that answers after a while, and counts.
    #[derive(Default)]
    struct Judge(AtomicUsize);

    impl Judge {
        async fn say(&self, verdict: Verdict, after: Duration) -> Verdict {
            self.0.fetch_add(1, Relaxed);
            tokio::time::sleep(after).await;
            verdict
        }

        fn asked(&self) -> usize {
            self.0.load(Relaxed)
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn key(number: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key
    }

    #[tokio::test(start_paused = true)]
    async fn o02_a_thousand_with_one_token_ask_once_at_a_time_and_once_in_a_while() {
        for verdict in [Verdict::Permitted, Verdict::Unknown, Verdict::Forbidden] {
            let (verdicts, judge) = (Verdicts::default(), Judge::default());
            let begun = Instant::now();
            for hundred in 0..10 {
                tokio::time::sleep_until(begun + SECOND * hundred).await;
                let at_once = (0..100).map(|_| verdicts.of(key(0), judge.say(verdict, SECOND / 10)));
                assert_eq!(join_all(at_once).await, [verdict; 100]);
            }
            assert_eq!(judge.asked(), 1, "{verdict:?} within 10 s");
            tokio::time::sleep_until(begun + lasts(verdict) + SECOND).await;
            assert_eq!(verdicts.of(key(0), judge.say(verdict, SECOND)).await, verdict);
            assert_eq!(judge.asked(), 2, "{verdict:?} is over");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn o02_who_is_silent_is_away_for_all_who_wait_and_is_asked_again_a_second_later() {
        let (verdicts, judge) = (Verdicts::default(), Judge::default());
        let begun = Instant::now();
        let all = join_all((0..100).map(|_| verdicts.of(key(0), judge.say(Verdict::Permitted, SECOND * 5)))).await;
        assert_eq!((all, judge.asked(), begun.elapsed()), (vec![Verdict::Away; 100], 1, PATIENCE));
        tokio::time::advance(AWAY).await;
        assert_eq!(verdicts.of(key(0), judge.say(Verdict::Permitted, SECOND)).await, Verdict::Permitted);
    }

    #[tokio::test(start_paused = true)]
    async fn o02_who_hangs_up_while_he_asks_leaves_the_question_to_the_next() {
        let (verdicts, judge) = (Verdicts::default(), Judge::default());
        let hung_up = timeout(SECOND, verdicts.of(key(0), judge.say(Verdict::Permitted, SECOND * 2))).await;
        assert!(hung_up.is_err());
        assert_eq!(verdicts.of(key(0), judge.say(Verdict::Permitted, SECOND * 2)).await, Verdict::Permitted);
        assert_eq!(judge.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn o02_many_tokens_are_asked_about_by_few_at_once_and_known_in_bounded_number() {
        let (verdicts, judge) = (Verdicts::default(), Judge::default());
        assert_eq!(verdicts.of(key(0), judge.say(Verdict::Permitted, SECOND)).await, Verdict::Permitted);
        let begun = Instant::now();
        let many = join_all((1..=10_000).map(|one| verdicts.of(key(one), judge.say(Verdict::Unknown, SECOND)))).await;
        assert!(begun.elapsed() <= PATIENCE, "nobody waits longer, whoever comes before him");
        let answered = many.iter().filter(|verdict| **verdict == Verdict::Unknown).count();
        assert!(answered <= QUESTIONS * 3, "{answered}");
        assert!(verdicts.slots.lock().unwrap().len() <= MOST);
        for number in 20_000..30_000 {
            verdicts.of(key(number), judge.say(Verdict::Unknown, Duration::ZERO)).await;
        }
        assert!(verdicts.slots.lock().unwrap().len() <= MOST);
        let asked = judge.asked();
        assert_eq!(verdicts.of(key(0), judge.say(Verdict::Away, SECOND)).await, Verdict::Permitted);
        assert_eq!(judge.asked(), asked, "those who are turned away do not push out who is known");
    }
}
