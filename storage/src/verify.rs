//! Checks everything a store has on disk, without changing anything: the manifest, every byte of every part, every record
//! of the log, and what they say about each other.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use futures::TryStreamExt;
use object_store::path;

use crate::{
    ObjectStoreConfig, OnDamage, OpenError, StoreConfig,
    config::DAY_MS,
    disk::{DirLock, Disk, read_only::ReadOnly},
    events,
    log::{
        numbers::SeriesNumbers,
        record::{Record, RecordRows},
        replay,
    },
    manifest::{Manifest, ManifestHome, NAME},
    part::{PartEntry, PartStore, event_table, is_in_place},
    remote::PARTS_PREFIX,
};

/// Most damages that are told one by one.
const DAMAGES_MAX: usize = 1000;

/// One thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where: a file of the data directory, or an object.
    pub file: String,
    /// What, with the place in the file.
    pub what: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Parts read.
    pub parts: u64,
    /// Their bytes.
    pub part_bytes: u64,
    /// Their rows (chunks, for metrics).
    pub rows: u64,
    /// Their samples.
    pub samples: u64,
    /// Log segments read.
    pub log_segments: u64,
    /// Sound records in them.
    pub log_records: u64,
    /// How many of these hold exemplars alone, which are in no part and no snapshot.
    pub log_exemplar_records: u64,
    /// What is no damage, but worth knowing: files nobody names, a crash's tail.
    pub notes: Vec<String>,
    /// What is wrong: at most the first thousand.
    pub damages: Vec<Damage>,
    /// How many more there are.
    pub damages_untold: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
    }

    fn damage(&mut self, file: &str, what: impl Into<String>) {
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(Damage { file: file.into(), what: what.into() });
        } else {
            self.damages_untold += 1;
        }
    }
}

/// Reads all of a store that no process has open (of a running one, take a snapshot and check that). An error means that it
/// could not be looked at; damage is part of the report.
pub async fn verify(config: &StoreConfig) -> Result<VerifyReport, OpenError> {
    let dir = &config.data_dir;
    let lock_path = dir.join("lock");
    let _lock = match lock_path.exists() {
        false => None,
        true => Some(DirLock::take(&lock_path).map_err(|e| match e.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::InUse { path: lock_path.display().to_string() },
            _ => OpenError::Io { what: format!("locking {}", lock_path.display()), source: e },
        })?),
    };
    let disk: Arc<dyn Disk> = Arc::new(ReadOnly);
    let is_local = config.object_store == ObjectStoreConfig::Local;
    if is_local && !dir.join("parts").is_dir() {
        let source = std::io::ErrorKind::NotFound.into();
        return Err(OpenError::Io { what: format!("{} holds no store", dir.display()), source });
    }
    let parts = PartStore::open(&config.object_store, dir, disk.clone())?;
    let home = match parts.remote_place() {
        None => ManifestHome::Local { disk: disk.clone(), path: dir.join(NAME) },
        Some(place) => ManifestHome::remote(parts.objects.clone(), place.to_owned()),
    };
    let mut report = VerifyReport::default();
    let manifest = match home.load().await {
        Ok(Some(manifest)) => manifest,
        Ok(None) => {
            report.damage(NAME, "it is missing; nothing else can be judged without it");
            return Ok(report);
        }
        Err(OpenError::Damaged { what, .. }) => {
            report.damage(NAME, format!("{what}; nothing else can be judged without it"));
            return Ok(report);
        }
        Err(e) => return Err(e),
    };
    check_manifest(&manifest, &mut report);
    check_files(&parts, &manifest, &mut report).await?;
    let log_dir = dir.join("log");
    if log_dir.is_dir() {
        check_log(&*disk, &log_dir, &manifest, &mut report)?;
    }
    Ok(report)
}

/// What the manifest says must fit together.
fn check_manifest(manifest: &Manifest, report: &mut VerifyReport) {
    let (mut ids, mut places) = (HashSet::new(), HashSet::new());
    for part in &manifest.parts {
        if !ids.insert(part.id) || part.id >= manifest.next_part {
            report.damage(NAME, format!("part id {} is named twice, or not below next_part", part.id));
        }
        if !places.insert((&part.tenant, &part.table, part.day, part.sequence)) {
            let PartEntry { sequence, table, day, .. } = part;
            report.damage(NAME, format!("two parts of {table}, day {day}, have the sequence {sequence}"));
        }
        if !is_in_place(part) {
            report.damage(NAME, format!("part {} is at {}, where no part of its kind lives", part.id, part.path));
        }
        if part.table != crate::part::METRICS && event_table(&part.table).is_none() {
            report.damage(NAME, format!("part {} is of {}, which is no table", part.id, part.table));
        }
    }
}

