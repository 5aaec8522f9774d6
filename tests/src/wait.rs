//! Waiting for a state: poll with a deadline, never a fixed sleep.

use std::time::Duration;

use tokio::time::Instant;

/// Time between two looks.
const STEP: Duration = Duration::from_millis(50);

/// Looks until there is something or the time is over.
pub async fn until<T, F: AsyncFnMut() -> Option<T>>(limit: Duration, mut look: F) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        tokio::time::sleep(STEP).await;
    }
}

/// The same without a runtime.
pub fn until_blocking<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(STEP);
    }
}
