//! A real PgBouncer read through its admin console.

use collector::Config;
use tests::{pgbouncer::PgBouncer, postgres::StartError};

use super::{watching::Watching, *};

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_by_its_admin_console() {
    let server = Postgres::start(&[]).await.unwrap();
    let bouncer = match PgBouncer::start(&server, 1).await {
        Ok(bouncer) => bouncer,
        Err(StartError::NotInstalled(what)) => return println!("skipped: {what} is not installed"),
        Err(error) => panic!("{error}"),
    };
    let text = format!(
        "server: {{address: 'http://127.0.0.1:1'}}\ndata_dir: /x\ndatabases: [{{engine: pgbouncer, address: '127.0.0.1:{}'}}]\n",
        bouncer.port()
    );
    let config = Config::parse("c.yaml", &text).unwrap().databases.remove(0);
    let (identity, tried) = collector::databases::attempt(&config).await;
    assert!(tried.iter().all(|t| t.outcome.is_ok()), "{tried:?}");
    println!("{:?}", identity.unwrap().version_text);
    let mut wrong = Vec::new();
    let template = config.template.clone().unwrap();
    let found = versions::read_template(&config, &template, 11_800, ServerRole::Primary, &mut wrong).await;
    for (group, (rows, samples)) in &found {
        println!("{group:<24} {rows:>4} rows {samples:>5} samples");
        assert!(*samples > 0, "{group} is empty");
    }
    assert!(wrong.is_empty(), "{wrong:?}");

    let mut watch = Watching::start(config, "bouncer");
    watch.until_value("pgbouncer_up", |v| v == 1.0).await;
    let (one, two) = (bouncer.connect("postgres").await.unwrap(), bouncer.connect("postgres").await.unwrap());
    for _ in 0..25 {
        one.batch_execute("select 1").await.unwrap();
    }
    let of_database = "database=\"postgres\"";
    let mut until = async |metric: &str, fits: &dyn Fn(f64) -> bool| {
        let name = format!("__name__=\"{metric}\"");
        let seen = tests::wait::until(LIMIT, async || {
            watch.newest(&[&name, of_database]).into_iter().find(|(_, v)| fits(*v)).map(|(_, v)| v)
        });
        seen.await.unwrap_or_else(|| panic!("{metric}"))
    };
    until("pgbouncer_stats_queries_pooled_total", &|v| v >= 25.0).await;
    // One connection for two clients: the second waits while the first is in its transaction.
    one.batch_execute("begin; select 1").await.unwrap();
    let waiting = tokio::spawn(async move { two.batch_execute("select 2").await });
    until("pgbouncer_pools_client_waiting_connections", &|v| v == 1.0).await;
    until("pgbouncer_pools_server_active_connections", &|v| v == 1.0).await;
    until("pgbouncer_pools_client_maxwait_seconds", &|v| v >= 1.0).await;
    one.batch_execute("commit").await.unwrap();
    waiting.await.unwrap().unwrap();
    until("pgbouncer_pools_client_waiting_connections", &|v| v == 0.0).await;
    until("pgbouncer_stats_client_wait_seconds_total", &|v| v >= 1.0).await;
    assert!(watch.said("").is_empty(), "{:?}", watch.said(""));
    watch.stop().await;
}
