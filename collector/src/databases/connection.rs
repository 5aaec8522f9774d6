//! A connection to one database: what both servers' clients share, with limits that the server enforces.
//!
//! Every session is read-only, gives up soon on a lock and on a slow query, and says who it is. Queries are plain text
//! with plain text answers ([`Reading`]), so nothing is prepared or cached on the server. Connections of one instance take
//! turns ([`Manners`]).

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{
    fingerprint::fingerprint,
    manners::{Hanging, Manners},
    mysql::MysqlClient,
    postgres::PostgresClient,
    reading::Reading,
    sql_tokens::Dialect,
    trouble::{Class, Trouble},
};
use crate::config::{DatabaseConfig, Engine};

/// How each session names itself where the server has a place for it.
pub const APPLICATION_NAME: &str = "tidewatch-collector";
/// The server ends a query of ours after this.
pub const STATEMENT_TIMEOUT_MS: u64 = 5_000;
/// The server ends our wait for a lock after this.
pub const LOCK_TIMEOUT_MS: u64 = 500;
/// We leave a connection that has not answered after this.
const ANSWER_TIMEOUT_MS: u64 = STATEMENT_TIMEOUT_MS + 3_000;
/// Longest wait for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Our own distinct statements remembered, to leave them out of what is reported.
const OWN_STATEMENTS_MAX: usize = 4_096;

const _: () = assert!(LOCK_TIMEOUT_MS < STATEMENT_TIMEOUT_MS && STATEMENT_TIMEOUT_MS < ANSWER_TIMEOUT_MS);

/// What we ourselves do on one instance: fingerprints of what we send, and our manners there. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct OwnStatements {
    own: Arc<Mutex<Own>>,
    manners: Manners,
}

#[derive(Debug, Default)]
struct Own {
    seen: HashSet<u64>,
    fingerprints: HashSet<Arc<str>>,
}

impl OwnStatements {
    /// What keeps us a guest there.
    pub fn manners(&self) -> &Manners {
        &self.manners
    }

    /// Whether a fingerprint is one of ours.
    pub fn contains(&self, fingerprint: &str) -> bool {
        self.own.lock().fingerprints.contains(fingerprint)
    }

    fn remember(&self, dialect: Dialect, sql: &str) {
        let hash = xxhash_rust::xxh3::xxh3_64(sql.as_bytes());
        let mut own = self.own.lock();
        if own.seen.len() >= OWN_STATEMENTS_MAX {
            own.seen.clear();
        }
        if own.seen.insert(hash) && own.fingerprints.len() < OWN_STATEMENTS_MAX {
            let id = fingerprint(dialect, sql).id;
            own.fingerprints.insert(id);
        }
    }
}

/// What our queries cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Queries sent.
    pub queries: u64,
    /// Time until their answers were here, seconds.
    pub seconds: f64,
}

/// One open connection.
pub struct Connection {
    client: Client,
    own: OwnStatements,
    dialect: Dialect,
    cost: Cost,
}

pub(super) enum Client {
    Postgres(PostgresClient),
    Mysql(Box<MysqlClient>),
}

impl Connection {
    /// Connects; `database`: to this one instead of the configured.
    pub async fn open(
        config: &DatabaseConfig,
        database: Option<&str>,
        own: &OwnStatements,
    ) -> Result<Connection, Trouble> {
        let mut turn = own.manners.turn().await;
        wait_for_hanging(config, &mut turn).await?;
        let password = config.password.read().map_err(|e| Trouble::new(Class::AuthFailed, e.to_string()))?;
        let started = Instant::now();
        let dialect = dialect(config.engine);
        // On its own, so that it can be left hanging: dropped, it would wait on at the server beside the next.
        let (to, database) = (config.clone(), database.map(str::to_owned));
        let mut opening = tokio::spawn(async move {
            Ok(match to.engine {
                Engine::Postgresql => Client::Postgres(PostgresClient::open(&to, password, database.as_deref()).await?),
                Engine::Mysql | Engine::Mariadb => {
                    Client::Mysql(Box::new(MysqlClient::open(&to, password, database.as_deref()).await?))
                }
            })
        });
        let client = match timeout(CONNECT_TIMEOUT, &mut opening).await {
            Ok(Ok(client)) => client?,
            Ok(Err(e)) => return Err(Trouble::new(Class::TargetUnreachable, e.to_string())),
            Err(_) => {
                *turn = Some((opening, started));
                let text = format!("{} does not answer within {} s", config.address, CONNECT_TIMEOUT.as_secs());
                return Err(Trouble::new(Class::TargetUnreachable, text));
            }
        };
        if let Client::Mysql(client) = &client {
            client.sent().iter().for_each(|sql| own.remember(dialect, sql));
        }
        let cost = Cost { queries: 1, seconds: started.elapsed().as_secs_f64() };
        own.manners.spend(cost.seconds);
        Ok(Connection { client, own: own.clone(), dialect, cost })
    }

    /// Sends one query and takes its rows; of several statements in the text, those of the last that has rows.
    pub async fn read(&mut self, sql: &str) -> Result<Reading, Trouble> {
        self.own.remember(self.dialect, sql);
        let turn = self.own.manners.turn().await;
        let started = Instant::now();
        let reading = async {
            match &mut self.client {
                Client::Postgres(client) => client.read(sql).await,
                Client::Mysql(client) => client.read(sql).await,
            }
        };
        let result = timeout(Duration::from_millis(ANSWER_TIMEOUT_MS), reading).await;
        drop(turn);
        let seconds = started.elapsed().as_secs_f64();
        self.cost.queries += 1;
        self.cost.seconds += seconds;
        self.own.manners.spend(seconds);
        result.unwrap_or_else(|_| {
            Err(Trouble::new(Class::TooSlow, format!("no answer within {ANSWER_TIMEOUT_MS} ms; connection given up")))
        })
    }

    /// Seconds our queries took here since the last [`Connection::take_cost`].
    pub fn spent_s(&self) -> f64 {
        self.cost.seconds
    }

    /// The cost since the last call.
    pub fn take_cost(&mut self) -> Cost {
        std::mem::take(&mut self.cost)
    }

    /// Says goodbye. A dropped connection is closed too, but the server notices later.
    pub async fn close(self) {
        self.client.close().await;
    }
}

impl Client {
    async fn close(self) {
        match self {
            Client::Postgres(client) => client.close().await,
            Client::Mysql(client) => client.close().await,
        }
    }
}

/// Waits for an attempt that was left hanging: it is closed as soon as the server lets it in, and none is made beside it.
async fn wait_for_hanging(config: &DatabaseConfig, turn: &mut Hanging) -> Result<(), Trouble> {
    let Some((opening, since)) = turn else { return Ok(()) };
    match timeout(CONNECT_TIMEOUT, opening).await {
        Ok(ended) => {
            *turn = None;
            match ended {
                Ok(Ok(client)) => client.close().await,
                Ok(Err(trouble)) => return Err(trouble),
                Err(_) => {} // it was cut off: the next will tell
            }
            Ok(())
        }
        Err(_) => {
            let waits = since.elapsed().as_secs();
            let text = format!(
                "{} does not answer: an attempt of {waits} s ago still waits there, and none is made beside it",
                config.address
            );
            Err(Trouble::new(Class::TargetUnreachable, text))
        }
    }
}

/// Whose lexer reads this engine's statements.
pub fn dialect(engine: Engine) -> Dialect {
    match engine {
        Engine::Postgresql => Dialect::Postgresql,
        Engine::Mysql | Engine::Mariadb => Dialect::Mysql,
    }
}
