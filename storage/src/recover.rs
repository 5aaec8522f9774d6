//! Opening: manifest, then log, then removal of files that neither names.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use futures::TryStreamExt;
use object_store::path;

use crate::{
    MaintainError, OnDamage, OpenError, Origin, Store, StoreConfig,
    disk::{DirLock, Disk},
    events::to_batch,
    exemplars::Exemplars,
    head::Tenant,
    log::{
        Log, Position,
        numbers::SeriesNumbers,
        record::{Record, RecordRows},
        replay, segment_number,
    },
    manifest::{Manifest, ManifestHome, NAME},
    offsets::Offsets,
    part::PartStore,
    remote::{
        PARTS_PREFIX,
        owner::{self, Claim},
    },
    sources::Sources,
    store::State,
};

/// How often the first manifest of an opening is tried again because another one came between.
const ATTEMPTS: usize = 3;

/// What logged series ids mean, per tenant, in one generation of the log.
#[derive(Default)]
struct Dictionary {
    generation: u64,
    tenants: HashMap<String, SeriesNumbers>,
}

impl Store {
    /// Opens on a given disk and object store.
    pub(crate) async fn open_with(
        config: StoreConfig,
        disk: Arc<dyn Disk>,
        parts: PartStore,
        lock: Option<DirLock>,
        now_ms: i64,
    ) -> Result<Store, OpenError> {
        let dir = config.data_dir.clone();
        let log_dir = dir.join("log");
        for dir in [&dir, &log_dir] {
            disk.create_dir(dir)
                .map_err(|source| OpenError::Io { what: format!("creating {}", dir.display()), source })?;
        }
        disk.sync_dir(&dir).map_err(|source| OpenError::Io { what: format!("syncing {}", dir.display()), source })?;
        let (home, manifest) = match parts.remote_place() {
            None => {
                let home = ManifestHome::Local { disk: disk.clone(), path: dir.join(NAME) };
                let found = home.load().await?;
                let manifest = match found {
                    Some(manifest) => manifest,
                    None => create(&home, &parts).await?,
                };
                (home, manifest)
            }
            Some(place) => {
                let id = owner::identity(&*disk, &dir)?;
                let claim = owner::claim(&parts.objects, place, &id, config.take_over, now_ms).await?;
                let home = ManifestHome::remote(parts.objects.clone(), place.to_owned());
                let segments = disk
                    .list(&log_dir)
                    .map_err(|source| OpenError::Io { what: format!("listing {}", log_dir.display()), source })?;
                // another server's log is not ours: all that we have is still to come into parts
                let first =
                    segments.iter().filter_map(|name| segment_number(name)).min().filter(|_| claim == Claim::New);
                let manifest = fence(&home, &parts, place, first).await?;
                (home, manifest)
            }
        };
        let mut state = State {
            sources: Sources::from_entries(&manifest.sources),
            offsets: Offsets::from_entries(&manifest.offsets),
            parts: Arc::new(manifest.parts.iter().map(|entry| parts.part(entry.clone())).collect()),
            manifest: Arc::new(manifest.clone()),
            ..State::default()
        };
        for (tenant, families) in &manifest.families {
            state.tenants.insert(tenant.as_str().into(), Tenant::new(families.clone()));
        }
        let first_segment = manifest.log_segment.max(1);
        let (of_thread, on_damage, from) = (disk.clone(), config.on_damage, log_dir.clone());
        let exemplars = Exemplars::new(config.exemplars_max);
        let replaying = tokio::task::spawn_blocking(move || {
            let mut dictionary = Dictionary::default();
            let replayed = replay(&*of_thread, &from, first_segment, on_damage, |generation, record| {
                if let RecordRows::Exemplars(of) = record.rows {
                    exemplars.replay(of);
                    return Ok(());
                }
                state.apply(&mut dictionary, generation, record, on_damage, now_ms)
            })?;
            Ok::<_, OpenError>((state, exemplars, replayed))
        });
        let failed = |source| OpenError::Io { what: "starting the log".into(), source };
        let (mut state, exemplars, replayed) = replaying.await.map_err(|e| failed(std::io::Error::other(e)))??;
        state.counters.replayed_records = replayed.records;
        state.counters.skipped_bytes += replayed.skipped_bytes;
        if replayed.records + replayed.cut_bytes + replayed.skipped_bytes > 0 {
            tracing::info!(
                records = replayed.records,
                cut_bytes = replayed.cut_bytes,
                skipped_bytes = replayed.skipped_bytes,
                "log replayed"
            );
        }
        remove_strays(&parts, &manifest).await?;
        let log =
            Log::start(disk, &log_dir, &replayed, config.segment_bytes, config.fsync_interval_ms).map_err(failed)?;
        Ok(Store::of(config, parts, home, log, state, exemplars, lock))
    }
}

