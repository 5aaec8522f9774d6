//! A small shop on both servers: tables with data, and clients that buy. The load of the demo and of the pipeline tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mysql_async::prelude::Queryable;
use tokio::task::JoinSet;

use crate::{MariaDb, Postgres};

/// Customers in the shop.
pub const CUSTOMERS: i64 = 5_000;
/// Articles in stock.
pub const ARTICLES: i64 = 50;
/// Time between two purchases of one client: about 25 a second each.
const PAUSE: Duration = Duration::from_millis(40);

const POSTGRES_TABLES: &str = "
    CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
    CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL, email text NOT NULL);
    CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id bigint NOT NULL, article_id int NOT NULL,
        amount numeric(10,2) NOT NULL, note text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE stock (article_id int PRIMARY KEY, quantity bigint NOT NULL);";
const POSTGRES_INDEX: &str = "CREATE INDEX orders_customer_id ON orders (customer_id)";

const MARIADB_TABLES: &[&str] = &[
    "CREATE DATABASE shop",
    "CREATE TABLE shop.customers (id bigint PRIMARY KEY, name varchar(80) NOT NULL, email varchar(80) NOT NULL)",
    "CREATE TABLE shop.orders (id bigint AUTO_INCREMENT PRIMARY KEY, customer_id bigint NOT NULL, article_id int NOT NULL, \
     amount decimal(10,2) NOT NULL, note varchar(80) NOT NULL, created_at timestamp DEFAULT now(), \
     KEY orders_customer_id (customer_id))",
    "CREATE TABLE shop.stock (article_id int PRIMARY KEY, quantity bigint NOT NULL)",
];

