//! 5 000 alerts from one cause within ten seconds: one message a channel of each receiver, and every alert accounted for.

use std::{path::Path, time::Duration};

use collector::Clock;
use proto::{Labels, samples::SamplesBuilder};
use serde_json::json;
use tests::{receiver::Receiver, road::Road, smtp::Smtp, wait};

use crate::peer::Site;

const ALERTS: usize = 5_000;
/// They come in so many parts, one each [`PART_EVERY`].
const PARTS: usize = 10;
const PART_EVERY: Duration = Duration::from_millis(800);
/// Until everything is in the ledger.
const PATIENCE: Duration = Duration::from_secs(90);

const RULES: &str = "groups:\n- name: g\n  interval: 1s\n  rules:\n\
    \x20 - {alert: Unreachable, expr: reachable == 0, labels: {severity: warning}, annotations: {summary: '{{ $labels.instance }} is away'}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_alerts_of_one_cause_are_one_message_and_all_accounted_for() {
    let _alone = crate::ALONE.lock().await;
    let (webhook, chat) = (Receiver::start().await.unwrap(), Receiver::start().await.unwrap());
    let Some(smtp) = Smtp::start(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap() else {
        println!("skipped: python3 has no aiosmtpd and it can't be installed");
        return;
    };
    let site = Site::new();
    site.write("rules.yml", RULES);
    site.write("slack-url", chat.url());
    let mail = json!({
        "to": ["dba@example.org"], "from": "watch@example.org", "smarthost": format!("127.0.0.1:{}", smtp.port), "tls": "none",
    });
    let config = json!({ "alerting": {
        "rules": ["rules.yml"], "builtin_rules": false,
        "receivers": [
            { "name": "dba", "webhooks": [{ "url": webhook.url() }], "mails": [mail] },
            { "name": "chat", "slack": [{ "url_file": "slack-url" }] },
        ],
        "route": { "receiver": "dba", "group_by": ["instance"], "routes": [
            { "receiver": "chat", "matchers": ["alertname=\"Unreachable\""], "continue": true },
            { "receiver": "dba", "matchers": ["alertname=\"Unreachable\""] },
        ] },
    } });
    site.write("tidewatch.yaml", &config.to_string());
    let program = site.start().await;
    let road = Road::start(site.folder.path(), site.grpc).unwrap();
    let begin_ms = Clock::system().now_ms();
    let mut parts = tokio::time::interval(PART_EVERY);
    for part in 0..PARTS {
        parts.tick().await;
        let mut samples = SamplesBuilder::default();
        for n in (0..ALERTS).skip(part).step_by(PARTS) {
            let labels = Labels::from_pairs([("__name__", "reachable"), ("instance", &format!("db{n:04}"))]);
            samples.push(&labels, Clock::system().now_ms(), 0.0);
        }
        road.outlet.send_samples(samples);
    }
    let sent_ms = Clock::system().now_ms() - begin_ms;

    let api = site.api();
    // each alert, to each receiver: in a message of its own, counted in one about many, or held until the storm's next one
    let accounted = "SELECT receiver, count(DISTINCT alert_id) FROM alert_events \
         WHERE rule = 'Unreachable' AND event IN ('digested', 'held') GROUP BY receiver ORDER BY receiver";
    let mut rows = Vec::new();
    let all = wait::until(PATIENCE, async || {
        rows = api.sql(accounted).await.ok()?;
        (rows.len() == 2 && rows.iter().all(|r| r[1].as_u64() == Some(ALERTS as u64))).then_some(())
    });
    assert!(all.await.is_some(), "{rows:?}\n{}", program.output());
    let took_ms = Clock::system().now_ms() - begin_ms;
    let heard = async || {
        let counts = [webhook.heard().await.len(), smtp.mails().len(), chat.heard().await.len()];
        counts.iter().all(|n| *n > 0).then_some(counts)
    };
    let counts = wait::until(PATIENCE, heard).await;
    assert_eq!(counts, Some([1, 1, 1]), "one message a channel");
    println!("{ALERTS} alerts in {sent_ms} ms, accounted for after {took_ms} ms");

    let counted =
        "SELECT count(DISTINCT alert_id), count(*) FROM alert_events WHERE rule = 'Unreachable' AND event = 'firing'";
    let fired = api.sql(counted).await.unwrap();
    assert_eq!(fired[0].iter().filter_map(|v| v.as_u64()).collect::<Vec<_>>(), [ALERTS as u64; 2], "each fired once");
    let body = &webhook.heard().await[0].body;
    let (digest, shown) = (&body["digest"], body["alerts"].as_array().unwrap().len());
    let told = "SELECT count(DISTINCT alert_id) FROM alert_events WHERE event = 'digested' AND receiver = 'dba'";
    let told = api.sql(told).await.unwrap()[0][0].as_u64();
    assert_eq!((&digest["cause"], digest["firing"].as_u64()), (&"storm".into(), told), "{digest}");
    assert_eq!(body["truncatedAlerts"].as_u64().map(|n| n + shown as u64), told);
    let number = told.unwrap().to_string();
    let mail = &smtp.mails()[0];
    assert!(mail["text"].as_str().unwrap().contains(&format!("{number} firing")), "{mail}");
    assert!(chat.heard().await[0].body.to_string().contains(&format!("{number} firing")));

    // one that was counted without being shown, and one that came later: why does each receiver know, or not
    let of = async |event: &str| {
        let sql = format!("SELECT max(alert_id) FROM alert_events WHERE event = '{event}' AND receiver = 'dba'");
        let id = api.sql(&sql).await.unwrap()[0][0].as_str().unwrap().to_string();
        let why = api.get(&format!("/api/v1/alert/{id}/why"), &[]).await.unwrap();
        (id, why)
    };
    let (id, why) = of("digested").await;
    let receivers = why["receivers"].as_array().unwrap();
    assert!(receivers.iter().all(|r| r["told"] == true), "{id}: {why}");
    println!("why {id}: {}", why["answer"].as_str().unwrap());
    if told != Some(ALERTS as u64) {
        let (id, why) = of("held").await;
        let held = why["receivers"].as_array().unwrap().iter().all(|r| {
            r["told"] == false
                && r["reason"].as_str().unwrap().contains("many groups began at once")
                && !r["at_ms"].is_null()
        });
        assert!(held, "{id}: {why}");
        println!("why {id}: {}", why["answer"].as_str().unwrap());
    }
    assert_eq!([webhook.heard().await.len(), smtp.mails().len(), chat.heard().await.len()], [1, 1, 1]);
    road.stop();
    program.stop();
}
