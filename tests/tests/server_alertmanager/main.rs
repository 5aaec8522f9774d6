//! Messages of the real program: the same scenarios beside Debian's Alertmanager, and kill -9 between evaluation
//! and receipt.
//!
//! Reading order: `scenario` (the text of `scenarios.yaml`) · `peer` (both servers) · `play` · `story` (what was heard, and
//! whether it is the same) · `beside` · `kill`.
#![allow(clippy::unwrap_used)]

mod beside;
mod kill;
mod peer;
mod play;
mod scenario;
mod storm;
mod story;

/// Held by each test: they tell what came when, and would be late beside each other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
