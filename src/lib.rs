#![doc = include_str!("../ARCHITECTURE.md")]

/// What comes in: alerts, their identity, their records.
pub mod alert;

/// What goes out: incidents, drafts, updates, and the object's types.
pub mod remediation;

/// What the operator asked for, checked.
pub mod pipeline;

/// What shall be done: every decision, pure.
pub mod decide;

/// Records in, records out.
pub mod kafka;

/// The door: HTTP in, acknowledged records out.
pub mod ingest;

/// What was seen: Redis, or this process.
pub mod memory;

/// The judge's bench: dedup, storms, drafts.
pub mod work;

/// The way out: objects on the Kubernetes API, at a budget.
pub mod sink;

/// The log as a product: dead letters put back, decisions taken again.
pub mod replay;

/// The fire alarm check: a test alert through the door, and its object out again.
pub mod canary;

/// Metrics, traces, health.
pub mod telemetry;

/// Where a test may end the process.
pub mod crash;

/// Starts, watches and drains tasks.
pub mod lifecycle;

/// The wiring.
pub mod cli;
