//! States of systemd's services, how often each was started again and what memory it holds, as `systemctl list-units` and
//! `systemctl show` tell them; under node_exporter's names, which has none for the memory.
//!
//! Asked seldom, in a process of its own with a time-out, and only where systemd runs this host (`sd_booted(3)`: the folder
//! `/run/systemd/system` exists); elsewhere there is nothing, and nothing is wrong. Told of is each service that was seen to
//! do something: most of what is installed never runs.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{process::Command, task::JoinHandle, time::timeout};

use super::{GroupResult, Kind, Page, Roots};

/// Name of the group in `node_scrape_collector_success`.
const NAME: &str = "systemd";
/// Readings of the host from one list to the next.
const READINGS: u64 = 6;
/// How long the program may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most services told of.
const SERVICES_MAX: usize = 200;
/// Longest answer read, bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Properties asked for of each service. A block of the answer has them in an order of its own.
const PROPERTIES: &str = "--property=Id,LoadState,NRestarts,MemoryCurrent";
/// Every state there is, as node_exporter has them.
const STATES: [&str; 5] = ["active", "activating", "deactivating", "failed", "inactive"];

/// One unit of the list.
#[derive(Debug, Deserialize)]
struct Unit {
    unit: String,
    load: String,
    active: String,
}

/// What systemd was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Which units there are.
    List,
    /// More about the services that run or ran.
    Show,
}

/// What is known of the services, between readings.
#[derive(Debug, Default)]
pub struct Services {
    running: Option<(Question, JoinHandle<Result<String, String>>)>,
    /// Last state of each service that was seen to do something; empty: it is gone.
    seen: BTreeMap<String, String>,
}

impl Services {
    /// Takes the answer asked for before, if it is there by now, and asks what is due: the list, then what it doesn't say.
    /// `None`: nothing new.
    pub async fn read(&mut self, roots: &Roots, reading: u64, page: &mut Page<'_>) -> Option<GroupResult> {
        let booted = roots.root_dir.as_os_str() == "/" && roots.root_dir.join("run/systemd/system").is_dir();
        if self.running.is_none() && booted && reading.is_multiple_of(READINGS) {
            self.running = Some((Question::List, tokio::spawn(answer(list()))));
            return None;
        }
        let (question, finished) = self.running.take_if(|(_, r)| r.is_finished())?;
        let answered = finished.await.unwrap_or_else(|e| Err(e.to_string()));
        let error = match question {
            Question::List => answered.and_then(|text| self.take(&text, page)).err(),
            Question::Show => answered.map(|text| take_shown(&text, page)).err(),
        };
        let there: Vec<&str> = self.there().collect();
        if question == Question::List && error.is_none() && !there.is_empty() {
            self.running = Some((Question::Show, tokio::spawn(answer(show(&there)))));
        }
        Some(GroupResult { name: NAME, seconds: 0.0, error })
    }

    /// The services of the last list that were seen to do something.
    fn there(&self) -> impl Iterator<Item = &str> {
        self.seen.iter().filter(|(_, state)| !state.is_empty()).map(|(name, _)| name.as_str())
    }

    /// Adds what a list says.
    pub fn take(&mut self, text: &str, page: &mut Page<'_>) -> Result<(), String> {
        let units: Vec<Unit> = serde_json::from_str(text).map_err(|e| format!("systemctl: {e}"))?;
        self.seen.values_mut().for_each(String::clear);
        for state in STATES {
            let count = units.iter().filter(|u| u.load != "not-found" && u.active == state).count();
            page.add(Kind::Gauge, "node_systemd_units", &[("state", state)], count as f64);
        }
        for unit in units.into_iter().filter(|u| u.unit.ends_with(".service")) {
            let is_known = self.seen.contains_key(&unit.unit);
            if is_known || unit.active != "inactive" && self.seen.len() < SERVICES_MAX {
                self.seen.insert(unit.unit, unit.active);
            }
        }
        for (name, now) in &self.seen {
            // A service that ended and was let go is listed no more: it does not run.
            let now = if now.is_empty() { "inactive" } else { now.as_str() };
            for state in STATES {
                let labels = [("name", name.as_str()), ("state", state)];
                page.add(Kind::Gauge, "node_systemd_unit_state", &labels, f64::from(u8::from(now == state)));
            }
        }
        Ok(())
    }
}

