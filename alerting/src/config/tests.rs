//! Configs as a table: text, what is wrong with it (empty: nothing).

use super::*;

/// Checks below a folder with the secrets that the texts name.
fn check_with_secrets(text: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, secret) in
        [("url", "https://robot.example/send?key=hush"), ("key", "hush"), ("ftp", "ftp://hush"), ("empty", "\n")]
    {
        std::fs::write(folder.path().join(name), secret).expect("written");
    }
    let raw: Config = serde_saphyr::from_str(text).map_err(|e| e.without_snippet().to_string())?;
    raw.check(folder.path()).map_err(|e| e.to_string())
}

fn check(text: &str) -> Result<Settings, String> {
    let raw: Config = serde_saphyr::from_str(text).map_err(|e| e.without_snippet().to_string())?;
    raw.check(Path::new("/nonexistent")).map_err(|e| e.to_string())
}

const ONE: &str = "receivers: [{name: a, webhooks: [{url: 'http://localhost:1/x'}]}]\n";
const MAIL: &str =
    "receivers: [{name: m, mails: [{to: [a@example.org], from: b@example.org, smarthost: 'mx.example.org:587'";

#[test]
fn what_is_accepted_and_what_is_refused() {
    for (text, expected) in [
        ("rules: []", ""),
        (ONE, ""),
        (&*format!("{ONE}route: {{receiver: a, routes: [{{matchers: ['team=\"db\"'], group_by: ['...']}}]}}"), ""),
        (&format!("{MAIL}}}]}}]"), ""),
        (&format!("{MAIL}, tls: tls, language: zh}}]}}]"), ""),
        ("ruls: []", "unknown field `ruls`"),
        ("evaluation_interval: 0s", "evaluation_interval: must be longer than 0"),
        ("evaluation_interval: soon", "evaluation_interval: not a valid duration string"),
        ("external_url: ftp://x", "external_url: \"ftp://x\" must begin with http:// or https://"),
        ("receivers: [{name: a, webhooks: [{url: x}]}]", "receivers[0].webhooks[0].url: \"x\" must begin with http"),
        ("receivers: [{name: a}, {name: a}]", "receivers[1].name: \"a\" must be set and unique"),
        ("receivers: [{name: a}, {name: b}]", "route: must be set where there are several receivers"),
        (&format!("{ONE}route: {{receiver: b}}"), "route.receiver: \"b\" is not a receiver; there are: a"),
        (&format!("{ONE}route: {{routes: []}}"), "route.receiver: must be set at the root"),
        (&format!("{ONE}route: {{receiver: a, matchers: [x=y]}}"), "route.matchers: the root takes every alert"),
        (
            &format!("{ONE}route: {{receiver: a, routes: [{{matchers: [x]}}]}}"),
            "route.routes[0].matchers: matcher \"x\"",
        ),
        (&format!("{ONE}route: {{receiver: a, repeat_interval: 0s}}"), "must be longer than 0"),
        (&format!("{MAIL}, tls: yes please}}]}}]"), "allowed are none, starttls, tls"),
        (&format!("{MAIL}, language: fr}}]}}]"), "allowed are en, zh"),
        (&format!("{MAIL}, username: u}}]}}]"), "username and password_file go together"),
        (&format!("{MAIL}, ca_file: none.pem}}]}}]"), "receivers[0].mails[0].ca_file: none.pem: "),
        (
            "receivers: [{name: m, mails: [{to: [nobody], from: b@example.org, smarthost: 'x:25'}]}]",
            "mails[0].to: \"nobody\" is not a mail address",
        ),
        (
            "receivers: [{name: m, mails: [{to: [a@example.org], from: b@example.org, smarthost: x}]}]",
            "must look like host:port",
        ),
        ("inhibit_rules: [{source_matchers: [a], target_matchers: []}]", "inhibit_rules[0].source_matchers: "),
    ] {
        let found = check(text).err().unwrap_or_default();
        assert_eq!(found.is_empty(), expected.is_empty(), "{text}\n{found}");
        assert!(found.contains(expected), "{text}\nfound: {found}\nexpected: {expected}");
    }
}

#[test]
fn routes_inherit() {
    let text = format!(
        "{ONE}route: {{receiver: a, group_by: [x], group_wait: 5s, routes: [{{matchers: ['t=\"db\"'], group_interval: 2m}}]}}"
    );
    let settings = check(&text).expect("a good config");
    let root = settings.route.expect("a route");
    let child = &root.routes[0];
    assert_eq!((child.group_wait_ms, child.group_interval_ms, child.repeat_interval_ms), (5_000, 120_000, 14_400_000));
    assert_eq!(child.group_by, Some(BTreeSet::from(["x".to_string()])));
    assert_eq!((root.key.as_str(), child.key.as_str()), ("{}", "{}/{t=\"db\"}"));
}

const ALIYUN: &str = "access_key_id: i, access_key_secret_file: key, sign_name: s, template_code: c";
const TENCENT: &str = "secret_id: i, secret_key_file: key, sdk_app_id: '1', template_id: '2'";
const TWILIO: &str = "account_sid: AC1, auth_token_file: key";

