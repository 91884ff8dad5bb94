//! Waiting for a condition, with a deadline and a name.

use std::time::Duration;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// What was waited for did not happen in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {deadline:?} in vain for {what}")]
pub struct Overdue {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub deadline: Duration,
}

/// Looks at `condition` until it gives a value, for no longer than `deadline`; `what` names it in the error. The deadline
/// also ends a condition that hangs. Where waiting on is pointless, the value can be a `Result`.
pub async fn until<T>(
    deadline: Duration,
    what: impl Into<String>,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> Result<T, Overdue> {
    let look = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(deadline, look).await {
        Ok(value) => Ok(value),
        Err(_) => Err(Overdue { what: what.into(), deadline }),
    }
}
