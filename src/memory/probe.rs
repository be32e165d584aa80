//! Whether memory works, asked for as long as the stage runs.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Memory;
use crate::telemetry::{complaint::Complaint, health::Condition};

const EVERY: Duration = Duration::from_secs(1);

/// Asks every second until `stop`, and tells the condition.
///
/// # Errors
/// None: what is away comes back.
pub async fn probe<M: Memory>(
    memory: M,
    answers: Condition,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let complaint = Complaint::new("memory is away: alerts are taken in and wait in the log");
    loop {
        match memory.probe().await {
            Ok(()) => {
                answers.met();
                complaint.settle();
            }
            Err(error) => {
                answers.missing(error.to_string());
                complaint.raise(&error);
            }
        }
        if stop.run_until_cancelled(sleep(EVERY)).await.is_none() {
            return Ok(());
        }
    }
}
