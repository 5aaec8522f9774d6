//! A user's template, the one of the documents, on a real PostgreSQL: its query is read, what it changes is changed, and
//! what it removes is not read.

use collector::Config;

use super::{watching::Watching, *};

#[tokio::test(flavor = "multi_thread")]
async fn a_template_of_ones_own_is_read_without_compiling() {
    let server = Postgres::start(&[]).await.unwrap();
    let client = server.connect("postgres").await.unwrap();
    client
        .batch_execute(
            "create table orders (state text, amount_cents int, placed timestamptz);
             insert into orders select case when n % 3 = 0 then 'open' else 'paid' end, 250, now() - interval '1 hour'
             from generate_series(1, 30) n",
        )
        .await
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("templates")).unwrap();
    let example = include_str!("../../../docs/examples/shop-template.yaml");
    std::fs::write(dir.path().join("templates/shop.yaml"), example).unwrap();
    let file = dir.path().join("collector.yaml");
    let write = |more: &str| {
        let text = format!(
            "server: {{address: 'http://127.0.0.1:1'}}\ndata_dir: /x\ntemplates: [templates]\ndatabases:\n  \
             - {{engine: postgresql, template: shop, address: '127.0.0.1:{}', user: postgres{more}}}\n",
            server.port()
        );
        std::fs::write(&file, text).unwrap();
    };
    write("");
    let config = Config::load(&file).unwrap().databases.remove(0);
    let (_, tried) = collector::databases::attempt(&config).await;
    let wrong: Vec<_> = tried.iter().filter(|t| t.outcome.is_err() && t.what.starts_with("metrics")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let mut watch = Watching::start(config, "shop");
    watch.until_value("shop_orders", |v| v > 0.0).await;
    let mut of = |metric: &str| -> Vec<(String, f64)> {
        let found = watch.newest(&[&format!("__name__=\"{metric}\"")]);
        found.into_iter().map(|(l, v)| (l.split("state=\"").nth(1).unwrap_or("").replace("\"}", ""), v)).collect()
    };
    let both = |open: f64, paid: f64| vec![("open".to_owned(), open), ("paid".to_owned(), paid)];
    assert_eq!(of("shop_orders"), both(10.0, 20.0));
    assert_eq!(of("shop_orders_value"), both(25.0, 50.0));
    assert_eq!(of("shop_revenue"), both(25.0, 50.0));
    watch.until_value("pg_stat_activity_count", |v| v >= 0.0).await;
    watch.until_value("pg_stat_database_xact_commit", |v| v > 0.0).await;
    assert_eq!(watch.value("pg_sessions_by_account"), None, "this group is removed");
    watch.stop().await;

    // What is wrong with it is said with file, line and what is allowed, before anything is read.
    let broken = example.replace("select state", "delete from orders returning state");
    std::fs::write(dir.path().join("templates/shop.yaml"), broken).unwrap();
    let line = example.lines().position(|l| l.trim() == "sql: |").unwrap() + 2; // the text's own first line
    let error = Config::load(&file).unwrap_err().to_string();
    let place = format!("{}:{line}:", dir.path().join("templates/shop.yaml").display());
    assert!(error.starts_with(&place), "{error} does not begin with {place}");
    assert!(error.contains("allowed: one SELECT, VALUES or SHOW that only reads"), "{error}");
    std::fs::write(dir.path().join("templates/shop.yaml"), example.replace("template: shop", "template: store"))
        .unwrap();
    let error = Config::load(&file).unwrap_err().to_string();
    assert!(error.contains("databases[0].template: \"shop\" is not allowed; allowed: "), "{error}");
    assert!(error.contains("store") && !error.contains("mariadb"), "{error}");
}
