//! The real ring: Kafka, Redis, an API server and our binary as processes. Run it by `integration/test`.

#[path = "../harness/mod.rs"]
mod harness;

#[path = "../sim/contract.rs"]
mod contract;

mod admission;
mod alertmanager;
mod apiserver;
mod backlog;
mod broker;
mod calls;
mod canary;
mod chaos;
mod crash;
mod credentials;
mod cuts;
mod dead_letters;
mod dedup;
mod deploy;
mod doors;
mod ends;
mod events;
mod explain;
mod figures;
mod footprint;
mod forgotten;
mod guard;
mod halfway;
mod health;
mod hostile;
mod identity;
mod interrupted;
mod judge;
mod kinship;
mod large;
mod lifecycle;
mod lifetimes;
mod live;
mod log;
mod managers;
mod measured;
mod memory;
mod objects;
mod observed;
mod outage;
mod page;
mod policy;
mod pressure;
mod prometheus;
mod rebalance;
mod redises;
mod refusals;
mod reload;
mod replay;
mod retention;
mod senders;
mod servers;
mod shipped;
mod sink;
mod storm;
mod torrents;
