//! `tidewatch notify test` as an operator runs it: the program, a config, peers that take and refuse.

use std::process::{Command, Output};

use axum::{Router, body::Bytes, routing::post};

/// A peer whose paths answer as chat robots and webhooks do; gives its address.
async fn peer() -> String {
    let body = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let router = Router::new()
        .route("/hook", post(move |b: Bytes| async move { assert!(body(b).contains("TEST: a test message")) }))
        .route("/slack", post(|| async { "ok" }))
        .route("/wecom", post(|| async { r#"{"errcode":93000,"errmsg":"invalid webhook url"}"# }))
        .route("/2010-04-01/Accounts/AC1/Messages.json", post(|| async { r#"{"sid":"SM7","status":"queued"}"# }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn notify(receiver: &str, config: &std::path::Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    command.args(["notify", "test", receiver, "--config"]).arg(config).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_channel_says_what_came_of_it_and_a_failure_is_the_exit_code() {
    let url = peer().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("slack", format!("{url}/slack"));
    write("wecom", format!("{url}/wecom"));
    write("token", "hush".into());
    write(
        "c.yaml",
        format!(
            "alerting:\n  receivers:\n  - name: good\n    webhooks: [{{url: '{url}/hook'}}]\n    slack: [{{url_file: slack}}]\n    \
             sms: [{{to: ['+8613800000000'], providers: [{{twilio: {{account_sid: AC1, auth_token_file: token, from: '+15005550006', endpoint: '{url}'}}}}]}}]\n  \
             - name: mixed\n    wecom: [{{url_file: wecom}}]\n    slack: [{{url_file: slack}}]\n  route: {{receiver: good}}\n"
        ),
    );
    let config = folder.path().join("c.yaml");
    for (receiver, success, lines, error) in [
        (
            "good",
            true,
            &[
                "webhook 0: sent: 200",
                "sms 1: twilio taken: +86138****0000 taken sid SM7 queued",
                "sms 1: sent: +86138****0000 twilio: sid SM7 queued",
                "slack 2: sent: 200 ok",
            ][..],
            "",
        ),
        (
            "mixed",
            false,
            &[r#"wecom 0: refused: 200 {"errcode":93000,"errmsg":"invalid webhook url"}"#, "slack 1: sent: 200 ok"],
            "1 of 2 channels of \"mixed\" did not take the message",
        ),
        ("nobody", false, &[], "\"nobody\" is not a receiver; there are: good, mixed"),
    ] {
        let config = config.clone();
        let output = tokio::task::spawn_blocking(move || notify(receiver, &config)).await.unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(out.lines().collect::<Vec<_>>(), lines, "{receiver}: {err}");
        assert_eq!(output.status.success(), success, "{receiver}: {err}");
        assert!(err.contains(error) && !err.contains("hush"), "{receiver}: {err}");
    }
}
