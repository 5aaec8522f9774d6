//! The clock as a value: everything that needs the time is handed one; only the program's edge makes the real one.
//!
//! Intervals and deadlines use tokio's time, which tests can pause; this one gives the timestamps of data.

use std::sync::Arc;

/// Tells milliseconds since 1970-01-01 UTC. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// A clock that asks a function.
    pub fn new(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Clock {
        Clock(Arc::new(now_ms))
    }

    /// The machine's clock; for `main.rs` files and whoever embeds the collector.
    #[allow(clippy::disallowed_methods)] // the one edge of this room that reads the clock
    pub fn system() -> Clock {
        Clock::new(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    /// Now.
    pub fn now_ms(&self) -> i64 {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
