//! SMS over the whole road to peers that check signatures as the providers do: fall-over, partial success, throttling,
//! errors in the body of a 200, restarts; the ledger names every attempt.

use super::provider::{Provider, check_aliyun, check_tencent, check_twilio, reply};
use super::stage::Stage;

const ALIYUN_OK: &str = r#"{"Code":"OK","Message":"OK","BizId":"9006195","RequestId":"R"}"#;
const TWILIO_OK: &str = r#"{"sid":"SM42","status":"queued","error_code":null,"error_message":null}"#;

fn tencent(pairs: &[(&str, &str)]) -> String {
    let set: Vec<_> = pairs
        .iter()
        .map(|(number, code)| serde_json::json!({"PhoneNumber": number, "Code": code, "Message": "m", "SerialNo": "5000:1", "Fee": 1}))
        .collect();
    serde_json::json!({"Response": {"SendStatusSet": set, "RequestId": "R"}}).to_string()
}

/// A stage with the three providers, and one rule that fires.
struct Sms {
    stage: Stage,
    aliyun: Provider,
    tencent: Provider,
    twilio: Provider,
}

impl Sms {
    async fn new() -> Sms {
        let stage = Stage::new().await;
        for (name, secret) in [("a", "aliyun secret"), ("t", "tencent secret"), ("w", "twilio secret")] {
            stage.write(name, &format!("{secret}\n"));
        }
        stage.write(
            "rules.yml",
            "groups:\n- name: g\n  interval: 5s\n  rules:\n  - alert: Hot\n    expr: t > 30\n    labels: {severity: critical}\n    \
             annotations: {summary: 'too hot', summary_zh: '【机房】温度 31 度，超过上限 https://x.example/y，请立即检查空调与机柜风扇是否运转正常谢谢'}\n",
        );
        Sms {
            stage,
            aliyun: Provider::start(check_aliyun, reply(200, ALIYUN_OK)).await,
            tencent: Provider::start(check_tencent, reply(500, "")).await,
            twilio: Provider::start(check_twilio, reply(201, TWILIO_OK)).await,
        }
    }

    fn config(&self, numbers: &str) -> String {
        format!(
            "builtin_rules: false\nrules: [rules.yml]\nexternal_url: 'http://watch'\n\
             receivers: [{{name: oncall, sms: [{{to: [{numbers}], language: zh, time_zone: '+08:00', providers: [\
             {{aliyun: {{access_key_id: LTAI-test, access_key_secret_file: a, sign_name: 观潮, template_code: SMS_1, endpoint: '{}', \
             variables: {{level: level, what: summary, where: {{field: instance, chars_max: 6}}, id: id}}}}}},\
             {{tencent: {{secret_id: AKID-test, secret_key_file: t, sdk_app_id: '1400', template_id: '77', sign_name: 观潮, endpoint: '{}', \
             variables: [state, summary, time]}}}},\
             {{twilio: {{account_sid: AC1, auth_token_file: w, from: '+15005550006', endpoint: '{}'}}}}]}}]}}]\n",
            self.aliyun.url, self.tencent.url, self.twilio.url
        )
    }

    async fn play(&self, alerting: &alerting::Alerting, seconds: i64) {
        self.stage
            .play(alerting, seconds, async |_| self.stage.samples(&[("t{instance=\"db-north-1\"}", 31.0)]).await)
            .await;
    }

    /// Attempts, receipts and failures of the ledger, in order, as `event reason`.
    async fn story(&self) -> Vec<String> {
        let sql = "SELECT event, reason FROM alert_events WHERE event IN ('attempt', 'sent', 'retry', 'failed') \
                   ORDER BY ts, CASE event WHEN 'attempt' THEN 0 ELSE 1 END, reason";
        let word = |v: &serde_json::Value| v.as_str().unwrap_or("").to_string();
        self.stage.sql(sql).await.iter().map(|r| format!("{} {}", word(&r["event"]), word(&r["reason"]))).collect()
    }

    fn counts(&self) -> (usize, usize, usize) {
        (self.aliyun.got().len(), self.tencent.got().len(), self.twilio.got().len())
    }
}

const ONE: &str = "'+8613800000000'";
const TWO: &str = "'+8613800000000', '+85251234567'";

