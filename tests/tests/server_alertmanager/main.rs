//! Messages of the real program: the same scenarios beside Debian's Alertmanager.
//!
//! Reading order: `scenario` (the text of `scenarios.yaml`) · `peer` (both servers) · `play` · `story` (what was heard, and
//! whether it is the same) · `beside`.
#![allow(clippy::unwrap_used)]

mod beside;
mod peer;
mod play;
mod scenario;
mod story;
