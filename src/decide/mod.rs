//! What shall be done: pure functions of values. Memory's answers and the API server's come in as arguments.

pub mod backoff;
pub mod dedup;
pub mod draft;
pub mod environment;
pub mod kin;
pub mod outcome;
pub mod priority;
pub mod refusal;
pub mod severity;
mod spec;
pub mod storm;
