//! The real program reads its changed configuration on SIGHUP: sources come, go and go on; a bad file changes nothing and is
//! named in the log and in metrics.

use tests::{
    process::free_port,
    program::{Api, Program},
};

use super::*;

/// Backend ids of the collector's sessions there.
async fn sessions(client: &tokio_postgres::Client) -> Vec<i32> {
    let sql = "select pid from pg_stat_activity where application_name = 'tidewatch-collector' order by pid";
    client.query(sql, &[]).await.unwrap().iter().map(|r| r.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_is_read_without_a_restart() {
    let (one, two) = (Postgres::start(&[]).await.unwrap(), Postgres::start(&[]).await.unwrap());
    let (at_one, at_two) = (one.connect("postgres").await.unwrap(), two.connect("postgres").await.unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (http, grpc) = (free_port().unwrap(), free_port().unwrap());
    let server_file = dir.path().join("tidewatch.yaml");
    std::fs::write(&server_file, "{}\n").unwrap();
    let words = [
        "serve".to_owned(),
        "--config".into(),
        server_file.display().to_string(),
        "--data-dir".into(),
        dir.path().join("data").display().to_string(),
        "--http-listen".into(),
        format!("127.0.0.1:{http}"),
        "--grpc-listen".into(),
        format!("127.0.0.1:{grpc}"),
    ];
    let mut server = Program::start("tidewatch", words, &[], &dir.path().join("server.log")).unwrap();
    let api = Api::new(format!("http://127.0.0.1:{http}"));
    server.ready(api.base()).await.unwrap();

    let file = dir.path().join("collector.yaml");
    let write = |databases: &[String], more: &str| {
        let text = format!(
            "server: {{address: 'http://127.0.0.1:{grpc}'}}\ndata_dir: {}\nhost: {{interval: 1s}}\ndatabases:\n{}{more}",
            dir.path().join("collector").display(),
            databases.concat()
        );
        std::fs::write(&file, text).unwrap();
    };
    let database = |name: &str, port: u16| {
        format!(
            "  - {{name: {name}, engine: postgresql, address: '127.0.0.1:{port}', user: postgres, intervals: {{metrics: 1s, activity: 1s}}}}\n"
        )
    };
    let (first, second) = (database("one", one.port()), database("two", two.port()));
    write(std::slice::from_ref(&first), "");
    let words = ["--config".to_owned(), file.display().to_string()];
    let collector = Program::start("tidewatch-collector", words, &[], &dir.path().join("collector.log")).unwrap();
    let number = async |query: &str, want: f64| {
        let seen = until(Duration::from_secs(60), async || {
            let value = api.number(query).await.ok()??;
            (value == want).then_some(())
        });
        seen.await.unwrap_or_else(|| panic!("{query} is not {want}; {}", collector.output()));
    };
    let said = async |part: &str| {
        until(LIMIT, async || collector.output().contains(part).then_some(()))
            .await
            .unwrap_or_else(|| panic!("{part:?} was not said: {}", collector.output()));
    };
    number("up{instance=\"one\"}", 1.0).await;
    until(LIMIT, async || (sessions(&at_one).await.len() == 2).then_some(())).await.expect("two sessions");
    let before = sessions(&at_one).await;
    assert!(sessions(&at_two).await.is_empty());

    // A second database: the first goes on in the sessions it has.
    write(&[first.clone(), second.clone()], "");
    collector.signal(rustix::process::Signal::HUP);
    said("1 sources were added, 0 removed, 0 changed; 2 go on").await;
    number("up{instance=\"two\"}", 1.0).await;
    assert_eq!(sessions(&at_one).await, before, "what did not change goes on undisturbed");

    // A bad file: nothing changes, and where it is wrong is said.
    write(&[first.clone(), second.replace("postgresql", "oracle")], "");
    collector.signal(rustix::process::Signal::HUP);
    let place = format!("{}:6:", file.display());
    said(&format!("refused, nothing changes: {place}")).await;
    said("databases[1].engine: \"oracle\" is not allowed; allowed: postgresql").await;
    number("tidewatch_collector_config_last_reload_successful", 0.0).await;
    number(&format!("tidewatch_collector_config_error{{file=\"{}\", line=\"6\"}}", file.display()), 1.0).await;
    // What only a restart can change is refused too.
    write(&[first.clone(), second.clone()], "tenant: other\n");
    collector.signal(rustix::process::Signal::HUP);
    said("tenant: differs from what runs").await;
    assert_eq!(sessions(&at_one).await, before);
    number("up{instance=\"two\"}", 1.0).await;

    // The second is gone again, with a good file.
    write(std::slice::from_ref(&first), "");
    collector.signal(rustix::process::Signal::HUP);
    said("0 sources were added, 1 removed, 0 changed; 2 go on").await;
    until(LIMIT, async || sessions(&at_two).await.is_empty().then_some(())).await.expect("its sessions end");
    number("tidewatch_collector_config_last_reload_successful", 1.0).await;
    number("tidewatch_collector_config_reloads_total{result=\"refused\"}", 2.0).await;
    let gone = until(LIMIT, async || api.number("up{instance=\"two\"}").await.ok()?.is_none().then_some(()));
    gone.await.expect("its up ends at once, not after the look-back");
    assert_eq!(sessions(&at_one).await, before);
    let rows = api.sql("SELECT count(*) FROM logs WHERE class = 'config_refused'").await.unwrap();
    assert_eq!(rows[0][0], 2);
    collector.stop();
    server.stop();
}
