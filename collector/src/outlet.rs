//! Where sources put their rows: numbered, encoded, and on their way.

use std::sync::Arc;

use parking_lot::Mutex;
use proto::{Events, Payload, samples::SamplesBuilder};

/// A handle on the way out. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outlet {
    sink: Sink,
}

#[derive(Clone, Debug)]
enum Sink {
    Capture(Captured),
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

    fn send(&self, payload: Payload) {
        match &self.sink {
            Sink::Capture(captured) => captured.0.lock().push(payload),
        }
    }
}