/// Adds what is shown of services, a block of lines `Property=value` each. What a service has not set has no sample.
fn take_shown(text: &str, page: &mut Page<'_>) {
    for block in text.split("\n\n") {
        let of = |name: &str| {
            let mut values = block.lines().filter_map(|l| l.split_once('=').filter(|(n, _)| *n == name));
            values.next().map(|(_, value)| value)
        };
        let (Some(name), Some("loaded")) = (of("Id"), of("LoadState")) else { continue };
        let mut add = |kind: Kind, metric: &str, property: &str| {
            // "[not set]", and all bits set where a cgroup counts nothing
            let value = of(property).and_then(|v| v.parse::<u64>().ok()).filter(|v| *v != u64::MAX);
            if let Some(value) = value {
                page.add(kind, metric, &[("name", name)], value as f64);
            }
        };
        add(Kind::Counter, "node_systemd_service_restart_total", "NRestarts");
        add(Kind::Gauge, "node_systemd_service_memory_bytes", "MemoryCurrent");
    }
}

fn systemctl() -> Command {
    let mut command = Command::new("systemctl");
    command.args(["--no-pager", "--no-ask-password"]);
    command
}

/// Asks which units there are.
fn list() -> Command {
    let mut command = systemctl();
    command.args(["list-units", "--all", "--output=json"]);
    command
}

/// Asks more of services.
fn show(names: &[&str]) -> Command {
    let mut command = systemctl();
    command.args(["show", PROPERTIES, "--"]).args(names);
    command
}

