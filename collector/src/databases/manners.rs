//! What keeps us a guest on a server: one query of ours at a time, a budget of time, and a breaker.
//!
//! - One at a time: both connections of an instance take turns, an attempt to connect counts as a query, and none is begun
//!   while an earlier one still hangs. So of ours at most one ever waits for a lock.
//! - [`Budget`]: queries may take a share of the time. What was read before and does not fit in what is left is not read.
//! - [`Breaker`]: after a query of ours waited for a lock in vain, everything pauses, longer each time it happens again.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::MutexGuard, task::JoinHandle, time::Instant};

use super::{connection::Client, trouble::Trouble};
use crate::config::TIME_BUDGET_DEFAULT;

/// What is not used of the budget is kept this long, seconds.
const BUDGET_WINDOW_S: f64 = 60.0;
/// What takes more than the whole budget of a window is read when this part of it is there; the rest is debt.
const LARGE_PART: f64 = 0.8;
/// First pause of the breaker; doubled up to the last.
const PAUSE_MIN: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Sessions that wait for locks on tables before reading tables and plans is left for later.
pub const LOCK_QUEUE_MAX: usize = 20;

/// Time that queries may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    share: f64,
    left_s: f64,
    at: Option<Instant>,
}

impl Budget {
    /// A full one. `share`: 0.1 is 100 ms of each second.
    pub fn new(share: f64) -> Budget {
        Budget { share, left_s: share * BUDGET_WINDOW_S, at: None }
    }

    /// The share.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// Seconds left at `now`; below zero is debt.
    pub fn left_s(&mut self, now: Instant) -> f64 {
        let passed = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.at = Some(now);
        self.left_s = (self.left_s + passed * self.share).min(self.share * BUDGET_WINDOW_S);
        self.left_s
    }

    /// A query took this long.
    pub fn spend(&mut self, now: Instant, seconds: f64) {
        self.left_s(now);
        self.left_s -= seconds;
    }

    /// Whether what took `expected_s` the last time may be read now; else how long until it may.
    pub fn fits(&mut self, now: Instant, expected_s: f64) -> Result<(), Duration> {
        let needed = expected_s.min(self.share * BUDGET_WINDOW_S * LARGE_PART);
        let missing = needed - self.left_s(now);
        if missing <= 0.0 { Ok(()) } else { Err(Duration::from_secs_f64(missing / self.share)) }
    }
}

/// Pauses reading while a server queues on locks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Breaker {
    until: Option<Instant>,
    pause: Duration,
    trips: u64,
}

impl Breaker {
    /// A query of ours waited for a lock in vain. Gives the pause that begins, if none is on.
    pub fn trip(&mut self, now: Instant) -> Option<Duration> {
        if self.pause_left(now).is_some() {
            return None;
        }
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        self.until = Some(now + self.pause);
        self.trips += 1;
        Some(self.pause)
    }

    /// A query was answered: the next pause is the shortest again.
    pub fn works(&mut self) {
        self.pause = Duration::ZERO;
        self.until = None;
    }

    /// How long nothing is to be read.
    pub fn pause_left(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// How often it went off.
    pub fn trips(&self) -> u64 {
        self.trips
    }
}

/// An attempt to connect that did not end in time, and when it began.
pub(super) type Hanging = Option<(JoinHandle<Result<Client, Trouble>>, Instant)>;

/// Manners on one instance, shared by both connections. Cheap to clone.
#[derive(Clone)]
pub struct Manners {
    turn: Arc<tokio::sync::Mutex<Hanging>>,
    state: Arc<Mutex<State>>,
}

struct State {
    budget: Budget,
    breaker: Breaker,
    lock_queue: usize,
}

impl Default for Manners {
    fn default() -> Manners {
        let state = State { budget: Budget::new(TIME_BUDGET_DEFAULT), breaker: Breaker::default(), lock_queue: 0 };
        Manners { turn: Arc::default(), state: Arc::new(Mutex::new(state)) }
    }
}

impl std::fmt::Debug for Manners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manners").field("budget", &self.state.lock().budget).finish_non_exhaustive()
    }
}

