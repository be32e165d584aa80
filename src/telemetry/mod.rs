//! Metrics, traces, health: what an operator can see. Nothing here decides anything.

pub mod admin;
pub mod complaint;
pub mod health;
pub mod metrics;
mod page;
pub mod recent;
pub mod tracing;