/// Runs it; an error says why there is no answer.
async fn answer(mut command: Command) -> Result<String, String> {
    command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = match timeout(TIMEOUT, command.output()).await {
        Err(_) => return Err(format!("systemctl: no answer within {} s", TIMEOUT.as_secs())),
        Ok(output) => output.map_err(|e| format!("systemctl: {e}"))?,
    };
    if !output.status.success() {
        return Err(format!("systemctl: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
    }
    if output.stdout.len() > ANSWER_BYTES_MAX {
        return Err(format!("systemctl: its answer is longer than {ANSWER_BYTES_MAX} bytes"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::host::tests::shown;

    #[test]
    fn what_is_shown_is_told_and_what_is_not_set_is_not() {
        let block = |id: &str, load: &str, restarts: &str, memory: &str| {
            format!("NRestarts={restarts}\nMemoryCurrent={memory}\nId={id}\nLoadState={load}\n")
        };
        let text = [
            block("a.service", "loaded", "3", "188416"),
            block("b.service", "loaded", "0", "[not set]"),
            block("c.service", "loaded", "0", "18446744073709551615"),
            block("gone.service", "not-found", "0", "[not set]"),
        ];
        let shown = shown(|page| take_shown(&text.join("\n"), page));
        let lines: Vec<&str> = shown.lines().collect();
        let want = [
            r#"node_systemd_service_memory_bytes{name="a.service"} 188416"#,
            r#"node_systemd_service_restart_total{name="a.service"} 3"#,
            r#"node_systemd_service_restart_total{name="b.service"} 0"#,
            r#"node_systemd_service_restart_total{name="c.service"} 0"#,
        ];
        assert_eq!(lines, want);
    }

    fn unit(name: &str, active: &str) -> String {
        format!(r#"{{"unit":"{name}","load":"loaded","active":"{active}","sub":"x","description":"d"}}"#)
    }

    fn states(services: &mut Services, units: &[String]) -> Vec<String> {
        let text = shown(|page| services.take(&format!("[{}]", units.join(",")), page).unwrap());
        let ones = text.lines().filter(|l| l.ends_with(" 1") && l.contains("unit_state"));
        ones.map(|l| l.replace("node_systemd_unit_state", "").replace(" 1", "")).collect()
    }

    #[test]
    fn services_seen_once_are_told_of_from_then_on() {
        let mut services = Services::default();
        let first = [unit("a.service", "active"), unit("never.service", "inactive"), unit("x.mount", "active")];
        assert_eq!(states(&mut services, &first), [r#"{name="a.service",state="active"}"#]);
        let failed = [unit("a.service", "failed"), unit("b.service", "activating")];
        let want = [r#"{name="a.service",state="failed"}"#, r#"{name="b.service",state="activating"}"#];
        assert_eq!(states(&mut services, &failed), want);
        let want = [r#"{name="a.service",state="inactive"}"#, r#"{name="b.service",state="inactive"}"#];
        assert_eq!(states(&mut services, &[unit("b.service", "inactive")]), want);
        let mut page = Page::new("h", 0, false);
        assert!(services.take("no list", &mut page).unwrap_err().starts_with("systemctl: "));
    }

    #[tokio::test]
    async fn a_host_without_systemd_gives_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots { proc_dir: "/proc".into(), sys_dir: "/sys".into(), root_dir: folder.path().into() };
        let mut page = Page::new("h", 0, false);
        let mut services = Services::default();
        for reading in 0..8 {
            assert!(services.read(&roots, reading, &mut page).await.is_none());
        }
        assert!(services.running.is_none() && page.into_samples().is_empty());
    }

    /// A real systemd, as its user instance: in a mount namespace of its own, so that it takes this host for its.
    #[tokio::test]
    async fn a_real_systemd_tells_its_services() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = folder.path().display().to_string();
        let script = "mkdir -p $XDG_RUNTIME_DIR/systemd/user && cd $XDG_RUNTIME_DIR/systemd/user
            printf '[Service]\\nMemoryAccounting=yes\\nExecStart=/bin/sleep 100\\n' > postgresql@t.service
            printf '[Service]\\nExecStart=/bin/false\\n' > broken.service
            printf '[Unit]\\nStartLimitIntervalSec=0\\n[Service]\\nExecStart=/bin/false\\nRestart=always\\nRestartSec=100ms\\n' > restless.service
            mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec /lib/systemd/systemd --user";
        let mut started = Command::new("unshare");
        started.args(["--mount", "--propagation", "private", "sh", "-c", script]).env("XDG_RUNTIME_DIR", &runtime);
        started.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let Ok(mut systemd) = started.spawn() else { return println!("skipped: no unshare here") };
        let user = |args: &[&str]| {
            let mut command = Command::new("systemctl");
            command.args(["--user", "--no-pager"]).args(args).env("XDG_RUNTIME_DIR", &runtime);
            command
        };
        let started = until_found(async || {
            let units = ["start", "postgresql@t.service", "broken.service", "restless.service"];
            let started = answer(user(&units)).await.is_ok();
            (started || systemd.try_wait().ok()?.is_some()).then_some(started)
        });
        if started.await != Some(true) {
            return println!("skipped: systemd can't be started here");
        }
        let mut services = Services::default();
        let seen = until_found(async || {
            let listed = answer(user(&["list-units", "--all", "--output=json"])).await.ok()?;
            let text = shown(|page| services.take(&listed, page).unwrap());
            text.contains(r#"{name="broken.service",state="failed"} 1"#).then_some(text)
        });
        let text = seen.await.expect("the broken service has failed");
        assert!(text.contains(r#"node_systemd_unit_state{name="postgresql@t.service",state="active"} 1"#), "{text}");
        assert!(text.contains(r#"node_systemd_units{state="failed"} 1"#), "{text}");
        let restarts = until_found(async || {
            let names: Vec<&str> = services.there().collect();
            let words = [&["show", PROPERTIES, "--"][..], &names].concat();
            let answered = answer(user(&words)).await.ok()?;
            let text = shown(|page| take_shown(&answered, page));
            let of = |metric: &str, name: &str| {
                let line = text.lines().find_map(|l| l.strip_prefix(&format!("{metric}{{name=\"{name}\"}} ")))?;
                line.parse::<f64>().ok()
            };
            let memory = of("node_systemd_service_memory_bytes", "postgresql@t.service");
            let restarts = of("node_systemd_service_restart_total", "restless.service").filter(|n| *n >= 2.0)?;
            assert_eq!(of("node_systemd_service_restart_total", "postgresql@t.service"), Some(0.0), "{text}");
            Some((restarts, memory))
        });
        let (restarts, memory) = restarts.await.expect("the restless service was started again twice");
        match memory {
            // a process that sleeps, not the machine
            Some(bytes) => assert!((4_096.0..64e6).contains(&bytes), "{bytes}"),
            None => println!("skipped: memory of a service, this systemd has no cgroup controller for it"),
        }
        println!("{restarts} restarts, {memory:?} bytes");
        let _ = answer(user(&["stop", "postgresql@t.service", "restless.service"])).await;
        let _ = answer(user(&["exit"])).await;
        let _ = timeout(TIMEOUT, systemd.wait()).await;
    }

    /// Looks again and again until there is something; ten seconds at most.
    async fn until_found<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
        for _ in 0..100 {
            if let Some(found) = look().await {
                return Some(found);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }
}
