//! The tail of the servers' logs: files followed through rotation, records put together, taken apart, masked, classified.
//!
//! Stages: `tailer` (which files, which bytes, `position`) → `stitch` (bytes to raw records) → `postgres_stderr`,
//! `postgres_structured`, `mysql_error` (raw record to [`record::Record`]) → `mask` → `classify` (`classes_postgresql`,
//! `classes_mysql`, `innodb_deadlock`) → `row`; or, for single executions, `slow_log` → `execution`. In place of files: `journal`. A row and the position behind it are one record of the spool: nothing is lost or doubled by a kill.

pub mod classes_mysql;
pub mod classes_postgresql;
pub mod classify;
pub mod execution;
pub mod innodb_deadlock;
pub mod journal;
pub mod mask;
#[cfg(test)]
mod mask_fuzz_tests;
pub mod mysql_error;
#[cfg(test)]
mod planted;
pub mod position;
pub mod postgres_stderr;
pub mod postgres_structured;
pub mod record;
pub mod row;
pub mod slow_log;
pub mod stitch;
pub mod tailer;
pub mod timestamp;

use std::{sync::Arc, time::Duration};

use proto::Class;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use self::tailer::Tailer;
use crate::{
    config::{LogConfig, LogRows},
    latency::{Latencies, of_rows},
    outlet::Outlet,
    source::Context,
};

/// How often files are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Most patterns followed by one collector.
const PATTERNS_MAX: usize = 512;
/// Most turns in a row without looking at shutdown: bounds how long a large backlog holds a thread.
const TURNS_MAX: usize = 16;

/// What is to be read from now on.
#[derive(Debug)]
pub struct Orders {
    /// The files that are configured; those configured before and not now are left.
    pub configured: Vec<LogConfig>,
    /// Instances whose announced files are left.
    pub gone: Vec<Arc<str>>,
}

/// Follows configured files and those that databases announce, until shutdown.
pub async fn watch(
    configured: Vec<LogConfig>,
    mut announced: mpsc::Receiver<LogConfig>,
    mut orders: mpsc::Receiver<Orders>,
    context: Context,
) {
    let mut tailers =
        Tailers { latencies: Latencies::default(), tailers: Vec::new(), failing: Vec::new(), configured: Vec::new() };
    tailers.obey(Orders { configured, gone: Vec::new() }, &context);
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            Some(config) = announced.recv() => {
                if !tailers.has(&config) {
                    let marks = context.outlet.marks(class_of(&config));
                    tailers.add(config, &marks);
                }
            }
            Some(order) = orders.recv() => tailers.obey(order, &context),
            _ = ticks.tick() => {
                if tailers.tailers.is_empty() {
                    continue;
                }
                let (outlet, now_ms) = (context.outlet.clone(), context.clock.now_ms());
                let polled = tokio::task::spawn_blocking(move || {
                    tailers.poll(now_ms, &outlet);
                    tailers
                });
                match polled.await {
                    Ok(back) => tailers = back,
                    Err(e) => {
                        tracing::error!(error = %e, "log reader failed; logs are no longer read");
                        return;
                    }
                }
            }
        }
    }
}

/// The class its rows travel in; positions are kept with them.
fn class_of(config: &LogConfig) -> Class {
    match config.rows {
        LogRows::Records => Class::Logs,
        LogRows::Executions => Class::StatementSamples,
    }
}

struct Tailers {
    latencies: Latencies,
    tailers: Vec<Tailer>,
    /// Trouble already told, by pattern.
    failing: Vec<(String, String)>,
    configured: Vec<LogConfig>,
}

impl Tailers {
    /// Takes up what is configured now; what goes on keeps its position.
    fn obey(&mut self, orders: Orders, context: &Context) {
        let before = std::mem::replace(&mut self.configured, orders.configured);
        let now = &self.configured;
        self.tailers.retain(|t| {
            let was_configured = before.contains(t.config());
            let gone = !was_configured && orders.gone.contains(&t.config().instance);
            !gone && (!was_configured || now.contains(t.config()))
        });
        let new: Vec<LogConfig> = self.configured.iter().filter(|c| !self.has(c)).cloned().collect();
        for config in new {
            let marks = context.outlet.marks(class_of(&config));
            self.add(config, &marks);
        }
    }

    fn has(&self, config: &LogConfig) -> bool {
        self.tailers.iter().any(|t| t.config() == config)
    }

    /// Adds a pattern; one announced with another format replaces the earlier and goes on where that one is.
    fn add(&mut self, config: LogConfig, marks: &[crate::spool::Mark]) {
        self.tailers.retain(|t| (&t.config().path, t.config().rows) != (&config.path, config.rows));
        if self.tailers.len() >= PATTERNS_MAX {
            tracing::warn!(path = %config.path.display(), "more than {PATTERNS_MAX} log patterns; not read");
            return;
        }
        tracing::info!(path = %config.path.display(), instance = %config.instance, "log is read");
        self.tailers.push(Tailer::new(config, marks));
    }

    fn poll(&mut self, now_ms: i64, outlet: &Outlet) {
        for tailer in &mut self.tailers {
            let pattern = tailer.config().path.display().to_string();
            let (instance, engine) = (tailer.config().instance.clone(), tailer.config().engine);
            let mut result = Ok(true);
            for _ in 0..TURNS_MAX {
                result = tailer.poll(now_ms, &mut |events, marks| {
                    let executions = of_rows(&events);
                    outlet.send_marked(events, marks)?;
                    // What is not in the spool comes again.
                    executions.iter().for_each(|e| self.latencies.observe(&instance, engine, e, now_ms));
                    Ok(())
                });
                if !matches!(result, Ok(true)) {
                    break;
                }
            }
            let told = self.failing.iter().position(|(p, _)| *p == pattern);
            match (result, told) {
                (Err(e), None) => {
                    tracing::warn!(error = %e, "log can't be read");
                    self.failing.push((pattern, e.to_string()));
                }
                (Err(_), Some(_)) | (Ok(_), None) => {}
                (Ok(_), Some(index)) => {
                    tracing::info!(pattern, "log can be read again");
                    self.failing.swap_remove(index);
                }
            }
        }
        self.latencies.publish(now_ms, outlet);
    }
}
