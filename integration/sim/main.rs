//! The sim ring: the steps of both stages over a log in memory, local memory, scripted objects, virtual event time
//! and seeded crashes. No server, no thread, no sleep.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "a test's crate exports nothing: here `pub` says what the other modules may use")]

mod answers;
mod chaos;
mod check;
mod cluster;
mod contract;
mod dedup;
mod faults;
mod judge;
mod local;
mod losses;
mod memory;
mod policy;
mod rigged;
mod rooms;
mod script;
mod shipped;
mod storms;
mod weather;
mod world;
