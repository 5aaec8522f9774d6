//! A running server: ports, store, and the tasks between them, in the order in which they open and close.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use alerting::Alerting;
use ingest::{Admission, Collectors, Door, Kafka, admission::Clock, remote_write_http};
use proto::DEFAULT_TENANT;
use query::{Querier, Teller};
use storage::{Rows, SampleRows, Store};
use tokio::{net::TcpListener, task::JoinHandle, time::MissedTickBehavior};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Identity, ServerTlsConfig};

use crate::{
    api::{self, Api},
    config::{Config, TlsConfig},
    fresh_evidence,
    query_log::QueryLog,
    reload::{self, LastReload, Reloader},
    self_metrics::SelfMetrics,
};

/// Pause between two rounds of maintenance, milliseconds.
const MAINTAIN_INTERVAL_MS: u64 = 5_000;
/// Pause between two readings of the server's own numbers, milliseconds.
const SELF_WATCH_INTERVAL_MS: u64 = 15_000;
/// How long open connections may take to end when the server stops, milliseconds.
const CLOSE_WAIT_MS_MAX: u64 = 5_000;
/// A collector's stream is asked for a sign of life this often, milliseconds.
const KEEPALIVE_INTERVAL_MS: u64 = 20_000;
/// And ends if none comes for this long, milliseconds.
const KEEPALIVE_WAIT_MS_MAX: u64 = 10_000;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port can't be had.
    #[error("{what}: {address}: {source}")]
    Port {
        /// `http.listen` or `grpc.listen`.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Certificates don't fit.
    #[error("grpc.tls: {0}")]
    Tls(String),
    /// The query log can't be opened.
    #[error("query.log_file: {}: {source}", .path.display())]
    QueryLog {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] storage::OpenError),
    /// Rules or alerting's state can't be read.
    #[error(transparent)]
    Alerting(#[from] alerting::StartError),
}

/// A server that answers. Dropping it leaves it running; [`Server::stop`] ends it.
pub struct Server {
    /// Where HTTP answers.
    pub http: SocketAddr,
    /// Where collectors connect.
    pub grpc: SocketAddr,
    /// The store.
    pub store: Store,
    /// Who is connected.
    pub collectors: Collectors,
    /// Reads rules and receivers again.
    pub reloader: Reloader,
    stop: CancellationToken,
    doors: Vec<JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
}

/// Opens ports and store and begins to serve. `instance` is this host's name in its own metrics.
pub async fn start(config: Config, instance: String, clock: Clock) -> Result<Server, StartError> {
    // Ports first: a port that is taken must not cost a replay. Who connects meanwhile waits.
    let http_listener = bind("http.listen", config.http_listen).await?;
    let grpc_listener = bind("grpc.listen", config.grpc_listen).await?;
    let (http, grpc) = (address(&http_listener, config.http_listen), address(&grpc_listener, config.grpc_listen));
    let query_log = match config.query_log.clone() {
        Some(path) => {
            Some(QueryLog::open(path.clone(), clock).await.map_err(|source| StartError::QueryLog { path, source })?)
        }
        None => None,
    };
    let store = Store::open(config.store.clone(), clock()).await?;
    let snapshots = config.store.data_dir.join(api::admin::SNAPSHOTS);
    if let Err(e) = storage::remove_unfinished(&snapshots) {
        tracing::warn!(directory = %snapshots.display(), error = %e, "an unfinished snapshot could not be removed");
    }
    let stop = CancellationToken::new();
    let admission = Admission::new(store.clone(), clock);
    let collectors = Collectors::default();
    let kafka = config.kafka.clone().map(|settings| Kafka::new(settings, admission.clone(), collectors.clone()));
    let kafka_status = kafka.as_ref().map(Kafka::status);
    let metrics = SelfMetrics::new(admission.clone(), collectors.clone(), kafka_status);
    let mut querier = Querier::new(store.clone(), config.query.clone());
    let mut tasks = Vec::new();
    if let Some(query_log) = query_log {
        let (teller, told) = Teller::new();
        metrics.watch_query_log(teller.clone());
        querier = querier.telling(teller);
        tasks.push(tokio::spawn(query_log.run(told, stop.clone())));
    }

    let grpc_task = serve_grpc(grpc_listener, config.grpc_tls.as_ref(), &admission, &collectors, stop.clone())?;
    let mut told = config.alerting.clone();
    let own_url = format!("http://{http}");
    if told.external_url.is_empty() {
        told.external_url.clone_from(&own_url); // links in messages must lead somewhere
    }
    let alerting = Alerting::start(
        told,
        store.clone(),
        querier.clone(),
        DEFAULT_TENANT,
        config.store.data_dir.join("alerting"),
        Arc::new(clock),
    )
    .await?;
    let last_reload = Arc::new(LastReload::new(clock()));
    let reloader = Reloader::new(alerting.clone(), config.file.clone(), own_url, last_reload.clone(), clock);
    metrics.watch_rules(alerting.clone(), last_reload);
    let settings = Arc::new(config);
    let api = Api::new(querier, alerting.clone(), collectors.clone(), settings, metrics.clone(), clock);
    let router = api::router(api, remote_write_http::routes(admission.clone()).merge(reload::routes(reloader.clone())));
    let http_task = serve_http(http_listener, router, stop.clone());
    tasks.extend([
        tokio::spawn(maintain(store.clone(), clock, stop.clone())),
        tokio::spawn(watch_self(admission, metrics, instance, stop.clone())),
        tokio::spawn(fresh_evidence::watch(store.clone(), alerting.clone(), collectors.clone(), stop.clone())),
        tokio::spawn(alert(alerting, stop.clone())),
    ]);
    if let Some(kafka) = kafka {
        tasks.push(tokio::spawn(kafka.run(stop.clone())));
    }
    tracing::info!(%http, %grpc, "serving");
    Ok(Server { http, grpc, store, collectors, reloader, stop, doors: vec![http_task, grpc_task], tasks })
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Port { what, address, source })
}

