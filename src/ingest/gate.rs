//! Who may come in now: so many requests at once, so many bytes of their bodies, and so many requests a second from one
//! client.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Refused;
use crate::{pipeline::ingest::IngestPolicy, telemetry::metrics::IngestMetrics};

/// How many clients are told apart at most; beyond, all of them share one rate.
const MOST_CLIENTS: usize = 10_000;

/// The limits in force, and how near they are.
#[derive(Debug)]
pub(super) struct Gate {
    room: Arc<Semaphore>,
    /// One permit for each byte of a body that is held.
    bytes: Arc<Semaphore>,
    pace: DefaultKeyedRateLimiter<IpAddr>,
}

impl Gate {
    pub(super) fn new(policy: &IngestPolicy) -> Self {
        let at_least_one = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(policy.rate_per_second)).allow_burst(at_least_one(policy.burst));
        Self {
            room: Arc::new(Semaphore::new(policy.concurrency)),
            bytes: Arc::new(Semaphore::new(policy.max_bodies)),
            pace: RateLimiter::keyed(quota),
        }
    }

    /// Whether the client keeps to its rate.
    pub(super) fn knock(&self, client: IpAddr) -> Result<(), Refused> {
        self.pace.check_key(&self.key(client)).map_err(|_| Refused::TooFast)
    }

    /// A place inside, held until it is dropped, or why there is none. Taken once the body is there: who sends slowly
    /// holds a connection, and no place.
    pub(super) fn enter(&self) -> Result<OwnedSemaphorePermit, Refused> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| Refused::Full)
    }

    /// A body that holds nothing yet.
    pub(super) fn hold(&self, metrics: &IngestMetrics) -> Held {
        Held { bytes: Arc::clone(&self.bytes), taken: None, metrics: metrics.clone() }
    }

    fn key(&self, client: IpAddr) -> IpAddr {
        if self.pace.len() < MOST_CLIENTS {
            return network(client);
        }
        self.pace.retain_recent();
        if self.pace.len() < MOST_CLIENTS { network(client) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) }
    }
}

/// What one body holds of the bytes that all bodies may weigh together; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
    metrics: IngestMetrics,
}

impl Held {
    /// So many bytes more, or why there is no room for them. Taken as they come: who sends slowly holds only what came.
    pub(super) fn more(&mut self, count: usize) -> Result<(), Refused> {
        let count = u32::try_from(count).map_err(|_| Refused::Crowded)?;
        let more = Arc::clone(&self.bytes).try_acquire_many_owned(count).map_err(|_| Refused::Crowded)?;
        self.metrics.bodies_moved(i64::from(count));
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }

    /// Gives all of it back.
    pub(super) fn let_go(&mut self) {
        if let Some(taken) = self.taken.take() {
            self.metrics.bodies_moved(-i64::try_from(taken.num_permits()).unwrap_or(i64::MAX));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// One client: an IPv4 address, or the /64 that a host of IPv6 has to itself.
pub(super) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::metrics::Registry;

    fn gate(concurrency: usize, burst: u32) -> Gate {
        Gate::new(&IngestPolicy {
            max_body: 1,
            max_alerts: 1,
            max_alert: 1,
            max_nesting: 8,
            concurrency,
            max_bodies: 10,
            rate_per_second: 1,
            burst,
            timeout: Duration::from_secs(1),
        })
    }

    #[test]
    fn o05_one_client_above_its_rate_does_not_touch_its_neighbour() {
        for (loud, calm) in [("192.0.2.1", "192.0.2.2"), ("2001:db8:0:1::1", "2001:db8:0:2::1")] {
            let gate = gate(100, 3);
            let (loud, calm): (IpAddr, IpAddr) = (loud.parse().unwrap(), calm.parse().unwrap());
            let answers: Vec<_> = (0..5).map(|_| gate.knock(loud).err()).collect();
            assert_eq!(answers, [None, None, None, Some(Refused::TooFast), Some(Refused::TooFast)]);
            assert!(gate.knock(calm).is_ok());
        }
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn m08_a_place_is_given_back_when_it_is_dropped() {
        let gate = gate(1, 100);
        let place = gate.enter().unwrap();
        assert_eq!(gate.enter().err(), Some(Refused::Full));
        drop(place);
        assert!(gate.enter().is_ok());
    }

    #[test]
    fn m08_bodies_weigh_no_more_than_they_may_and_give_back_what_they_held() {
        let (gate, metrics) = (gate(1, 100), IngestMetrics::register(&mut Registry::new()));
        let (mut one, mut other) = (gate.hold(&metrics), gate.hold(&metrics));
        assert_eq!((one.more(4), one.more(3), other.more(3)), (Ok(()), Ok(()), Ok(())));
        assert_eq!((one.more(1), other.more(1)), (Err(Refused::Crowded), Err(Refused::Crowded)));
        drop(one);
        assert_eq!((other.more(8), other.more(7)), (Err(Refused::Crowded), Ok(())));
    }

    #[test]
    fn the_number_of_clients_that_are_told_apart_is_bounded() {
        let gate = gate(1_000_000, 1);
        for number in 0..20_000_u32 {
            drop(gate.knock(IpAddr::from(number.to_be_bytes())));
        }
        assert!(gate.pace.len() <= MOST_CLIENTS + 1);
    }
}
