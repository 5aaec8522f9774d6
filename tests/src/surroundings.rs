//! What a collector's source stands in: an outlet that keeps what is sent, the host's clock and the two channels to the logs.

use collector::{Clock, Context, Outlet, config::LogConfig, outlet::Captured};
use tokio::sync::mpsc;

/// Log files a source may announce before somebody takes one.
const LOG_FILES_WAITING_MAX: usize = 64;

/// A context for one source, what is sent through it, and the log files its servers name.
pub fn captured() -> (Context, Captured, mpsc::Receiver<LogConfig>) {
    let (outlet, captured) = Outlet::capture();
    let (log_files, announced) = mpsc::channel(LOG_FILES_WAITING_MAX);
    let context = Context {
        outlet,
        clock: Clock::system(),
        shutdown: Default::default(),
        host: "host".into(),
        desk: Default::default(),
        log_files,
    };
    (context, captured, announced)
}
