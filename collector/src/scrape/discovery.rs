//! Where a job's targets come from: written in the configuration, in files that are read again, or names asked of DNS.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::{dns, target::Found};
use crate::{
    config::{Records, ScrapeConfig, ScrapeSource},
    logs::tailer::matching_files,
};

/// Largest file of targets, bytes.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Addresses with labels of one file's entry, as Prometheus writes them in JSON or YAML.
#[derive(Debug, Deserialize)]
struct Entry {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// What each source of a job found last; a source that fails keeps what it had.
#[derive(Debug, Default)]
pub struct Discovery {
    found: BTreeMap<usize, Vec<Found>>,
    /// Trouble told already, by source.
    failing: BTreeMap<usize, String>,
}

impl Discovery {
    /// Asks every source again; at most `target_limit` addresses.
    pub async fn look(&mut self, config: &ScrapeConfig) -> Vec<Found> {
        for (index, source) in config.sources.iter().enumerate() {
            let looked = match source {
                ScrapeSource::Static(found) => Ok(found.clone()),
                ScrapeSource::Files(patterns) => files(patterns.iter().map(AsRef::as_ref)),
                ScrapeSource::Dns { names, records } => by_name(names, *records).await,
            };
            match looked {
                Ok(found) => {
                    self.failing.remove(&index);
                    self.found.insert(index, found);
                }
                Err(error) => {
                    if self.failing.get(&index) != Some(&error) {
                        tracing::warn!(job = %config.job_name, error, "targets can't be read; the last ones stay");
                        self.failing.insert(index, error);
                    }
                }
            }
        }
        self.found.values().flatten().take(config.limits.targets).cloned().collect()
    }
}

/// Every entry of every file of these patterns; the last component of a pattern may hold `*`.
pub fn files<'a>(patterns: impl Iterator<Item = &'a Path>) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    for pattern in patterns {
        let matching = matching_files(pattern).map_err(|e| format!("{}: {e}", pattern.display()))?;
        for file in matching {
            let name = file.display().to_string();
            let wrong = |e: String| format!("{name}: {e}");
            let size = std::fs::metadata(&file).map_err(|e| wrong(e.to_string()))?.len();
            if size > FILE_BYTES_MAX {
                return Err(wrong(format!("{size} bytes; at most {FILE_BYTES_MAX} are read")));
            }
            let text = std::fs::read_to_string(&file).map_err(|e| wrong(e.to_string()))?;
            let entries: Vec<Entry> = serde_saphyr::from_str(&text).map_err(|e| wrong(e.to_string()))?;
            for entry in entries {
                let mut labels = entry.labels;
                labels.insert("__meta_filepath".into(), name.clone());
                found.extend(entry.targets.into_iter().map(|address| Found { address, labels: labels.clone() }));
            }
        }
    }
    Ok(found)
}

/// Every place of these names. The system's own way is asked for addresses, its name servers for services.
async fn by_name(names: &[String], records: Records) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    for name in names {
        let places: Vec<String> = match records {
            Records::Srv => {
                dns::services(name).await?.into_iter().map(|(host, port)| format!("{host}:{port}")).collect()
            }
            Records::A(port) | Records::Aaaa(port) => {
                let looked =
                    tokio::net::lookup_host((name.as_str(), port)).await.map_err(|e| format!("{name}: {e}"))?;
                looked.filter(|a| a.is_ipv4() == matches!(records, Records::A(_))).map(|a| a.to_string()).collect()
            }
        };
        let labels = BTreeMap::from([("__meta_dns_name".to_owned(), name.clone())]);
        found.extend(places.into_iter().map(|address| Found { address, labels: labels.clone() }));
    }
    found.sort_by(|a, b| a.address.cmp(&b.address));
    found.dedup();
    Ok(found)
}
