//! Where sources put their rows: numbered, encoded, spooled, and on their way.

use std::sync::Arc;

use parking_lot::Mutex;
use proto::{Class, Events, Payload, samples::SamplesBuilder};
use tokio::sync::Notify;

use crate::{
    clock::Clock,
    sender::skew::Skew,
    spool::{Mark, Spool, SpoolError},
};

/// A handle on the way out. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outlet {
    sink: Sink,
}

#[derive(Clone, Debug)]
enum Sink {
    Spool(Way),
    Capture(Captured),
}

/// The spool with what wakes the sender.
#[derive(Clone, Debug)]
pub struct Way {
    /// The spool; held for the length of one append or read.
    pub spool: Arc<Mutex<Spool>>,
    /// Told after every append.
    pub appended: Arc<Notify>,
    /// How far our clock is from the server's.
    pub skew: Arc<Skew>,
    clock: Clock,
}

impl Way {
    /// A way through a spool.
    pub fn new(spool: Spool, clock: Clock) -> Way {
        Way { spool: Arc::new(Mutex::new(spool)), appended: Arc::new(Notify::new()), skew: Arc::default(), clock }
    }
}

/// What was sent into an outlet made by [`Outlet::capture`].
#[derive(Clone, Debug, Default)]
pub struct Captured(Arc<Mutex<Vec<Payload>>>);

impl Captured {
    /// Takes what was sent since the last call.
    pub fn take(&self) -> Vec<Payload> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Outlet {
    /// An outlet into a spool.
    pub fn new(way: Way) -> Outlet {
        Outlet { sink: Sink::Spool(way) }
    }

    /// An outlet whose rows are kept for whoever made it: tests of sources, and `check`.
    pub fn capture() -> (Outlet, Captured) {
        let captured = Captured::default();
        (Outlet { sink: Sink::Capture(captured.clone()) }, captured)
    }

    /// Sends samples. Nothing is sent if there are none. Trouble with the disk is counted, logged, and becomes a gap.
    pub fn send_samples(&self, samples: SamplesBuilder) {
        let samples = samples.build();
        if !samples.is_empty() {
            self.send(Payload::Samples(samples));
        }
    }

    /// Sends rows of one table. Nothing is sent if there are none. Trouble with the disk is as in [`Outlet::send_samples`].
    pub fn send_events(&self, events: Events) {
        if events.rows() > 0 {
            self.send(Payload::Events(events));
        }
    }

    /// Sends rows together with notes on how far their source had read: after a crash both are there or neither. On an
    /// error neither is, and the source is to send them again.
    pub fn send_marked(&self, events: Events, marks: Vec<Mark>) -> Result<(), SpoolError> {
        match &self.sink {
            Sink::Spool(way) => {
                let now_ms = way.clock.now_ms();
                way.spool.lock().append_marked(&Payload::Events(events), marks, now_ms)?;
                way.appended.notify_one();
            }
            Sink::Capture(captured) => captured.0.lock().push(Payload::Events(events)),
        }
        Ok(())
    }

    /// Every note kept with the rows of a class, from this life and those before.
    pub fn marks(&self, class: Class) -> Vec<Mark> {
        match &self.sink {
            Sink::Spool(way) => way.spool.lock().marks(class),
            Sink::Capture(_) => Vec::new(),
        }
    }

    fn send(&self, payload: Payload) {
        match &self.sink {
            Sink::Spool(way) => {
                let now_ms = way.clock.now_ms();
                let _ = way.spool.lock().append(payload, now_ms); // counted and told by the spool itself
                way.appended.notify_one();
            }
            Sink::Capture(captured) => captured.0.lock().push(payload),
        }
    }
}
