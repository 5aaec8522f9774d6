//! Why someone was, or was not, told of an alert: the ledger's steps in plain sentences, one a receiver. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::message::rfc3339;

/// What a receiver was told last, or what kept it from being told.
#[derive(Clone, Debug, PartialEq)]
struct Fate {
    told: bool,
    at_ms: i64,
    en: String,
    zh: String,
}

/// Answer for an alert as `/api/v1/alert/<id>` gives it, and whether anybody is told at all.
pub fn answer(alert: &Value, anybody: bool) -> Value {
    let empty = Vec::new();
    let timeline = alert["timeline"].as_array().unwrap_or(&empty);
    let mut fates: BTreeMap<&str, Fate> = BTreeMap::new();
    for step in timeline {
        let Some(receiver) = step["receiver"].as_str().filter(|r| !r.is_empty()) else { continue };
        if let Some(fate) = fate(step, fates.get(receiver)) {
            fates.insert(receiver, fate);
        }
    }
    let name = alert["rule"].as_str().unwrap_or("");
    let (mut en, mut zh) = (Vec::new(), Vec::new());
    for (receiver, fate) in &fates {
        en.push(format!("{receiver}: {}", fate.en));
        zh.push(format!("{receiver}：{}", fate.zh));
    }
    if fates.is_empty() {
        let (e, z) = nobody(alert["state"].as_str().unwrap_or(""), timeline, anybody);
        en.push(e);
        zh.push(z);
    }
    if let Some(by) = alert["acknowledged"]["by"].as_str() {
        let at = time(alert["acknowledged"]["at_ms"].as_i64().unwrap_or(0));
        en.push(format!("acknowledged by {by} at {at}: not repeated until it gets worse or ends"));
        zh.push(format!("{by} 已于 {at} 确认：在级别升高或恢复之前不再重复通知"));
    }
    let receivers: Vec<Value> = fates
        .iter()
        .map(|(receiver, f)| {
            json!({ "receiver": receiver, "told": f.told, "reason": f.en, "reason_zh": f.zh, "at_ms": f.at_ms })
        })
        .collect();
    json!({
        "alert": alert["id"], "rule": name, "state": alert["state"],
        "answer": en.join("; "), "answer_zh": zh.join("；"), "receivers": receivers, "steps": timeline,
    })
}

fn time(ms: i64) -> String {
    rfc3339(ms)
}

/// What a step means for its receiver; `None`: nothing new.
fn fate(step: &Value, before: Option<&Fate>) -> Option<Fate> {
    let (at_ms, reason) = (step["ts_ms"].as_i64().unwrap_or(0), step["reason"].as_str().unwrap_or(""));
    let at = time(at_ms);
    let channel = step["detail"]["channel"].as_str().unwrap_or("?");
    let receipt = step["detail"]["answer"].as_str().unwrap_or("");
    let was_told = before.is_some_and(|b| b.told);
    let not_told = |en: String, zh: String| Some(Fate { told: was_told, at_ms, en, zh });
    let (told_en, told_zh) = match before {
        Some(b) if b.told => (format!("; before that: {}", b.en), format!("；此前：{}", b.zh)),
        _ => Default::default(),
    };
    match step["event"].as_str().unwrap_or("") {
        "sent" => Some(Fate {
            told: true,
            at_ms,
            en: format!("told by {channel} at {at} ({reason}; receipt: {receipt})"),
            zh: format!("已于 {at} 通过 {channel} 通知（{reason}；回执：{receipt}）"),
        }),
        "digested" => Some(Fate {
            told: true,
            at_ms,
            en: format!("told at {at} as part of a digest ({reason})"),
            zh: format!("已于 {at} 合并在摘要中通知（{reason}）"),
        }),
        "silenced" => not_told(
            format!("not told at {at}: {reason}{told_en}"),
            format!("{at} 未通知：被静默规则 {} 屏蔽{told_zh}", reason.trim_start_matches("silenced by ")),
        ),
        "inhibited" => not_told(
            format!("not told at {at}: {reason}, whose alert makes it needless{told_en}"),
            format!("{at} 未通知：被告警 {} 抑制{told_zh}", reason.trim_start_matches("inhibited by ")),
        ),
        "retry" => not_told(
            format!("not told yet: {channel} answered {receipt:?} at {at}; it is tried again{told_en}"),
            format!("尚未送达：{channel} 在 {at} 返回 {receipt:?}，将重试{told_zh}"),
        ),
        "failed" => not_told(
            format!("not told: {channel} refused at {at} with {receipt:?}{told_en}"),
            format!("未通知：{channel} 在 {at} 拒绝，原因 {receipt:?}{told_zh}"),
        ),
        // later looks at the group say more
        "grouped" if before.is_none() => not_told(
            format!("in group {reason} since {at}; waits for the group's turn"),
            format!("自 {at} 起在分组 {reason} 中，等待该组的发送时机"),
        ),
        _ => None,
    }
}