#[tokio::test(flavor = "multi_thread")]
async fn the_template_is_filled_and_the_providers_id_is_the_receipt() {
    let sms = Sms::new().await;
    let alerting = sms.stage.start(&sms.config(TWO)).await;
    sms.play(&alerting, 10).await;
    let got = sms.aliyun.got();
    assert_eq!(sms.counts(), (2, 0, 0), "one request a number, nobody else is asked");
    assert_eq!((got[0].header("x-acs-action"), got[0].header("x-acs-version")), ("SendSms", "2017-05-25"));
    let mut numbers: Vec<String> = got.iter().map(|r| r.parameter("PhoneNumbers")).collect();
    numbers.sort();
    assert_eq!(numbers, ["13800000000", "85251234567"]);
    assert_eq!((got[0].parameter("SignName"), got[0].parameter("TemplateCode")), ("观潮".into(), "SMS_1".into()));
    let variables: serde_json::Value = serde_json::from_str(&got[0].parameter("TemplateParam")).unwrap();
    assert_eq!((&variables["level"], &variables["where"]), (&"严重".into(), &"db-nor".into()));
    assert_eq!(variables["what"], "机房温度 31 度，超过上限 ，请立即检查空调与机柜风扇是否运转正常谢");
    assert_ne!(got[0].header("x-acs-signature-nonce"), got[1].header("x-acs-signature-nonce"));
    assert_eq!(sms.story().await, ["attempt aliyun: taken", "sent first notification"]);
    let sent = sms.stage.sql("SELECT detail FROM alert_events WHERE event = 'sent'").await;
    let detail = sent[0]["detail"].as_str().unwrap();
    assert!(detail.contains("+852****4567 aliyun: BizId 9006195") && !detail.contains("13800000000"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_200_with_an_error_is_no_success_and_the_next_provider_is_asked_at_once() {
    let sms = Sms::new().await;
    sms.aliyun.then(reply(200, r#"{"Code":"isv.AMOUNT_NOT_ENOUGH","Message":"m"}"#));
    sms.tencent.then(reply(200, r#"{"Response":{"Error":{"Code":"AuthFailure.SecretIdNotFound","Message":"m"}}}"#));
    let alerting = sms.stage.start(&sms.config(ONE)).await;
    sms.play(&alerting, 10).await;
    assert_eq!(sms.counts(), (1, 1, 1));
    let tencent = &sms.tencent.got()[0];
    assert_eq!((tencent.header("x-tc-action"), tencent.header("x-tc-version")), ("SendSms", "2021-01-11"));
    let body = tencent.json();
    assert_eq!((&body["PhoneNumberSet"][0], &body["SmsSdkAppId"]), (&"+8613800000000".into(), &"1400".into()));
    assert_eq!(body["TemplateParamSet"][0], "告警");
    let what = body["TemplateParamSet"][1].as_str().unwrap();
    assert_eq!(what.chars().count(), 12, "{what}");
    let twilio = &sms.twilio.got()[0];
    assert_eq!((twilio.parameter("To"), twilio.parameter("From")), ("+8613800000000".into(), "+15005550006".into()));
    let text = twilio.parameter("Body");
    assert!(text.starts_with("[告警 严重] Hot db-north-1: ") && text.contains("http://watch/"), "{text}");
    let story =
        ["attempt aliyun: refused", "attempt tencent: refused", "attempt twilio: taken", "sent first notification"];
    assert_eq!(sms.story().await, story);
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_everywhere_is_tried_again_when_the_soonest_allows() {
    let sms = Sms::new().await;
    sms.aliyun.then(reply(200, r#"{"Code":"isv.BUSINESS_LIMIT_CONTROL","Message":"触发分钟级流控Permits:1"}"#));
    sms.tencent.then(reply(200, tencent(&[("+8613800000000", "LimitExceeded.PhoneNumberDailyLimit")])));
    sms.twilio.then((429, vec![("retry-after", "40".into())], r#"{"code":20429,"message":"m","status":429}"#.into()));
    let alerting = sms.stage.start(&sms.config(ONE)).await;
    sms.play(&alerting, 10).await;
    assert_eq!(sms.counts(), (1, 1, 1));
    sms.play(&alerting, 25).await;
    assert_eq!(sms.counts(), (1, 1, 1), "twilio asked for forty seconds, the others for more");
    sms.play(&alerting, 25).await;
    assert_eq!(sms.counts(), (2, 1, 1), "then the first takes it");
    let story = sms.story().await;
    assert_eq!(
        story,
        [
            "attempt aliyun: again",
            "attempt tencent: again",
            "attempt twilio: again",
            "retry again_later",
            "attempt aliyun: taken",
            "sent first notification"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_only_the_number_without_the_message_is_tried() {
    let sms = Sms::new().await;
    // one number taken, the other throttled by all
    sms.aliyun.then(reply(200, ALIYUN_OK)).then((503, vec![("retry-after", "30".into())], "busy".into()));
    sms.tencent.then(reply(502, ""));
    sms.twilio.then(reply(503, ""));
    let alerting = sms.stage.start(&sms.config(TWO)).await;
    sms.play(&alerting, 10).await;
    let without: Vec<String> = sms.twilio.got().iter().map(|r| r.parameter("To")).collect();
    assert_eq!((sms.counts(), without.len()), ((2, 1, 1), 1));
    drop(alerting);
    let alerting = sms.stage.start(&sms.config(TWO)).await;
    sms.play(&alerting, 10).await;
    assert_eq!(sms.counts(), (2, 1, 1), "the pause goes on after the restart");
    sms.play(&alerting, 30).await;
    assert_eq!(sms.counts(), (3, 1, 1), "one more request, for one number");
    let last = sms.aliyun.got()[2].parameter("PhoneNumbers");
    assert!(without[0].ends_with(&last), "{last} is the one of {without:?}");
    assert_eq!(alerting.messages_waiting(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_only_the_failed_number_goes_on() {
    let sms = Sms::new().await;
    let (a, b) = ("+8613800000000", "+8613900000000");
    for _ in 0..2 {
        sms.aliyun.then(reply(200, r#"{"Code":"isv.SMS_SIGNATURE_ILLEGAL","Message":"m"}"#));
    }
    sms.tencent.then(reply(200, tencent(&[(a, "Ok"), (b, "FailedOperation.PhoneNumberInBlacklist")])));
    let alerting = sms.stage.start(&sms.config(&format!("'{a}', '{b}'"))).await;
    sms.play(&alerting, 10).await;
    assert_eq!(sms.counts(), (2, 1, 1));
    assert_eq!(sms.twilio.got()[0].parameter("To"), b);
    assert_eq!(sms.story().await[1], "attempt tencent: refused, taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_found_by_the_peer() {
    let sms = Sms::new().await;
    sms.stage.write("a", "not the secret");
    let alerting = sms.stage.start(&sms.config(ONE)).await;
    sms.play(&alerting, 10).await;
    let rows = sms.stage.sql("SELECT detail FROM alert_events WHERE event = 'attempt' AND reason LIKE 'aliyun%'").await;
    assert!(rows[0]["detail"].as_str().unwrap().contains("418"), "{rows:?}");
}