/// The manifest of a remote store, replaced by its next revision: from here on nobody who read it before can replace it.
/// `log_from`: the log is needed from this segment on, whatever the manifest says.
async fn fence(
    home: &ManifestHome,
    parts: &PartStore,
    place: &str,
    log_from: Option<u64>,
) -> Result<Manifest, OpenError> {
    for _ in 0..ATTEMPTS {
        let Some(mut manifest) = home.load().await? else { return create(home, parts).await };
        manifest.revision += 1;
        manifest.log_segment = log_from.unwrap_or(manifest.log_segment);
        match home.save(&manifest).await {
            Ok(()) => return Ok(manifest),
            Err(MaintainError::Lost { .. }) => {}
            Err(MaintainError::ObjectStore { what, source }) => return Err(OpenError::ObjectStore { what, source }),
            Err(e) => {
                return Err(OpenError::Io { what: "replacing the manifest".into(), source: std::io::Error::other(e) });
            }
        }
    }
    Err(OpenError::Owned { place: place.into(), host: "another host".into(), since: "just now".into() })
}

/// The first manifest of a new store. Parts without a manifest are someone's data, not a new store.
async fn create(home: &ManifestHome, parts: &PartStore) -> Result<Manifest, OpenError> {
    let failed = |source| OpenError::ObjectStore { what: "listing parts".into(), source };
    let mut found = parts.objects.list(Some(&path::Path::from(PARTS_PREFIX)));
    if let Some(part) = found.try_next().await.map_err(failed)? {
        let what = format!("it is missing, though there are parts such as {}", part.location);
        return Err(OpenError::Damaged { file: NAME.into(), offset: 0, what });
    }
    let manifest = Manifest { revision: 1, log_segment: 1, next_part: 1, ..Manifest::default() };
    home.save(&manifest)
        .await
        .map_err(|e| OpenError::Io { what: "creating the manifest".into(), source: std::io::Error::other(e) })?;
    Ok(manifest)
}

/// Removes parts' files that the manifest does not name: of flushes and merges that did not end, of parts that were replaced.
async fn remove_strays(parts: &PartStore, manifest: &Manifest) -> Result<(), OpenError> {
    let failed = |source| OpenError::ObjectStore { what: "listing parts".into(), source };
    let named: BTreeSet<&str> = manifest.parts.iter().map(|p| p.path.as_str()).collect();
    let found = parts.objects.list(Some(&path::Path::from(PARTS_PREFIX)));
    let found: Vec<_> = found.map_ok(|meta| meta.location).try_collect().await.map_err(failed)?;
    parts.cache_only(&named);
    let present: BTreeSet<&str> = found.iter().map(path::Path::as_ref).collect();
    if let Some(missing) = named.iter().find(|path| !present.contains(*path)) {
        let what = "the manifest names it, but it is not there".into();
        return Err(OpenError::Damaged { file: (*missing).to_owned(), offset: 0, what });
    }
    for stray in present.difference(&named) {
        tracing::info!(path = stray, "removing a file that the manifest does not name");
        if let Err(e) = parts.remove(stray).await {
            tracing::warn!(path = stray, error = %e, "could not remove it; next time");
        }
    }
    Ok(())
}

impl State {
    /// Puts a replayed record into the head. Limits were applied when it was logged.
    fn apply(
        &mut self,
        dictionary: &mut Dictionary,
        generation: u64,
        record: Record,
        on_damage: OnDamage,
        now_ms: i64,
    ) -> Result<(), String> {
        if dictionary.generation != generation {
            *dictionary = Dictionary { generation, tenants: HashMap::new() };
        }
        self.apply_rows(dictionary, &record, on_damage)?;
        if let Some(o) = &record.origin {
            let origin = Origin { collector: &o.collector, epoch: o.epoch, class: o.class, sequence: o.sequence };
            self.sources.advance(&origin, Position::default(), Position::default(), now_ms);
        }
        if let Some(consumed) = &record.consumed {
            self.offsets.set(&consumed.borrow(), now_ms);
        }
        self.oldest_ms.get_or_insert(now_ms);
        Ok(())
    }

    fn apply_rows(&mut self, dictionary: &mut Dictionary, record: &Record, on_damage: OnDamage) -> Result<(), String> {
        if matches!(record.rows, RecordRows::None | RecordRows::Exemplars(_)) {
            return Ok(());
        }
        let tenant: Arc<str> = record.tenant.as_str().into();
        let head = self.tenants.entry(tenant).or_insert_with(|| Tenant::new(BTreeMap::new()));
        match &record.rows {
            RecordRows::None | RecordRows::Exemplars(_) => {}
            RecordRows::Samples(samples) => {
                let known = dictionary.tenants.entry(record.tenant.clone()).or_default();
                let unknown = head.replay_samples(samples, known);
                if unknown > 0 && on_damage == OnDamage::Stop {
                    return Err(format!("{unknown} samples of series that no record defines"));
                }
                if unknown > 0 {
                    tracing::warn!(samples = unknown, "samples lost: what defined their series was damaged");
                }
                head.put_families(samples.families.iter());
            }
            RecordRows::Events(events) => {
                if events.rows() > 0 {
                    let batch = to_batch(events, None).map_err(|e| e.to_string())?;
                    head.put_events(events.table, batch).map_err(|e| e.to_string())?;
                }
            }
        }
        Ok(())
    }
}
