//! How far this host's clock is from the server's, from the times the server tells with its welcome and acknowledgements.
//!
//! The server's time is as old as the way back: what is measured is too large by that, never by more. Rows keep the time
//! of this host; a clock that is wrong is told, not corrected.

use parking_lot::Mutex;

/// From here on the clocks differ, milliseconds: rules over minutes begin to see rows too early or too late.
pub const SKEW_TOLD_MS: i64 = 5_000;
/// They agree again below this, milliseconds; between the two nothing changes.
pub const SKEW_OVER_MS: i64 = 2_000;

const _: () = assert!(SKEW_OVER_MS < SKEW_TOLD_MS);

/// What a measurement changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing to tell.
    None,
    /// They differ now.
    Began,
    /// They agree again.
    Ended,
}

/// The difference as it was measured last.
#[derive(Debug, Default)]
pub struct Skew(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    ahead_ms: Option<i64>,
    told: bool,
}

impl Skew {
    /// Takes a measurement: our time when a message came, and the server's in it. A server that tells none (0) changes nothing.
    pub fn measure(&self, now_ms: i64, server_ms: i64) -> Change {
        if server_ms == 0 {
            return Change::None;
        }
        let ahead_ms = now_ms.saturating_sub(server_ms);
        let mut state = self.0.lock();
        state.ahead_ms = Some(ahead_ms);
        let distance = ahead_ms.saturating_abs();
        match state.told {
            false if distance >= SKEW_TOLD_MS => {
                state.told = true;
                Change::Began
            }
            true if distance < SKEW_OVER_MS => {
                state.told = false;
                Change::Ended
            }
            _ => Change::None,
        }
    }

    /// How far this host's clock is ahead of the server's, milliseconds; `None` before a server told its time.
    pub fn ahead_ms(&self) -> Option<i64> {
        self.0.lock().ahead_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_once_and_its_end_once() {
        let skew = Skew::default();
        assert_eq!(skew.ahead_ms(), None);
        for (now_ms, server_ms, want, ahead_ms) in [
            (100_000, 0, Change::None, None),
            (100_000, 99_990, Change::None, Some(10)),
            (100_000, 105_000, Change::Began, Some(-5_000)),
            (100_000, 110_000, Change::None, Some(-10_000)),
            (100_000, 103_000, Change::None, Some(-3_000)),
            (100_000, 99_000, Change::Ended, Some(1_000)),
            (100_000, 40_000, Change::Began, Some(60_000)),
        ] {
            assert_eq!((skew.measure(now_ms, server_ms), skew.ahead_ms()), (want, ahead_ms));
        }
    }
}
