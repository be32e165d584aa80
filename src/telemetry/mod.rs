//! Metrics, traces, health: what an operator can see. Nothing here decides anything.

pub mod admin;
pub mod complaint;
pub mod health;
pub mod metrics;
pub mod tracing;
