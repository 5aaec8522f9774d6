//! The collector's own metrics: `tidewatch_collector_*`.

use std::{sync::Arc, time::Duration};

use proto::{LabelsBuilder, samples::SamplesBuilder, tables::class_name};
use tokio::time::{MissedTickBehavior, interval};

use crate::{kafka::Numbers, outlet::Way, reload::Reloads, source::Context, spool::Counters};

const INTERVAL: Duration = Duration::from_secs(10);
/// `/proc` reports processor time in this many ticks a second (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// Sends them every 10 seconds until shutdown; those of the way through Kafka, if that is the way.
pub async fn watch(way: Way, kafka: Option<Arc<Numbers>>, reloads: Reloads, context: Context) {
    let started_s = context.clock.now_ms() as f64 / 1000.0;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let (counters, bytes, bytes_max, collector) = {
            let spool = way.spool.lock();
            (spool.counters(), spool.bytes(), spool.bytes_max(), spool.source().collector)
        };
        let mut page = Page {
            builder: SamplesBuilder::default(),
            ts_ms: context.clock.now_ms(),
            instance: context.host.clone(),
            collector,
        };
        page.add("up", &[], 1.0);
        page.add("tidewatch_collector_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        page.add("tidewatch_collector_start_time_seconds", &[], started_s);
        page.add("tidewatch_collector_spool_bytes", &[], bytes as f64);
        page.add("tidewatch_collector_spool_bytes_max", &[], bytes_max as f64);
        page.counters(&counters);
        page.reloads(&reloads);
        if let Some(ahead_ms) = way.skew.ahead_ms() {
            page.add("tidewatch_collector_clock_skew_seconds", &[], ahead_ms as f64 / 1000.0);
        }
        if let Some(kafka) = &kafka {
            page.kafka(kafka);
        }
        if let Some((cpu_seconds, rss_bytes)) = own_cost() {
            page.add("tidewatch_collector_cpu_seconds_total", &[], cpu_seconds);
            page.add("tidewatch_collector_resident_memory_bytes", &[], rss_bytes);
        }
        context.outlet.send_samples(page.builder);
    }
}

struct Page {
    builder: SamplesBuilder,
    ts_ms: i64,
    instance: Arc<str>,
    collector: Arc<str>,
}

impl Page {
    fn add(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut builder = LabelsBuilder::default();
        builder.set("__name__", name).set("instance", &self.instance).set("job", "tidewatch-collector");
        builder.set("collector", &self.collector);
        for (name, value) in labels {
            builder.set(name, value);
        }
        self.builder.push(&builder.build(), self.ts_ms, value);
    }

    fn reloads(&mut self, reloads: &Reloads) {
        let state = reloads.state();
        for (result, count) in [("taken", state.taken), ("refused", state.refused)] {
            self.add("tidewatch_collector_config_reloads_total", &[("result", result)], count as f64);
        }
        let works = f64::from(u8::from(state.error.is_none()));
        self.add("tidewatch_collector_config_last_reload_successful", &[], works);
        if let Some(error) = &state.error {
            let line = error.line.to_string();
            let labels = [("file", error.file.as_str()), ("line", line.as_str())];
            self.add("tidewatch_collector_config_error", &labels, 1.0);
        }
    }

    fn kafka(&mut self, numbers: &Numbers) {
        let (batches, bytes) = numbers.queue();
        for (name, value) in [
            ("tidewatch_collector_kafka_connected", u64::from(numbers.is_connected())),
            ("tidewatch_collector_kafka_queue_batches", batches),
            ("tidewatch_collector_kafka_queue_bytes", bytes),
            ("tidewatch_collector_kafka_delivered_batches_total", numbers.delivered_batches()),
            ("tidewatch_collector_kafka_delivered_bytes_total", numbers.delivered_bytes()),
            ("tidewatch_collector_kafka_errors_total", numbers.errors()),
        ] {
            self.add(name, &[], value as f64);
        }
    }

    fn counters(&mut self, counters: &Counters) {
        for (class, c) in &counters.by_class {
            let labels = [("class", class_name(*class))];
            for (name, value) in [
                ("tidewatch_collector_batches_spooled_total", c.spooled_batches),
                ("tidewatch_collector_batches_acked_total", c.acked_batches),
                ("tidewatch_collector_batches_refused_total", c.refused_batches),
                ("tidewatch_collector_batches_waiting", c.waiting_batches),
                ("tidewatch_collector_rows_spooled_total", c.spooled_rows),
                ("tidewatch_collector_rows_acked_total", c.acked_rows),
                ("tidewatch_collector_rows_refused_total", c.refused_rows),
                ("tidewatch_collector_rows_dropped_total", c.dropped_rows),
            ] {
                self.add(name, &labels, value as f64);
            }
        }
    }
}

/// Processor seconds and resident bytes of this process.
fn own_cost() -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((cpu_seconds(&stat)?, pages * rustix::param::page_size() as f64))
}

/// User and system time of `/proc/<pid>/stat`: its 14th and 15th fields; the second is in parentheses and may hold blanks.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut ticks = after_name.split_ascii_whitespace().skip(11).map(|w| w.parse::<f64>());
    Some((ticks.next()?.ok()? + ticks.next()?.ok()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_process_name() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        let (cpu, rss) = own_cost().unwrap();
        assert!(cpu >= 0.0 && rss > 1e6, "{cpu} {rss}");
    }
}
