//! Waiting for a condition with a deadline. Nothing else in the tests sleeps.

use std::fmt::{Debug, Display};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(50);

/// Asks until the answer is there; what is missing at the deadline fails the test by name.
pub async fn until<T>(deadline: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    until_ok(deadline, what, async || ask().await.ok_or("not yet")).await
}

/// Asks until the answer is `Ok`; the failure tells the last error seen.
pub async fn until_ok<T, E: Display>(deadline: Duration, what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    let mut last = "it was never answered".to_owned();
    loop {
        // a question that hangs must not outlive the deadline: a frozen server answers nothing
        let left = deadline.saturating_sub(start.elapsed());
        match tokio::time::timeout(left.max(STEP), ask()).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last.push_str(" (and then no answer within the time that was left)"),
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} for {what}, at last: {last}");
        tokio::time::sleep(STEP).await;
    }
}

/// Asks until the answer equals what is expected; the failure shows both.
pub async fn until_eq<T: PartialEq + Debug>(
    deadline: Duration,
    what: &str,
    expected: T,
    mut ask: impl AsyncFnMut() -> T,
) {
    until_ok(deadline, what, async || {
        let seen = ask().await;
        if seen == expected { Ok(()) } else { Err(format!("expected {expected:?}, saw {seen:?}")) }
    })
    .await;
}

/// Waits until so much time has passed since a moment: for rows that speak of time itself.
pub async fn until_passed(span: Duration, since: Instant) {
    tokio::time::sleep_until((since + span).into()).await;
}
