//! This replica's share of the budget, and the pause that a throttled answer puts on everything.
//!
//! **Invariant:** the replicas' shares never sum to more than the budget, and no share is ever used in a burst.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::{Instant, sleep_until};

/// A hundredth of the budget is left unused, so that jitter on the way never puts one request too many into a second.
const SLACK: f64 = 1.01;

/// Tokio's clock, so that budgets hold in virtual time too.
#[derive(Clone, Debug, Default)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        Instant::now().into_std()
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<std::time::Instant>>;

/// How fast this replica may write.
#[derive(Debug)]
pub struct Pace {
    budget: Option<u32>,
    allowed: Allowed,
    not_before: Option<Instant>,
}

#[derive(Debug)]
enum Allowed {
    Nothing,
    Anything,
    At(Box<Limiter>, Duration),
}

impl Pace {
    /// Nothing may be written before a share is known.
    #[must_use]
    pub fn new(budget: Option<u32>) -> Self {
        Self { budget, allowed: Allowed::Nothing, not_before: None }
    }

    /// Another budget for the whole deployment; it counts from the next share on.
    pub fn change(&mut self, budget: Option<u32>) {
        self.budget = budget;
    }

    /// Takes the share of the budget that belongs to so many of all partitions. Its first write waits a full turn, so that
    /// a change of shares is no burst.
    pub fn share(&mut self, owned: usize, all: usize) {
        self.allowed = match self.budget {
            _ if owned == 0 => Allowed::Nothing,
            None => Allowed::Anything,
            Some(budget) => {
                let (owned, all) = (as_f64(owned.min(all)), as_f64(all.max(1)));
                let turn = Duration::from_secs_f64(SLACK * all / (f64::from(budget) * owned));
                paced(turn).map_or(Allowed::Anything, |limiter| Allowed::At(Box::new(limiter), turn))
            }
        };
    }

    /// Writes a second, of this replica; none = no limit.
    #[must_use]
    pub fn per_second(&self) -> Option<f64> {
        match &self.allowed {
            Allowed::Nothing => Some(0.0),
            Allowed::Anything => None,
            Allowed::At(_, turn) => Some(SLACK / turn.as_secs_f64()),
        }
    }

    /// Nothing is written before that moment. A later word only prolongs it.
    pub fn pause_until(&mut self, until: Instant) {
        self.not_before = self.not_before.max(Some(until));
    }

    /// Whether everything pauses.
    #[must_use]
    pub fn is_paused(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|until| now < until)
    }

    /// Waits for the next turn and takes it. Dropped before it is ready, it has taken nothing.
    pub async fn ready(&self) {
        loop {
            if let Some(until) = self.not_before {
                sleep_until(until).await;
            }
            match &self.allowed {
                Allowed::Nothing => std::future::pending().await,
                Allowed::Anything => return,
                Allowed::At(limiter, _) => match limiter.check() {
                    Ok(()) => return,
                    Err(not_yet) => sleep_until(Instant::now() + not_yet.wait_time_from(TokioClock.now())).await,
                },
            }
        }
    }
}

/// One write each turn; the first turn is used up.
fn paced(turn: Duration) -> Option<Limiter> {
    let quota = Quota::with_period(turn)?.allow_burst(NonZeroU32::MIN);
    let limiter = RateLimiter::direct_with_clock(quota, TokioClock);
    let used_up = limiter.check().is_ok();
    debug_assert!(used_up, "a new limiter lets one pass");
    Some(limiter)
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When, in milliseconds, the first so many turns come.
    async fn turns(pace: &Pace, count: usize) -> Vec<u128> {
        let begin = Instant::now();
        let mut turns = Vec::new();
        for _ in 0..count {
            pace.ready().await;
            turns.push(begin.elapsed().as_millis());
        }
        turns
    }

    #[tokio::test(start_paused = true)]
    async fn i21_no_second_holds_more_than_the_budget() {
        let mut pace = Pace::new(Some(3));
        pace.share(4, 4);
        let turns = turns(&pace, 60).await;
        for (place, first) in turns.iter().enumerate() {
            let within = turns[place..].iter().filter(|turn| **turn < first + 1000).count();
            assert!(within <= 3, "{within} from {first} ms on");
        }
        assert!(turns[59] < 21_000, "and the budget is used: {}", turns[59]);
    }

    #[tokio::test(start_paused = true)]
    async fn i22_each_replica_takes_the_share_of_its_partitions() {
        for (owned, expected) in [(3, 15), (1, 5), (4, 20)] {
            let mut pace = Pace::new(Some(20));
            pace.share(owned, 4);
            let within = turns(&pace, 40).await.into_iter().filter(|turn| *turn <= 1_050).count();
            assert_eq!(within, expected, "{owned} of 4 partitions");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn i22_a_share_below_one_a_second_works_and_a_new_share_is_no_burst() {
        let mut pace = Pace::new(Some(1));
        pace.share(1, 4);
        assert_eq!(turns(&pace, 2).await, [4_040, 8_080]);
        pace.share(4, 4);
        assert_eq!(turns(&pace, 1).await, [1_010]);
        assert_eq!(pace.per_second().map(|rate| rate.round() as u32), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn i04_a_pause_holds_every_write_and_only_grows() {
        let mut pace = Pace::new(None);
        pace.share(1, 1);
        pace.pause_until(Instant::now() + Duration::from_secs(2));
        pace.pause_until(Instant::now() + Duration::from_secs(1));
        assert!(pace.is_paused(Instant::now()));
        assert_eq!(turns(&pace, 1).await, [2_000]);
        assert!(!pace.is_paused(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_without_partitions_writes_nothing() {
        let mut pace = Pace::new(None);
        pace.share(0, 4);
        let ready = tokio::time::timeout(Duration::from_hours(1), pace.ready()).await;
        assert!(ready.is_err());
    }
}