fn address(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

fn serve_http(listener: TcpListener, router: axum::Router, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let router = router.into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!(%error, "the HTTP port failed");
        }
    })
}

fn serve_grpc(
    listener: TcpListener,
    tls: Option<&TlsConfig>,
    admission: &Admission,
    collectors: &Collectors,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, StartError> {
    let mut server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_millis(KEEPALIVE_INTERVAL_MS)))
        .http2_keepalive_timeout(Some(Duration::from_millis(KEEPALIVE_WAIT_MS_MAX)));
    if let Some(tls) = tls {
        let mut config = ServerTlsConfig::new().identity(Identity::from_pem(&tls.cert_pem, &tls.key_pem));
        if let Some(ca) = &tls.client_ca_pem {
            config = config.client_ca_root(tonic::transport::Certificate::from_pem(ca));
        }
        let refused = |e: tonic::transport::Error| StartError::Tls(format!("{e:?}"));
        server = server.tls_config(config).map_err(refused)?;
    }
    let router = server.add_service(ingest::grpc::service(admission.clone(), collectors.clone()));
    Ok(tokio::spawn(async move {
        let incoming = TcpListenerStream::new(listener);
        if let Err(error) = router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await {
            tracing::error!(%error, "the collectors' port failed");
        }
    }))
}

/// Flushes, merges and expires, as long as there is something to do and then at every tick.
async fn maintain(store: Store, clock: Clock, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_millis(MAINTAIN_INTERVAL_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let idle = storage::MaintainReport::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        loop {
            match store.maintain(clock()).await {
                Ok(report) if report == idle || stop.is_cancelled() => break,
                Ok(report) => tracing::info!(?report, "maintained the store"),
                Err(error) => {
                    tracing::error!(%error, "maintenance of the store failed");
                    break;
                }
            }
        }
    }
}

/// Evaluates rules and sends messages.
async fn alert(alerting: Alerting, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = alerting.run() => {}
    }
}

/// Appends the server's own numbers to its own store.
async fn watch_self(admission: Admission, metrics: SelfMetrics, instance: String, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_millis(SELF_WATCH_INTERVAL_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let samples = metrics.samples(&instance, admission.now_ms());
        let labels: Vec<&[u8]> = samples.labels.iter().map(|l| l.as_bytes()).collect();
        let rows = Rows::Samples(SampleRows {
            labels: &labels,
            series: &samples.series,
            timestamps_ms: &samples.timestamps_ms,
            values: &samples.values,
            histograms: &samples.histograms,
            families: &samples.families,
        });
        let landing = admission.admit(Door::Own, DEFAULT_TENANT, None, rows);
        let landed = match landing {
            Ok(landing) => landing.await,
            Err(refused) => Err(refused),
        };
        if let Err(refused) = landed {
            tracing::warn!(%refused, "the server's own numbers were not stored");
        }
    }
}

impl Server {
    /// Closes the doors, lets what is under way end, then closes the store.
    pub async fn stop(self) {
        self.stop.cancel();
        self.collectors.close();
        for mut door in self.doors {
            // Who still holds a connection open then is cut off.
            if tokio::time::timeout(Duration::from_millis(CLOSE_WAIT_MS_MAX), &mut door).await.is_err() {
                door.abort();
            }
        }
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task ended badly");
            }
        }
        self.store.close().await;
    }
}
