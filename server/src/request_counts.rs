//! HTTP requests counted by route and status.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;

/// Requests and the time they took, by (route, status). Routes are those of the router, so their number is bounded.
#[derive(Default)]
pub struct RequestCounts(Mutex<BTreeMap<(String, u16), RequestCount>>);

/// Requests of one route and status.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RequestCount {
    /// How many.
    pub requests: u64,
    /// How long they took in all, seconds.
    pub seconds: f64,
}

impl RequestCounts {
    /// One more.
    pub fn add(&self, route: &str, status: u16, took: Duration) {
        let mut counts = self.0.lock();
        let count = counts.entry((route.to_owned(), status)).or_default();
        count.requests += 1;
        count.seconds += took.as_secs_f64();
    }

    /// All of them.
    pub fn all(&self) -> Vec<(String, u16, RequestCount)> {
        self.0.lock().iter().map(|((route, status), count)| (route.clone(), *status, *count)).collect()
    }
}
