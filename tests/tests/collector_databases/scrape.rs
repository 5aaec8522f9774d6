//! Pages of a real exporter, Debian's node_exporter: every sample of the page arrives, targets come and go by a file.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use collector::{Config, outlet::Captured};
use proto::{Payload, samples::is_stale};
use tests::process::{Guard, free_port};

use super::*;

const EXPORTER: &str = "prometheus-node-exporter";

fn exporter(port: u16) -> Option<Guard> {
    let mut command = Command::new(EXPORTER);
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).stdout(Stdio::null()).stderr(Stdio::null());
    Guard::start(&mut command, rustix::process::Signal::TERM).ok()
}

/// The newest value of each series.
#[derive(Default)]
pub(super) struct Newest {
    pub(super) values: BTreeMap<String, f64>,
    kinds: BTreeMap<String, String>,
}

impl Newest {
    pub(super) fn take(&mut self, captured: &Captured) {
        for payload in captured.take() {
            let Payload::Samples(samples) = payload else { continue };
            for (series, value) in samples.series.iter().zip(&samples.values) {
                self.values.insert(samples.labels[*series as usize].to_string(), *value);
            }
            self.kinds.extend(samples.families.into_iter().map(|f| (f.name, f.kind)));
        }
    }

    fn of(&self, text: &str) -> Vec<f64> {
        self.values.iter().filter(|(labels, _)| labels.contains(text)).map(|(_, v)| *v).collect()
    }

    /// The value of the one series whose labels hold a text.
    pub(super) fn one(&self, text: &str) -> Option<f64> {
        self.of(text).first().copied()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_exporter_is_scraped() {
    let (port, later) = (free_port().unwrap(), free_port().unwrap());
    let Some(mut first) = exporter(port) else { return println!("skipped: {EXPORTER} is not installed") };
    let dir = tempfile::tempdir().unwrap();
    let targets = dir.path().join("targets.json");
    let write = |addresses: &[u16]| {
        let list: Vec<String> = addresses.iter().map(|p| format!("\"127.0.0.1:{p}\"")).collect();
        let text = format!(r#"[{{"targets": [{}], "labels": {{"rack": "r1"}}}}]"#, list.join(", "));
        std::fs::write(&targets, text).unwrap();
    };
    write(&[port]);
    let text = format!(
        "server: {{address: 'http://127.0.0.1:1'}}\ndata_dir: {}\nscrape_configs:\n  - job_name: node\n    scrape_interval: 1s\n    \
         file_sd_configs: [{{files: ['{}'], refresh_interval: 1s}}]\n    metric_relabel_configs:\n      \
         - {{action: drop, source_labels: [__name__], regex: 'go_.*'}}\n",
        dir.path().display(),
        targets.display()
    );
    let job = Config::parse("c.yaml", &text).unwrap().scrapes.remove(0);
    let (context, captured, _) = surroundings::captured();
    let shutdown = context.shutdown.clone();
    let running = tokio::spawn(collector::scrape::watch(job, context));
    let mut newest = Newest::default();
    let up = |port: u16| format!("{{__name__=\"up\", instance=\"127.0.0.1:{port}\", job=\"node\", rack=\"r1\"}}");
    let until_value = async |newest: &mut Newest, series: String, want: f64| {
        let seen = until(LIMIT, async || {
            newest.take(&captured);
            newest.values.get(&series).filter(|v| v.to_bits() == want.to_bits()).map(|_| ())
        });
        seen.await.unwrap_or_else(|| panic!("{series} is not {want}"));
    };
    until_value(&mut newest, up(port), 1.0).await;
    let page = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.unwrap().text().await.unwrap();
    let samples: Vec<&str> = page.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let go = samples.iter().filter(|l| l.starts_with("go_")).count();
    let scraped = newest.of("__name__=\"scrape_samples_scraped\"")[0];
    println!("{} samples on the page, {scraped} scraped, {go} of Go's own dropped", samples.len());
    // A page differs by a few series from one moment to the next.
    assert!((scraped - samples.len() as f64).abs() <= samples.len() as f64 * 0.05, "{scraped} of {}", samples.len());
    assert!(!newest.of("__name__=\"node_cpu_seconds_total\"").is_empty());
    assert!(newest.of("__name__=\"go_").is_empty());
    assert_eq!(newest.kinds.get("node_cpu_seconds_total").map(String::as_str), Some("counter"));
    let memory = newest.of("__name__=\"node_memory_MemTotal_bytes\"")[0];
    let written = format!("node_memory_MemTotal_bytes {}", format!("{memory:e}").replace('e', "e+"));
    assert!(page.contains(&written), "{written}");

    // A second target comes by the file and its exporter is not there yet.
    write(&[port, later]);
    until_value(&mut newest, up(later), 0.0).await;
    let _second = exporter(later).unwrap();
    until_value(&mut newest, up(later), 1.0).await;
    // The first exporter goes: its series end and up says so; then it is a target no longer.
    first.stop();
    until_value(&mut newest, up(port), 0.0).await;
    let ended = newest.values.iter().filter(|(l, v)| l.contains(&port.to_string()) && is_stale(**v)).count();
    assert!(ended > samples.len() / 2, "{ended} series ended");
    write(&[later]);
    until_value(&mut newest, up(port), f64::from_bits(proto::samples::STALE_MARKER_BITS)).await;
    shutdown.cancel();
    running.await.unwrap();
}
