//! Puts the parts together: spool, sender, sources; and takes them apart in order when the program ends.

use std::{fs::File, io, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinSet, time::interval};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::{Config, Destination},
    host, kafka,
    kafka::KafkaSender,
    logs,
    outlet::{Outlet, Way},
    reload::{self, Reloads, Sources},
    self_watch,
    sender::Sender,
    source::{Context, Desk, LOG_FILES_WAITING_MAX},
    spool::{SYNC_INTERVAL_MS, Spool, SpoolError, SpoolOptions},
};

/// How long sources may take to end.
pub(crate) const SOURCES_END_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the sender may go on after the sources ended; what it does not get acknowledged waits in the spool.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// Why the collector could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data directory.
    #[error("data_dir {path}: {source}")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another collector uses the data directory.
    #[error("data_dir {0}: another collector is using it")]
    InUse(PathBuf),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Runs until shutdown. Everything that can fail at the start fails before the first source is read; afterwards nothing ends it.
pub async fn run(config: Config, clock: Clock, shutdown: CancellationToken) -> Result<(), RunError> {
    let (_, never) = mpsc::channel(1);
    run_reloading(config, None, never, clock, shutdown).await
}

/// The same; the file is read anew whenever `asked` says so, and what changed in it takes effect.
pub async fn run_reloading(
    config: Config,
    file: Option<PathBuf>,
    mut asked: mpsc::Receiver<()>,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let _lock = lock(&config.data_dir)?;
    let host: Arc<str> = config.host.as_ref().and_then(|h| h.instance.clone()).unwrap_or_else(host::host_name);
    let mut spool = Spool::open(SpoolOptions {
        data_dir: config.data_dir.clone(),
        bytes_max: config.spool_bytes_max,
        batch_bytes_max: config.destination.batch_bytes_max(),
        id: config.id.clone(),
        tenant: config.tenant.clone(),
        resource: config.labels.clone(),
        host: host.clone(),
        boot: boot_id(),
        now_ms: clock.now_ms(),
    })?;
    kafka::route::leave_other(&config.data_dir, &config.destination, &mut spool, clock.now_ms())?;
    let source = spool.source();
    tracing::info!(collector = %source.collector, epoch = source.epoch, host = %host, "collector starts");
    let way = Way::new(spool, clock.clone());
    let desk = Desk::default();
    let (log_files, announced) = mpsc::channel(LOG_FILES_WAITING_MAX);
    let sources_end = shutdown.child_token();
    let context = Context {
        outlet: Outlet::new(way.clone()),
        clock: clock.clone(),
        shutdown: sources_end.clone(),
        host: host.clone(),
        desk: desk.clone(),
        log_files,
    };
    let sender_end = CancellationToken::new();
    let mut carriers = JoinSet::new();
    let mut kafka_numbers = None;
    match config.destination.clone() {
        Destination::Grpc(server) => {
            let (tenant, shutdown) = (config.tenant.clone(), sender_end.clone());
            let sender = Sender { server, way: way.clone(), clock, desk, host, tenant, shutdown };
            carriers.spawn(sender.run());
        }
        Destination::Kafka(kafka) => {
            let numbers: Arc<kafka::Numbers> = Arc::default();
            kafka_numbers = Some(numbers.clone());
            let (data_dir, shutdown) = (config.data_dir.clone(), sender_end.clone());
            let sender = KafkaSender { config: kafka, way: way.clone(), clock, data_dir, numbers, shutdown };
            carriers.spawn(sender.run());
        }
    }
    carriers.spawn(sync_regularly(way.clone(), sender_end.clone()));
    let reloads = Reloads::default();
    let mut tasks = JoinSet::new();
    let (orders, ordered) = mpsc::channel(1);
    tasks.spawn(logs::watch(config.logs.clone(), announced, ordered, context.clone()));
    tasks.spawn(self_watch::watch(way.clone(), kafka_numbers, reloads.clone(), context.clone()));
    let mut sources = Sources::new(context.clone());
    sources.apply(&config).await;
    let mut running = config;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(()) = asked.recv() => {}
        }
        if let Some(file) = &file {
            reload::reload(file, &mut running, &mut sources, &orders, &reloads, &context).await;
        }
    }
    tracing::info!("collector stops");
    drop(context);
    sources.end().await;
    join(&mut tasks, SOURCES_END_TIMEOUT).await;
    drain(&way).await;
    sender_end.cancel();
    join(&mut carriers, SOURCES_END_TIMEOUT).await;
    way.spool.lock().close()?;
    Ok(())
}

fn lock(data_dir: &std::path::Path) -> Result<File, RunError> {
    let failed = |source| RunError::DataDir { path: data_dir.into(), source };
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    let file = File::create(data_dir.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(RunError::InUse(data_dir.into())),
        Err(std::fs::TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// This boot of the machine; empty where the kernel does not tell.
fn boot_id() -> Arc<str> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().into()
}

async fn sync_regularly(way: Way, end: CancellationToken) {
    let mut ticks = interval(Duration::from_millis(SYNC_INTERVAL_MS));
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let files = way.spool.lock().take_dirty();
        let synced = match files {
            Ok(files) => {
                let sync = move || files.iter().try_for_each(File::sync_data);
                tokio::task::spawn_blocking(sync).await.unwrap_or(Ok(())).map_err(|e| e.to_string())
            }
            Err(e) => Err(e.to_string()),
        };
        if let Err(error) = synced {
            tracing::error!(error, "spool: sync failed; a power failure now would lose more than the last seconds");
        }
    }
}

/// Waits for tasks to end, and ends those that do not.
async fn join(tasks: &mut JoinSet<()>, patience: Duration) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(patience, all).await.is_err() {
        tracing::warn!(left = tasks.len(), "parts did not end in time");
        tasks.shutdown().await;
    }
}

/// Gives the sender a moment to get rid of what the sources sent last.
async fn drain(way: &Way) {
    let drained = async {
        while !way.spool.lock().is_drained() {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, drained).await; // the rest waits on disk
}