#[test]
fn sms_and_robots_are_checked_and_tell_no_secret() {
    let sms = |provider: &str, rest: &str| {
        format!("receivers: [{{name: a, sms: [{{to: ['+8613800000000'], providers: [{{{provider}: {{{rest}}}}}]}}]}}]")
    };
    let to = |to: &str| {
        format!("receivers: [{{name: a, sms: [{{to: [{to}], providers: [{{twilio: {{{TWILIO}, from: x}}}}]}}]}}]")
    };
    let robot = |kind: &str, rest: &str| format!("receivers: [{{name: a, {kind}: [{{{rest}}}]}}]");
    for (text, expected) in [
        (sms("aliyun", &format!("{ALIYUN}, variables: {{a: level, b: {{field: 'label:job', chars_max: 9}}}}")), ""),
        (sms("tencent", &format!("{TENCENT}, sign_name: s, variables: [summary, id]")), ""),
        (sms("twilio", &format!("{TWILIO}, from: '+1', text: '{{level}} {{link}}', chars_max: 70")), ""),
        (sms("twilio", &format!("{TWILIO}, messaging_service_sid: MG1, api_key_sid: SK1")), ""),
        (robot("dingtalk", "url_file: url, secret_file: key, at: ['138']"), ""),
        (robot("wecom", "url_file: url, at: [li.si]"), ""),
        (robot("feishu", "url_file: url, secret_file: key, language: zh, time_zone: '+08:00'"), ""),
        (robot("slack", "url_file: url, time_zone: '-03:30'"), ""),
        (sms("aliyun", ALIYUN).replace("sign_name: s", "sign_name: ''"), "aliyun.sign_name: must not be empty"),
        (sms("aliyun", &format!("{ALIYUN}, variables: {{a: link}}")), "variables.a: variables may not hold links"),
        (
            sms("aliyun", &format!("{ALIYUN}, variables: {{a: colour}}")),
            "\"colour\" is no field; allowed are state, level",
        ),
        (
            sms("aliyun", &format!("{ALIYUN}, variables: {{a: {{field: level, chars_max: 0}}}}")),
            "chars_max: allowed are 1 to 100",
        ),
        (
            sms("aliyun", &format!("{ALIYUN}, endpoint: 'http://x/y'")),
            "aliyun.endpoint: \"http://x/y\" must look like https://host",
        ),
        (sms("tencent", &TENCENT.replace(": key", ": none")), "tencent.secret_key_file: none: "),
        (sms("tencent", &TENCENT.replace(": key", ": empty")), "secret_key_file: empty: the file is empty"),
        (sms("twilio", TWILIO), "one of from and messaging_service_sid must be set"),
        (sms("twilio", &format!("{TWILIO}, from: x, text: '{{what}}'")), "twilio.text: \"what\" is no field"),
        (sms("twilio", &format!("{TWILIO}, from: x, chars_max: 9999")), "chars_max: allowed are 1 to 1600"),
        (sms("pigeon", "a: b"), "pigeon"),
        (to("'+8613800000000'").replace("providers", "timeout: 2m, providers"), "sms[0].timeout: \"2m\" is too long"),
        (to(""), "sms[0].to: 1 to 100 numbers are allowed"),
        (to("'13800000000'"), "\"13800000000\" must be +, country code and number"),
        (robot("slack", "url_file: url, secret_file: key"), "slack[0].secret_file: slack has no signatures"),
        (robot("feishu", "url_file: url, at: [x]"), "feishu[0].at: feishu mentions nobody"),
        (robot("wecom", "url_file: url, at: ['a>b']"), "wecom[0].at: allowed are at most 100"),
        (robot("slack", "url_file: ftp"), "slack[0].url_file: must hold one address"),
        (robot("slack", "url: 'https://x'"), "unknown field `url`"),
        (
            robot("slack", "url_file: url, time_zone: '8'"),
            "slack[0].time_zone: \"8\"; allowed are UTC and texts like +08:00",
        ),
        (robot("slack", "url_file: url, language: fr"), "slack[0].language: \"fr\"; allowed are en, zh"),
    ] {
        let checked = check_with_secrets(&text);
        assert!(!format!("{checked:?}").contains("hush"), "{checked:?}");
        let found = checked.err().unwrap_or_default();
        assert_eq!(found.is_empty(), expected.is_empty(), "{text}\n{found}");
        assert!(found.contains(expected), "{text}\nfound: {found}\nexpected: {expected}");
    }
}

#[test]
fn providers_of_a_kind_are_told_apart() {
    let providers = format!("[{{aliyun: {{{ALIYUN}}}}}, {{twilio: {{{TWILIO}, from: x}}}}, {{aliyun: {{{ALIYUN}}}}}]");
    let text = format!(
        "receivers: [{{name: a, sms: [{{to: ['+8613800000000', '+8613800000000'], providers: {providers}}}]}}]"
    );
    let settings = check_with_secrets(&text).expect("a good config");
    let Channel::Sms(sms) = &settings.receivers["a"].channels[0] else { panic!("sms") };
    assert_eq!(sms.providers.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["aliyun", "twilio", "aliyun-2"]);
    assert_eq!(sms.to.len(), 1, "a number named twice gets one message");
}

#[test]
fn the_receivers_in_the_documentation_are_correct() {
    let document = include_str!("../../../docs/alerting.md");
    let section = document.split("## Receivers\n").nth(1).expect("the section");
    let yaml = section.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("its example");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("secrets")).expect("made");
    for file in yaml.split([' ', ',', '}', '\n']).filter(|word| word.starts_with("secrets/")) {
        std::fs::write(folder.path().join(file), "https://robot.example/hook").expect("written");
    }
    let raw: Config = serde_saphyr::from_str(yaml).unwrap_or_else(|e| panic!("{}", e.without_snippet()));
    let settings = raw.check(folder.path()).unwrap_or_else(|e| panic!("{e}"));
    let kinds: BTreeSet<&str> = settings.receivers.values().flat_map(|r| &r.channels).map(Channel::kind).collect();
    assert_eq!(kinds.len(), 7, "an example of every channel: {kinds:?}");
}
