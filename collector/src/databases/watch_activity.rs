//! The task that reads sessions on a connection of its own, often while someone waits and seldom while all is calm.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{
    activity::{Session, next_interval, rows},
    connection::{Connection, OwnStatements, dialect},
    fingerprint::fingerprint,
    identity::Identity,
    mysql_activity::{self, Views},
    postgres_activity,
    trouble::Trouble,
    watch::Shared,
};
use crate::{
    config::{DatabaseConfig, Engine},
    latency::{Latencies, running::Running},
    logs::mask::Mask,
    source::Context,
};

/// To read now, and where to say that it is done.
pub(super) type Ask = oneshot::Sender<Result<(), String>>;

/// Longest wait between two attempts to connect.
const RETRY_MAX: Duration = Duration::from_secs(15);
/// Sessions whose text is kept for EXPLAIN in one reading.
const SAMPLES_PER_READING_MAX: usize = 50;

/// Reads until its owner ends it. Troubles are the main task's to tell: it meets the same.
pub(super) async fn run(
    config: DatabaseConfig,
    context: Context,
    shared: Shared,
    instance: Arc<str>,
    engine: Engine,
    mut asked: mpsc::Receiver<Ask>,
) {
    let mut config = config;
    config.engine = engine;
    let mut connection: Option<Connection> = None;
    let mut views = Views::default();
    let (mut running, mut latencies) = (Running::default(), Latencies::default());
    let mut wait = Duration::ZERO;
    loop {
        let ask = tokio::select! {
            ask = asked.recv() => match ask {
                Some(ask) => Some(ask),
                None => return,
            },
            () = tokio::time::sleep(wait) => None,
        };
        let result = read(&config, &shared, engine, &mut connection, &mut views).await;
        let answer = match result {
            Ok(sessions) => {
                let manners = shared.own.manners();
                manners.note_lock_queue(lock_queue(&sessions));
                wait = next_interval(&sessions, config.intervals.activity);
                // In debt to the time budget it reads as rarely as the budget allows.
                wait = wait.max(manners.fits(0.0).err().unwrap_or_default());
                keep_samples(engine, &shared, &sessions);
                let now_ms = context.clock.now_ms();
                for ended in running.read(engine, &sessions, now_ms) {
                    latencies.observe(&instance, engine, &ended, now_ms);
                }
                latencies.publish(now_ms, &context.outlet);
                context.outlet.send_events(rows(
                    Mask { engine, unmasked: config.unmasked },
                    &instance,
                    now_ms,
                    sessions,
                ));
                Ok(())
            }
            Err(trouble) => {
                tracing::debug!(%instance, %trouble, "sessions not read");
                if trouble.connection_lost() {
                    connection = None;
                }
                wait = (wait * 2).clamp(config.intervals.activity, RETRY_MAX.max(config.intervals.activity));
                Err(trouble.to_string())
            }
        };
        if let Some(ask) = ask {
            let _ = ask.send(answer);
        }
    }
}

/// Sessions that wait for a lock on a table: those a reading of tables would have to queue behind.
fn lock_queue(sessions: &[Session]) -> usize {
    let waits = |s: &&Session| match s.wait_class.as_deref() {
        Some("Lock") => s.wait.as_deref() == Some("relation"),
        Some("MetadataLock") => true,
        _ => false,
    };
    sessions.iter().filter(waits).count()
}

async fn read(
    config: &DatabaseConfig,
    shared: &Shared,
    engine: Engine,
    connection: &mut Option<Connection>,
    views: &mut Views,
) -> Result<Vec<Session>, Trouble> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(open(config, &shared.own, shared).await?),
    };
    let sessions = if engine == Engine::Postgresql {
        let names = shared.names.lock().clone();
        postgres_activity::read(open, &names).await
    } else {
        let ours: Vec<i64> = shared.sessions.lock().values().copied().collect();
        mysql_activity::read(open, engine, views, &ours).await
    };
    let cost = open.take_cost();
    let mut sum = shared.cost.lock();
    sum.queries += cost.queries;
    sum.seconds += cost.seconds;
    sessions
}

async fn open(config: &DatabaseConfig, own: &OwnStatements, shared: &Shared) -> Result<Connection, Trouble> {
    // The maintenance database: sitting in one of the owner's would keep him from dropping it.
    let home = (config.engine == Engine::Postgresql).then_some(super::postgres::MAINTENANCE_DATABASE);
    let mut connection = match Connection::open(config, home, own).await {
        Err(_) if config.database.is_some() => Connection::open(config, None, own).await?,
        other => other?,
    };
    if config.engine != Engine::Postgresql {
        let identity = Identity::read(&mut connection, config).await?;
        if let Some(session) = identity.session {
            shared.sessions.lock().insert("activity", session);
        }
    }
    Ok(connection)
}

/// MySQL and MariaDB explain only what really ran: the texts of those that run now.
fn keep_samples(engine: Engine, shared: &Shared, sessions: &[Session]) {
    if engine == Engine::Postgresql {
        return;
    }
    let mut samples = shared.samples.lock();
    let running = sessions.iter().filter(|s| s.state.as_deref() == Some("active"));
    for session in running.take(SAMPLES_PER_READING_MAX) {
        // A text as long as the cut may have been cut.
        if let Some(text) = session.text.as_deref().filter(|t| t.len() < 4096) {
            samples.learn(fingerprint(dialect(engine), text).id, session.database.clone(), text);
        }
    }
}