impl Manners {
    /// Our turn to send something; in the order of asking.
    pub(super) async fn turn(&self) -> MutexGuard<'_, Hanging> {
        self.turn.lock().await
    }

    /// Sets the share of time; the budget is full then.
    pub fn set_share(&self, share: f64) {
        self.state.lock().budget = Budget::new(share);
    }

    /// A query took this long.
    pub fn spend(&self, seconds: f64) {
        self.state.lock().budget.spend(Instant::now(), seconds);
    }

    /// Whether what took `expected_s` the last time may be read now; else how long until it may.
    pub fn fits(&self, expected_s: f64) -> Result<(), Duration> {
        self.state.lock().budget.fits(Instant::now(), expected_s)
    }

    /// Share and seconds left.
    pub fn budget(&self) -> (f64, f64) {
        let mut state = self.state.lock();
        (state.budget.share(), state.budget.left_s(Instant::now()))
    }

    /// A query waited for a lock in vain. Gives the pause that begins, if none is on.
    pub fn lock_timeout(&self) -> Option<Duration> {
        self.state.lock().breaker.trip(Instant::now())
    }

    /// A query was answered.
    pub fn answered(&self) {
        let mut state = self.state.lock();
        if state.breaker.pause_left(Instant::now()).is_none() {
            state.breaker.works();
        }
    }

    /// How long nothing is to be read.
    pub fn pause_left(&self) -> Option<Duration> {
        self.state.lock().breaker.pause_left(Instant::now())
    }

    /// How often reading was paused.
    pub fn trips(&self) -> u64 {
        self.state.lock().breaker.trips()
    }

    /// So many sessions wait for locks on tables.
    pub fn note_lock_queue(&self, waiting: usize) {
        self.state.lock().lock_queue = waiting;
    }

    /// Whether so many wait for locks that tables and plans are left alone.
    pub fn server_queues(&self) -> bool {
        self.state.lock().lock_queue >= LOCK_QUEUE_MAX
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_does_not_fit_waits_and_large_readings_are_paid_back() {
        let start = Instant::now();
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut budget = Budget::new(0.05);
        assert_eq!(budget.fits(at(0.0), 3.0), Ok(()), "full: 3 s");
        budget.spend(at(0.0), 2.5);
        assert_eq!(budget.fits(at(0.0), 0.4), Ok(()));
        let wait = budget.fits(at(0.0), 1.0).unwrap_err();
        assert_eq!(wait.as_secs(), 10, "half a second is missing, 50 ms come each second");
        assert_eq!(budget.fits(at(10.1), 1.0), Ok(()));
        // Ten seconds never fit: they are read when most of the budget is there, and nothing for as long as they cost.
        assert_eq!(budget.fits(at(120.0), 10.0), Ok(()));
        budget.spend(at(120.0), 10.0);
        assert_eq!(budget.fits(at(120.0), 0.0).unwrap_err().as_secs(), 140);
        assert!(budget.fits(at(261.0), 0.0).is_ok());
        let sum = budget.left_s(at(10_000.0));
        assert!((sum - 3.0).abs() < 1e-9, "what is saved is bounded: {sum}");
    }

    #[test]
    fn pauses_grow_until_a_query_is_answered() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut breaker = Breaker::default();
        assert_eq!(breaker.trip(at(0)), Some(PAUSE_MIN));
        assert_eq!(breaker.trip(at(1)), None, "one pause at a time");
        assert_eq!(breaker.pause_left(at(1)), Some(Duration::from_secs(1)));
        assert_eq!(breaker.pause_left(at(2)), None);
        let mut now = 2;
        let mut last = Duration::ZERO;
        for _ in 0..8 {
            last = breaker.trip(at(now)).unwrap();
            now += last.as_secs();
        }
        assert_eq!((last, breaker.trips()), (PAUSE_MAX, 9));
        breaker.works();
        assert_eq!(breaker.trip(at(now)), Some(PAUSE_MIN));
    }
}
