//! `tidewatch why ALERT`: asks a running server why who was, or was not, told, and writes it for people.

use anyhow::{Context, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::api::time::format_ms;

/// Asks, and gives the text to print.
pub async fn ask(server: &str, alert: &str) -> anyhow::Result<String> {
    let name = utf8_percent_encode(alert, NON_ALPHANUMERIC);
    let url = format!("{}/api/v1/alert/{name}/why", server.trim_end_matches('/'));
    let response =
        reqwest::get(&url).await.with_context(|| format!("no answer from {url}; does tidewatch run there?"))?;
    let text = response.text().await.with_context(|| format!("the answer of {url} ended early"))?;
    let answer: Value = serde_json::from_str(&text).with_context(|| format!("{url} answered no JSON"))?;
    if answer["status"] != "success" {
        bail!("{}", answer["error"].as_str().unwrap_or(&text));
    }
    Ok(written(&answer["data"]))
}

fn written(data: &Value) -> String {
    let word = |of: &Value| of.as_str().unwrap_or("").to_string();
    let mut out = format!("{} {} ({})\n", word(&data["rule"]), word(&data["alert"]), word(&data["state"]));
    for sentence in word(&data["answer"]).split("; ") {
        out.push_str(&format!("  {sentence}\n"));
    }
    out.push('\n');
    for step in data["steps"].as_array().into_iter().flatten() {
        let at = step["ts_ms"].as_i64().map(format_ms).unwrap_or_default();
        let receiver = step["receiver"].as_str().map(|r| format!(" -> {r}")).unwrap_or_default();
        let line = format!(
            "{at}  {:<14} {:<9} {}{receiver}",
            word(&step["event"]),
            word(&step["level"]),
            word(&step["reason"])
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steps_are_lines() {
        let data = json!({
            "alert": "ab-1", "rule": "LockPileup", "state": "firing", "answer": "dba: told by webhook; app: not told",
            "steps": [{"ts_ms": 0, "event": "sent", "level": "warning", "reason": "first notification", "receiver": "dba"}],
        });
        let expected = "LockPileup ab-1 (firing)\n  dba: told by webhook\n  app: not told\n\n\
            1970-01-01T00:00:00.000Z  sent           warning   first notification -> dba\n";
        assert_eq!(written(&data), expected);
    }
}
