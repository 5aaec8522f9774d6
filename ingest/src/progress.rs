//! Sequences of one stream, decided purely: is this batch next, known already, after a gap, or behind one that waits?
//!
//! Batches of a class are numbered 1, 2, 3 …; many are in flight at once and their syncs may be reported in any order, but a class
//! is acknowledged only up to where everything before is settled. A batch that was refused for now (store full) holds its
//! class back: a later one must not overtake it, or its resend would look like a duplicate and its rows would be lost.

use std::collections::VecDeque;

use proto::Class;

/// Where a batch stands among those of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The one expected.
    Next,
    /// Numbers are missing before it: `first..=last` never arrived.
    AfterGap {
        /// First missing number.
        first: u64,
        /// Last missing number.
        last: u64,
    },
    /// Taken before.
    Known,
    /// An earlier one of its class was refused for now and must come first.
    Held {
        /// The number that must come first.
        until: u64,
    },
}

#[derive(Default)]
struct ClassProgress {
    /// Everything up to here is settled: durable, or refused for good.
    settled: u64,
    /// Highest number taken.
    taken: u64,
    /// Numbers taken and not below `settled`, ascending, each with whether it is settled.
    in_flight: VecDeque<(u64, bool)>,
    held_from: Option<u64>,
    /// Last number told to the collector.
    acknowledged: u64,
    /// A duplicate arrived: tell the number again.
    repeat: bool,
}

/// The sequences of one stream.
#[derive(Default)]
pub struct Progress {
    classes: [ClassProgress; CLASSES],
}

const CLASSES: usize = 11;

impl Progress {
    /// Starts from what is durable already.
    pub fn new(durable: &[(Class, u64)]) -> Progress {
        let mut progress = Progress::default();
        for &(class, sequence) in durable {
            let state = progress.class(class);
            (state.settled, state.taken, state.acknowledged) = (sequence, sequence, sequence);
        }
        progress
    }

    fn class(&mut self, class: Class) -> &mut ClassProgress {
        &mut self.classes[(class as usize).min(CLASSES - 1)]
    }

    /// Where a batch stands. Changes nothing.
    pub fn place(&self, class: Class, sequence: u64) -> Place {
        let state = &self.classes[(class as usize).min(CLASSES - 1)];
        match state.held_from {
            _ if sequence <= state.taken => Place::Known,
            Some(until) if sequence > until => Place::Held { until },
            _ if sequence == state.taken + 1 => Place::Next,
            _ => Place::AfterGap { first: state.taken + 1, last: sequence - 1 },
        }
    }

    /// The batch was handed to the store.
    pub fn take(&mut self, class: Class, sequence: u64) {
        let state = self.class(class);
        state.taken = state.taken.max(sequence);
        state.in_flight.push_back((sequence, false));
        if state.held_from.is_some_and(|held| sequence >= held) {
            state.held_from = None;
        }
    }

    /// A batch taken before is durable, or was refused for good: it need not come again.
    pub fn settle(&mut self, class: Class, sequence: u64) {
        let state = self.class(class);
        if let Some(entry) = state.in_flight.iter_mut().find(|(s, done)| *s == sequence && !done) {
            entry.1 = true;
        }
        while let Some(&(sequence, true)) = state.in_flight.front() {
            state.settled = state.settled.max(sequence);
            state.in_flight.pop_front();
        }
    }

    /// The batch was refused for now: nothing of its class passes until it comes again.
    pub fn hold(&mut self, class: Class, sequence: u64) {
        let state = self.class(class);
        state.held_from = Some(state.held_from.map_or(sequence, |held| held.min(sequence)));
    }

    /// The collector sent something it was told about already: tell it again.
    pub fn repeat(&mut self, class: Class) {
        self.class(class).repeat = true;
    }

    /// What has become settled since the last call, as (class, up to and including).
    pub fn acknowledge(&mut self) -> Vec<(Class, u64)> {
        let mut acknowledged = Vec::new();
        for (index, state) in self.classes.iter_mut().enumerate() {
            if state.settled > state.acknowledged || (state.repeat && state.in_flight.is_empty()) {
                (state.acknowledged, state.repeat) = (state.settled, false);
                acknowledged.push((Class::try_from(index as i32).unwrap_or(Class::Unspecified), state.settled));
            }
        }
        acknowledged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: Class = Class::Samples;

    /// Steps and what is acknowledged after all of them: `t3` take, `s3` settle, `h3` hold.
    fn acknowledged(steps: &str) -> Vec<u64> {
        let mut progress = Progress::new(&[(C, 2)]);
        let mut said = Vec::new();
        for step in steps.split_whitespace() {
            let sequence = step[1..].parse().unwrap_or(0);
            match &step[..1] {
                "t" => progress.take(C, sequence),
                "s" => progress.settle(C, sequence),
                "h" => progress.hold(C, sequence),
                other => panic!("step {other}"),
            }
            said.extend(progress.acknowledge().into_iter().map(|(_, s)| s));
        }
        said
    }

    #[test]
    fn a_class_is_acknowledged_only_up_to_the_first_that_is_not_durable() {
        for (steps, expected) in [
            ("t3 s3", &[3][..]),
            ("t3 t4 s4", &[]),
            ("t3 t4 s4 s3", &[4]),
            ("t3 t4 t5 s3 s5 s4", &[3, 5]),
            ("t3 t7 s3 s7", &[3, 7]),
            ("t3 h4 s3", &[3]),
        ] {
            assert_eq!(acknowledged(steps), expected, "{steps}");
        }
    }

    #[test]
    fn places() {
        let mut progress = Progress::new(&[(C, 2)]);
        assert_eq!(progress.place(C, 2), Place::Known);
        assert_eq!(progress.place(C, 3), Place::Next);
        assert_eq!(progress.place(C, 6), Place::AfterGap { first: 3, last: 5 });
        assert_eq!(progress.place(Class::Logs, 1), Place::Next);
        progress.hold(C, 3);
        assert_eq!(progress.place(C, 4), Place::Held { until: 3 });
        assert_eq!(progress.place(C, 3), Place::Next);
        progress.take(C, 3);
        assert_eq!(progress.place(C, 4), Place::Next);
        assert_eq!(progress.place(C, 3), Place::Known);
    }

    #[test]
    fn classes_do_not_wait_for_each_other() {
        let mut progress = Progress::new(&[]);
        progress.take(Class::Samples, 1);
        progress.take(Class::Logs, 1);
        progress.settle(Class::Logs, 1);
        assert_eq!(progress.acknowledge(), [(Class::Logs, 1)]);
        progress.settle(Class::Samples, 1);
        assert_eq!(progress.acknowledge(), [(Class::Samples, 1)]);
        assert_eq!(progress.acknowledge(), []);
    }

    #[test]
    fn a_duplicate_is_acknowledged_again_once_nothing_is_in_flight() {
        let mut progress = Progress::new(&[(C, 5)]);
        progress.take(C, 6);
        progress.repeat(C);
        assert_eq!(progress.acknowledge(), []);
        progress.settle(C, 6);
        assert_eq!(progress.acknowledge(), [(C, 6)]);
        progress.repeat(C);
        assert_eq!(progress.acknowledge(), [(C, 6)]);
        assert_eq!(progress.acknowledge(), []);
    }
}
