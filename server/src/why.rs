//! `tidewatch why ALERT`: asks a running server why somebody was, or was not, told of an alert.

use anyhow::{Context, bail};
use serde_json::Value;

/// The sentences, then the steps behind them; `alert` is an id or a rule's name, of which the latest alert is meant.
pub async fn why(server: &str, alert: &str, chinese: bool) -> anyhow::Result<String> {
    let server = server.trim_end_matches('/');
    let encoded = percent_encoding::utf8_percent_encode(alert, percent_encoding::NON_ALPHANUMERIC);
    let answer = get(&format!("{server}/api/v1/alert/{encoded}/why")).await?;
    let (rule, id) = (text(&answer["rule"]), text(&answer["alert"]));
    let mut out = format!("{rule} {id}\n{}\n", text(&answer[if chinese { "answer_zh" } else { "answer" }]));
    for step in answer["steps"].as_array().into_iter().flatten() {
        let at = crate::api::time::format_ms(step["ts_ms"].as_i64().unwrap_or(0));
        let line = format!(
            "{at}  {:<14} {:<9} {}  {}",
            text(&step["event"]),
            text(&step["level"]),
            text(&step["receiver"]),
            text(&step["reason"])
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    Ok(out)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

async fn get(url: &str) -> anyhow::Result<Value> {
    let response = reqwest::get(url).await;
    let response = response.with_context(|| format!("no answer from {url}; does tidewatch run there?"))?;
    let body = response.text().await.with_context(|| format!("the answer of {url} ended early"))?;
    let mut answer: Value = serde_json::from_str(&body).with_context(|| format!("{url} answered no JSON"))?;
    if answer["status"] != "success" {
        bail!("{}", answer["error"].as_str().unwrap_or(&body));
    }
    Ok(answer["data"].take())
}
