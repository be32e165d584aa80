//! How the API server feels: what it answers instead, to how many of the calls.

use std::time::Duration;

use breakwater::{
    decide::refusal::{About, Answer},
    sink::desk::{Call, Found},
};
use fastrand::Rng;

use crate::cluster::{Cluster, answer};

/// What may be answered instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ill {
    /// No answer, and nothing done.
    Silent,
    /// Done, and the answer is lost.
    Forgetful,
    /// 429 or 503, perhaps with how long to wait.
    Throttled,
    /// 500, 502 or 504.
    Failing,
    /// 409: somebody else was faster.
    Contended,
    /// The kind is not served, or the right to write is gone.
    Closed,
    /// 400, 403, 413 or 422 about this object.
    Refusing,
    /// The namespace does not exist; never said of one that holds the object.
    Homeless,
}

impl Ill {
    /// Everything but what never passes.
    pub const PASSING: [Self; 6] =
        [Self::Silent, Self::Forgetful, Self::Throttled, Self::Failing, Self::Contended, Self::Closed];
    /// Everything but what is fatal.
    pub const ALL: [Self; 8] = [
        Self::Silent,
        Self::Forgetful,
        Self::Throttled,
        Self::Failing,
        Self::Contended,
        Self::Closed,
        Self::Refusing,
        Self::Homeless,
    ];
}

/// How the API server feels.
#[derive(Clone, Debug)]
pub struct Weather {
    ills: Vec<Ill>,
    /// Of a hundred calls, so many meet one of them.
    share: u32,
    chance: Rng,
}

impl Weather {
    /// All is well.
    pub fn fair() -> Self {
        Self { ills: Vec::new(), share: 0, chance: Rng::with_seed(0) }
    }

    /// So many of a hundred calls meet one of these.
    pub fn foul(ills: &[Ill], share: u32, seed: u64) -> Self {
        Self { ills: ills.to_vec(), share, chance: Rng::with_seed(seed) }
    }

    /// Whether a record may be set aside.
    pub fn refuses(&self) -> bool {
        self.ills.iter().any(|ill| matches!(ill, Ill::Refusing | Ill::Homeless))
    }

    /// What the call comes back with.
    pub fn ask(&mut self, cluster: &mut Cluster, call: &Call) -> Result<Found, Answer> {
        let met = self.chance.u32(..100) < self.share;
        let Some(ill) = self.chance.choice(&self.ills).copied().filter(|_| met) else { return cluster.ask(call) };
        if ill == Ill::Forgetful {
            let _lost = cluster.ask(call);
        }
        let ill = if ill == Ill::Homeless && cluster.holds(call) { Ill::Silent } else { ill };
        Err(self.refusal(ill, call))
    }

    fn refusal(&mut self, ill: Ill, call: &Call) -> Answer {
        let creates = matches!(call, Call::Create(_));
        let chance = &mut self.chance;
        match ill {
            Ill::Silent | Ill::Forgetful => answer(0, ""),
            Ill::Throttled => Answer {
                retry_after: chance.bool().then(|| Duration::from_secs(chance.u64(1..4))),
                ..answer(if chance.bool() { 429 } else { 503 }, "")
            },
            Ill::Failing => answer([500, 502, 504][chance.usize(..3)], "InternalError"),
            Ill::Contended => answer(409, "Conflict"),
            Ill::Closed if chance.bool() => Answer { about: About::Kind, ..answer(404, "NotFound") },
            Ill::Closed => Answer { about: About::Right, ..answer(403, "Forbidden") },
            Ill::Homeless if creates => Answer { about: About::Namespace, ..answer(404, "NotFound") },
            Ill::Refusing | Ill::Homeless => answer([400, 403, 413, 422][chance.usize(..4)], "Invalid"),
        }
    }
}