/// Clients at work; they stop when this is dropped.
pub struct Clients {
    stop: Arc<AtomicBool>,
    bought: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Clients {
    /// How many purchases succeeded.
    pub fn bought(&self) -> u64 {
        self.bought.load(Ordering::Relaxed)
    }

    /// Lets every client finish its purchase and leave.
    pub async fn leave(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Opens the shop on PostgreSQL: database `shop`, `orders` rows of history.
pub async fn open_postgres(server: &Postgres, orders: i64) -> anyhow::Result<()> {
    server.connect("postgres").await?.batch_execute("CREATE DATABASE shop").await?;
    let shop = server.connect("shop").await?;
    shop.batch_execute(POSTGRES_TABLES).await?;
    shop.batch_execute(&format!(
        "INSERT INTO customers SELECT i, 'customer ' || i, i || '@example.org' FROM generate_series(1, {CUSTOMERS}) i;
         INSERT INTO stock SELECT i, 1000000 FROM generate_series(1, {ARTICLES}) i;
         INSERT INTO orders (customer_id, article_id, amount, note)
             SELECT 1 + (i::bigint * 7919) % {CUSTOMERS}, 1 + i % {ARTICLES}, (i % 9000) / 100.0, 'note of order number ' || i
             FROM generate_series(1, {orders}) i;"
    ))
    .await?;
    shop.batch_execute(POSTGRES_INDEX).await?;
    shop.batch_execute("ANALYZE").await?;
    Ok(())
}

/// Opens the shop on MariaDB: schema `shop`, `orders` rows of history.
pub async fn open_mariadb(server: &MariaDb, orders: i64) -> anyhow::Result<()> {
    let mut session = server.connect("root").await?;
    for statement in MARIADB_TABLES {
        session.query_drop(*statement).await?;
    }
    session.query_drop("USE shop").await?;
    for statement in [
        format!(
            "INSERT INTO customers SELECT seq, concat('customer ', seq), concat(seq, '@example.org') FROM seq_1_to_{CUSTOMERS}"
        ),
        format!("INSERT INTO stock SELECT seq, 1000000 FROM seq_1_to_{ARTICLES}"),
        format!(
            "INSERT INTO orders (customer_id, article_id, amount, note) SELECT 1 + (seq * 7919) % {CUSTOMERS}, 1 + seq % {ARTICLES}, \
             (seq % 9000) / 100, concat('note of order number ', seq) FROM seq_1_to_{orders}"
        ),
        "ANALYZE TABLE orders".into(),
    ] {
        session.query_drop(statement).await?;
    }
    session.disconnect().await?;
    Ok(())
}

/// Lets `clients` customers buy from PostgreSQL.
pub async fn buy_from_postgres(server: &Postgres, clients: usize) -> anyhow::Result<Clients> {
    let (stop, bought, mut tasks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), JoinSet::new());
    for client in 0..clients {
        let session = server.connect("shop").await?;
        session.batch_execute("SET application_name = 'webshop'").await?;
        let (stop, bought) = (stop.clone(), bought.clone());
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(client as u64);
            while !stop.load(Ordering::Relaxed) {
                if purchase_postgres(&session, &mut random).await.is_ok() {
                    bought.fetch_add(1, Ordering::Relaxed);
                }
                if session.is_closed() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    Ok(Clients { stop, bought, tasks })
}

async fn purchase_postgres(
    session: &tokio_postgres::Client,
    random: &mut fastrand::Rng,
) -> Result<(), tokio_postgres::Error> {
    let (customer, article) = (random.i64(1..=CUSTOMERS), random.i32(1..=ARTICLES as i32));
    session.query("SELECT id, name, email FROM customers WHERE id = $1", &[&customer]).await?;
    session
        .query(
            "SELECT id, amount, note FROM orders WHERE customer_id = $1 ORDER BY created_at DESC LIMIT 10",
            &[&customer],
        )
        .await?;
    session.execute("UPDATE stock SET quantity = quantity - 1 WHERE article_id = $1", &[&article]).await?;
    session
        .execute(
            "INSERT INTO orders (customer_id, article_id, amount, note) VALUES ($1, $2, 9.99, 'bought')",
            &[&customer, &article],
        )
        .await?;
    Ok(())
}

/// Lets `clients` customers buy from MariaDB.
pub async fn buy_from_mariadb(server: &MariaDb, clients: usize) -> anyhow::Result<Clients> {
    let (stop, bought, mut tasks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), JoinSet::new());
    for client in 0..clients {
        let mut session = server.connect("root").await?;
        session.query_drop("USE shop").await?;
        let (stop, bought) = (stop.clone(), bought.clone());
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(1_000 + client as u64);
            while !stop.load(Ordering::Relaxed) {
                match purchase_mariadb(&mut session, &mut random).await {
                    Ok(()) => drop(bought.fetch_add(1, Ordering::Relaxed)),
                    Err(mysql_async::Error::Server(_)) => {}
                    Err(_) => return,
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    Ok(Clients { stop, bought, tasks })
}

async fn purchase_mariadb(
    session: &mut mysql_async::Conn,
    random: &mut fastrand::Rng,
) -> Result<(), mysql_async::Error> {
    let (customer, article) = (random.i64(1..=CUSTOMERS), random.i64(1..=ARTICLES));
    session.query_drop(format!("SELECT id, name, email FROM customers WHERE id = {customer}")).await?;
    session
        .query_drop(format!(
            "SELECT id, amount, note FROM orders WHERE customer_id = {customer} ORDER BY created_at DESC LIMIT 10"
        ))
        .await?;
    session.query_drop(format!("UPDATE stock SET quantity = quantity - 1 WHERE article_id = {article}")).await?;
    session
        .query_drop(format!(
            "INSERT INTO orders (customer_id, article_id, amount, note) VALUES ({customer}, {article}, 9.99, 'bought')"
        ))
        .await?;
    Ok(())
}

/// A lock pile-up: one session holds a row in an open transaction, others wait for it, until this is dropped.
pub struct PileUp {
    holder: tokio_postgres::Client,
    waiting: JoinSet<()>,
}

/// Holds article 7 and sends `victims` sessions after it.
pub async fn pile_up(server: &Postgres, victims: usize) -> anyhow::Result<PileUp> {
    let holder = server.connect("shop").await?;
    holder.batch_execute("SET application_name = 'billing job'; BEGIN").await?;
    holder.execute("UPDATE stock SET quantity = quantity + 100 WHERE article_id = $1", &[&7]).await?;
    let mut waiting = JoinSet::new();
    for _ in 0..victims {
        let session = server.connect("shop").await?;
        waiting.spawn(async move {
            // ends when the holder lets go; a refusal is as good an end
            let _ = session.batch_execute("SET application_name = 'webshop'").await;
            let _ = session.execute("UPDATE stock SET quantity = quantity - 2 WHERE article_id = $1", &[&7]).await;
        });
    }
    Ok(PileUp { holder, waiting })
}

impl PileUp {
    /// Ends the holder's transaction; the others go on.
    pub async fn release(mut self) -> anyhow::Result<()> {
        self.holder.batch_execute("ROLLBACK").await?;
        while self.waiting.join_next().await.is_some() {}
        Ok(())
    }
}

/// Takes the index from under the shop's busiest query.
pub async fn drop_index(server: &Postgres) -> anyhow::Result<()> {
    Ok(server.connect("shop").await?.batch_execute("DROP INDEX orders_customer_id").await?)
}

/// Gives it back.
pub async fn restore_index(server: &Postgres) -> anyhow::Result<()> {
    Ok(server.connect("shop").await?.batch_execute(POSTGRES_INDEX).await?)
}
