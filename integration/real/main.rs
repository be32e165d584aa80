//! The real ring: Kafka, Redis, an API server and our binary as processes. Run it by `integration/test`.

#[path = "../harness/mod.rs"]
mod harness;

#[path = "../sim/contract.rs"]
mod contract;

mod alertmanager;
mod broker;
mod crash;
mod dead_letters;
mod dedup;
mod deploy;
mod doors;
mod events;
mod explain;
mod health;
mod hostile;
mod identity;
mod large;
mod live;
mod log;
mod managers;
mod memory;
mod objects;
mod prometheus;
mod refusals;
mod replay;
mod servers;
mod sink;
mod storm;