/// Why there is no receiver in the ledger.
fn nobody(state: &str, timeline: &[Value], anybody: bool) -> (String, String) {
    let fired = timeline.iter().any(|s| s["event"] == "firing");
    if !fired && state == "pending" {
        let en = "nobody was told: it is pending, its condition has not held for as long as the rule asks";
        return (en.into(), "未通知任何人：处于等待状态，条件持续时间尚未达到规则要求".into());
    }
    if !fired {
        let en = "nobody was told: it never fired; its condition ended before it held for as long as the rule asks";
        return (en.into(), "未通知任何人：从未触发，条件在达到规则要求的持续时间之前已消失".into());
    }
    if !anybody {
        let en = "nobody was told: no receivers are configured (alerting.receivers)";
        return (en.into(), "未通知任何人：没有配置接收人（alerting.receivers）".into());
    }
    ("nobody was told: no route leads to a receiver".into(), "未通知任何人：没有路由指向接收人".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(event: &str, reason: &str, receiver: Option<&str>, answer: &str) -> Value {
        json!({ "ts_ms": 1_800_000_000_000i64, "event": event, "reason": reason, "receiver": receiver,
                "detail": { "channel": "webhook", "answer": answer } })
    }

    #[test]
    fn each_fate_has_its_sentence() {
        let dba = Some("dba");
        for (steps, anybody, told, expected) in [
            (vec![step("firing", "held_long_enough", None, "")], false, None, "no receivers are configured"),
            (vec![step("firing", "held_long_enough", None, "")], true, None, "no route"),
            (vec![step("pending", "condition_holds", None, "")], true, None, "never fired"),
            (vec![step("grouped", "{}:{}", dba, "")], true, Some(false), "waits for the group's turn"),
            (
                vec![step("grouped", "{}:{}", dba, ""), step("silenced", "silenced by s1", dba, "")],
                true,
                Some(false),
                "silenced by s1",
            ),
            (vec![step("inhibited", "inhibited by 00ff", dba, "")], true, Some(false), "inhibited by 00ff"),
            (
                vec![step("retry", "again_later", dba, "500"), step("sent", "first notification", dba, "200")],
                true,
                Some(true),
                "told by webhook",
            ),
            (
                vec![step("sent", "first notification", dba, "200"), step("silenced", "silenced by s1", dba, "")],
                true,
                Some(true),
                "before that: told by webhook",
            ),
            (vec![step("failed", "given_up", dba, "404")], true, Some(false), "refused"),
        ] {
            let alert = json!({ "id": "a", "rule": "R", "state": "firing", "timeline": steps });
            let answer = answer(&alert, anybody);
            assert!(answer["answer"].as_str().is_some_and(|a| a.contains(expected)), "{expected}: {answer:#}");
            assert!(
                answer["answer_zh"]
                    .as_str()
                    .is_some_and(|a| a.contains("通知") || a.contains("发送") || a.contains("送达"))
            );
            assert_eq!(answer["receivers"][0]["told"].as_bool(), told);
        }
    }
}
