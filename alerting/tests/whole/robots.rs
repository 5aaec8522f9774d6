//! Chat robots over the whole road: signatures checked as the vendors do, limits in bodies, what is refused for good.

use super::provider::{Provider, Reply, check_dingtalk, check_feishu, check_nothing, reply};
use super::stage::Stage;
use proto::Table;

struct Robots {
    stage: Stage,
    dingtalk: Provider,
    wecom: Provider,
    feishu: Provider,
    slack: Provider,
}

const OK: &str = r#"{"errcode":0,"errmsg":"ok"}"#;

impl Robots {
    async fn new() -> Robots {
        let stage = Stage::new().await;
        let robots = Robots {
            dingtalk: Provider::start(check_dingtalk, reply(200, OK)).await,
            wecom: Provider::start(check_nothing, reply(200, OK)).await,
            feishu: Provider::start(check_feishu, reply(200, r#"{"code":0,"msg":"success","data":{}}"#)).await,
            slack: Provider::start(check_nothing, reply(200, "ok")).await,
            stage,
        };
        let write = |name: &str, text: String| robots.stage.write(name, &text);
        write("ding-url", format!("{}/robot/send?access_token=token\n", robots.dingtalk.url));
        write("ding-secret", "SECding\n".into());
        write("wecom-url", format!("{}/cgi-bin/webhook/send?key=k", robots.wecom.url));
        write("feishu-url", format!("{}/open-apis/bot/v2/hook/h", robots.feishu.url));
        write("feishu-secret", "feishu secret\n".into());
        write("slack-url", format!("{}/services/T/B/x", robots.slack.url));
        write(
            "rules.yml",
            "groups:\n- name: g\n  interval: 5s\n  rules:\n  - alert: Hot\n    expr: t > 30\n    labels: {severity: critical}\n    \
             annotations: {summary: '<!channel> @all [x](http://evil) **{{ $value }}**', summary_zh: '温度 {{ $value }} 度 <@all>'}\n"
                .into(),
        );
        robots
    }

    async fn play(&self, alerting: &alerting::Alerting, seconds: i64) {
        self.stage
            .play(alerting, seconds, async |_| self.stage.samples(&[("t{instance=\"db[1]\"}", 31.0)]).await)
            .await;
    }

    fn counts(&self) -> [usize; 4] {
        [&self.dingtalk, &self.wecom, &self.feishu, &self.slack].map(|p| p.got().len())
    }
}

const CONFIG: &str = "builtin_rules: false\nrules: [rules.yml]\nexternal_url: 'http://watch'\nreceivers: [{name: chat, \
    dingtalk: [{url_file: ding-url, secret_file: ding-secret, at: ['13800000000'], language: zh}], \
    wecom: [{url_file: wecom-url, at: [zhang], language: zh, time_zone: '+08:00'}], \
    feishu: [{url_file: feishu-url, secret_file: feishu-secret, language: zh}], \
    slack: [{url_file: slack-url}]}]\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_dialect_says_it_and_labels_stay_text() {
    let robots = Robots::new().await;
    let alerting = robots.stage.start(CONFIG).await;
    robots.play(&alerting, 10).await;
    assert_eq!(robots.counts(), [1, 1, 1, 1]);
    assert_eq!(alerting.messages_waiting(), 0, "all were taken");

    let ding = robots.dingtalk.got()[0].json();
    let text = ding["markdown"]["text"].as_str().unwrap();
    assert!(text.starts_with("#### 🔴 告警 · 严重 · Hot db［1］") && text.contains("温度 31 度 ＜＠all＞"), "{text}");
    assert!(text.contains("**数值**：31") && text.ends_with("@13800000000"), "{text}");
    assert!(text.contains("[现场证据与历史](http://watch/"), "{text}");
    assert_eq!(ding["at"], serde_json::json!({"atMobiles": ["13800000000"], "isAtAll": false}));

    let wecom = robots.wecom.got()[0].json();
    let text = wecom["markdown"]["content"].as_str().unwrap();
    assert!(text.contains("<font color=\"warning\">🔴 告警 · 严重 · Hot db［1］</font>"), "{text}");
    assert!(text.contains("+08:00") && text.ends_with("<@zhang>") && !text.contains("<@all>"), "{text}");

    let feishu = robots.feishu.got()[0].json();
    assert_eq!((&feishu["msg_type"], &feishu["card"]["header"]["template"]), (&"interactive".into(), &"red".into()));
    let card = feishu["card"].to_string();
    assert!(!card.contains("lark_md") && card.contains("\"url\":\"http://watch/"), "{card}");

    let slack = robots.slack.got()[0].json();
    let text = slack["attachments"][0]["blocks"][0]["text"]["text"].as_str().unwrap();
    assert!(text.contains("＜！channel＞ ＠all ［x］(http://evil) ＊＊31＊＊") && !text.contains("<!"), "{text}");
    assert!(text.contains("|evidence and history>") && text.contains("*value*: 31"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_refusals_stand_in_the_body_and_one_channel_does_not_hold_the_others() {
    let robots = Robots::new().await;
    let slow: Reply = reply(200, r#"{"errcode":130101,"errmsg":"send too fast, exceed 20 times per minute"}"#);
    robots.dingtalk.then(slow);
    robots.wecom.then(reply(200, r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#));
    robots.feishu.then(reply(400, r#"{"code":11232,"msg":"frequency limited"}"#));
    robots.slack.then((429, vec![("retry-after", "30".into())], "rate_limited".into())).then(reply(200, "<html>?"));
    let alerting = robots.stage.start(CONFIG).await;
    robots.play(&alerting, 10).await;
    assert_eq!((robots.counts(), alerting.messages_waiting()), ([1, 1, 1, 1], 3), "wecom refused for good");
    robots.play(&alerting, 40).await;
    assert_eq!(
        (robots.counts(), alerting.messages_waiting()),
        ([1, 1, 1, 3], 2),
        "an html page is no ok, the next was"
    );
    robots.play(&alerting, 40).await;
    assert_eq!((robots.counts(), alerting.messages_waiting()), ([2, 1, 2, 3], 0), "after a minute all have it");
    let failed = robots.stage.sql("SELECT detail FROM alert_events WHERE event = 'failed'").await;
    assert_eq!(failed.len(), 1);
    let detail = failed[0]["detail"].as_str().unwrap();
    assert!(detail.contains("wecom") && detail.contains("93000") && !detail.contains("key=k"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_signature_is_found_by_the_peer() {
    let robots = Robots::new().await;
    robots.stage.write("ding-secret", "SECother");
    robots.stage.write("feishu-secret", "other");
    let alerting = robots.stage.start(CONFIG).await;
    robots.play(&alerting, 10).await;
    let failed = robots.stage.sql("SELECT detail FROM alert_events WHERE event = 'failed'").await;
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed.iter().all(|f| f["detail"].as_str().unwrap().contains("418")), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_waits_for_company_tells_the_verdict_that_came_meanwhile() {
    let robots = Robots::new().await;
    let config = "external_url: 'http://watch'\nreceivers: [{name: chat, feishu: [{url_file: feishu-url, \
        secret_file: feishu-secret, language: zh}]}]\nroute: {receiver: chat, group_wait: 60s, repeat_interval: 2m}\n";
    let alerting = robots.stage.start(config).await;
    let each = async |second: i64| {
        robots.stage.samples(&[("pg_sessions_waiting_for_lock{instance=\"db1\",job=\"postgres\"}", 5.0)]).await;
        if second % 5 == 0 {
            let blocked_by = |pid: i64| (pid > 10).then_some("[10]");
            for pid in 10..16 {
                let state = if pid == 10 { "idle in transaction" } else { "active" };
                let cells = [("pid", pid.into()), ("state", state.into()), ("blocked_by", blocked_by(pid).into())];
                robots.stage.row(Table::Activity, "db1", &cells).await;
            }
        }
    };
    robots.stage.play(&alerting, 30, each).await;
    let collected = async || {
        let rows =
            robots.stage.sql("SELECT detail FROM alert_events WHERE event = 'evidence' AND rule = 'LockPileup'").await;
        (!rows.is_empty()).then_some(())
    };
    robots.stage.eventually("the evidence", collected).await;
    assert!(robots.feishu.got().is_empty(), "the group waits");
    robots.stage.play(&alerting, 60, each).await;
    let told = |card: &str| card.contains("可能原因：") && card.contains("建议：");
    let card = robots.feishu.got()[0].json()["card"].to_string();
    assert!(told(&card), "{card}");
    drop(alerting);
    let alerting = robots.stage.start(config).await;
    robots.stage.play(&alerting, 150, each).await;
    let got = robots.feishu.got();
    assert_eq!(got.len(), 2, "told again after the repeat interval");
    assert!(told(&got[1].json()["card"].to_string()), "a restart doesn't forget the verdict: {:?}", got[1]);
}