/// Each part against its file, its checksums and its entry.
async fn check_files(parts: &PartStore, manifest: &Manifest, report: &mut VerifyReport) -> Result<(), OpenError> {
    let failed = |source| OpenError::ObjectStore { what: "listing parts".into(), source };
    let found = parts.objects.list(Some(&path::Path::from(PARTS_PREFIX)));
    let mut found: BTreeMap<String, u64> =
        found.map_ok(|meta| (meta.location.to_string(), meta.size)).try_collect().await.map_err(failed)?;
    for entry in &manifest.parts {
        report.parts += 1;
        match found.remove(&entry.path) {
            None => report.damage(&entry.path, "the manifest names it, but it is not there"),
            Some(size) if size != entry.bytes => {
                report.damage(&entry.path, format!("{size} bytes, but the manifest says {}", entry.bytes));
            }
            Some(size) => {
                report.part_bytes += size;
                check_part(parts, entry, report).await;
            }
        }
    }
    report.notes.extend(found.keys().map(|path| format!("{path}: no part; it is removed at the next start")));
    Ok(())
}

async fn check_part(parts: &PartStore, entry: &PartEntry, report: &mut VerifyReport) {
    let mut damages = Vec::new();
    let (rows, times) = match event_table(&entry.table) {
        Some(table) => {
            let facts =
                events::check::check(parts.objects.clone(), &entry.path, entry.bytes, table, &mut damages).await;
            (facts.rows, facts.times)
        }
        None => {
            let Some(part) = parts.part(entry.clone()).metrics.clone() else { return };
            let facts = part.check(&mut damages).await;
            report.samples += facts.samples;
            (facts.rows, facts.times)
        }
    };
    report.rows += rows;
    if damages.is_empty() {
        let day = entry.day.saturating_mul(DAY_MS)..entry.day.saturating_add(1).saturating_mul(DAY_MS);
        if rows != entry.rows {
            damages.push(format!("{rows} rows, but the manifest says {}", entry.rows));
        }
        if times.is_some_and(|times| times != (entry.min_ts_ms, entry.max_ts_ms)) {
            damages.push(format!(
                "its times are {times:?}, but the manifest says {:?}",
                (entry.min_ts_ms, entry.max_ts_ms)
            ));
        }
        if times.is_some_and(|(min, max)| !day.contains(&min) || !day.contains(&max)) {
            damages.push(format!("its times {times:?} are not of its day {}", entry.day));
        }
    }
    damages.into_iter().for_each(|what| report.damage(&entry.path, what));
}

/// The log's records against their checksums, their promises, each other and the manifest.
fn check_log(disk: &dyn Disk, dir: &Path, manifest: &Manifest, report: &mut VerifyReport) -> Result<(), OpenError> {
    let in_parts: HashMap<(&str, u64, i32), u64> = manifest
        .sources
        .iter()
        .flat_map(|s| s.sequences.iter().map(|(class, n)| ((s.collector.as_str(), s.epoch, *class), *n)))
        .collect();
    let mut defined: HashMap<(u64, String), SeriesNumbers> = HashMap::new();
    let mut of_exemplars = 0;
    let check = |generation: u64, record: Record| {
        if let Some(o) = &record.origin
            && in_parts.get(&(o.collector.as_str(), o.epoch, o.class as i32)).is_some_and(|n| o.sequence <= *n)
        {
            return Err(format!("{} sequence {} is in the parts already", o.collector, o.sequence));
        }
        of_exemplars += u64::from(matches!(record.rows, RecordRows::Exemplars(_)));
        if let RecordRows::Samples(samples) = &record.rows {
            let known = defined.entry((generation, record.tenant.clone())).or_default();
            samples.definitions.iter().for_each(|(id, _)| known.set(*id, 0));
            let histograms = samples.histograms.iter().map(|(id, _, _)| id);
            let unknown = samples.series.iter().chain(histograms).filter(|id| known.get(**id).is_none()).count();
            if unknown > 0 {
                return Err(format!("{unknown} samples of series that no record defines"));
            }
        }
        Ok(())
    };
    let replayed = replay(disk, dir, manifest.log_segment.max(1), OnDamage::Skip, check)?;
    report.log_segments = replayed.sizes.len() as u64;
    (report.log_records, report.log_exemplar_records) = (replayed.records, of_exemplars);
    if replayed.cut_bytes > 0 {
        let tail = format!("log: {} bytes of a crash's tail, promised to nobody", replayed.cut_bytes);
        report.notes.push(tail);
    }
    for damage in replayed.damages {
        let file = Path::new(&damage.file).file_name().map_or(damage.file.clone(), |f| format!("log/{}", f.display()));
        report.damage(&file, format!("bytes {}..{}: {}", damage.offset, damage.offset + damage.bytes, damage.what));
    }
    Ok(())
}
