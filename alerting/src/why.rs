//! Why somebody was, or was not, told of an alert: the ledger's rows of it in plain sentences, English and Chinese. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::message::rfc3339;

/// A row of the ledger.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Step {
    /// Milliseconds.
    pub ts_ms: i64,
    /// What happened.
    pub event: String,
    /// The level then.
    pub level: String,
    /// Why, as a word or key.
    pub reason: String,
    /// To whom; empty: it is not about one.
    pub receiver: String,
    /// What else is known.
    pub detail: Value,
}

/// What one receiver knows, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// Its name.
    pub receiver: String,
    /// Whether a message about the alert was taken by it.
    pub told: bool,
    /// A sentence.
    pub reason: String,
    /// The same in Chinese.
    pub reason_zh: String,
    /// When that was decided, milliseconds.
    pub at_ms: Option<i64>,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The alert's id.
    pub alert: String,
    /// Its rule.
    pub rule: String,
    /// In a few sentences.
    pub answer: String,
    /// The same in Chinese.
    pub answer_zh: String,
    /// Receiver by receiver.
    pub receivers: Vec<Told>,
    /// The rows behind it, without those of evidence.
    pub steps: Vec<Step>,
}

/// Explains the rows of the alert `id` of rule `name`, oldest first; `receivers` are those of the config, `routed` whether there is a route at all.
pub fn explain(id: &str, name: &str, steps: Vec<Step>, receivers: &[String], routed: bool) -> Answer {
    let mut by_receiver: BTreeMap<&str, Vec<&Step>> = receivers.iter().map(|r| (r.as_str(), Vec::new())).collect();
    for step in steps.iter().filter(|s| !s.receiver.is_empty()) {
        by_receiver.entry(&step.receiver).or_default().push(step);
    }
    let told: Vec<Told> = by_receiver.into_iter().map(|(receiver, steps)| receiver_told(receiver, &steps)).collect();
    let (state, state_zh) = state(name, &steps);
    let fired = steps.iter().any(|s| s.event == "firing");
    let mut answer = state;
    let mut answer_zh = state_zh;
    if !fired {
        answer.push_str(" Nobody is told before an alert fires.");
        answer_zh.push_str("告警触发之前不会通知任何人。");
    } else if !routed {
        answer.push_str(" No receiver is configured, so nobody was told.");
        answer_zh.push_str("没有配置接收者，所以没有通知任何人。");
    } else {
        for one in &told {
            answer.push_str(&format!(" {}: {}.", one.receiver, one.reason));
            answer_zh.push_str(&format!("{}：{}。", one.receiver, one.reason_zh));
        }
    }
    Answer { alert: id.into(), rule: name.into(), answer, answer_zh, receivers: told, steps }
}

/// Where the alert stands.
fn state(name: &str, steps: &[Step]) -> (String, String) {
    let last = steps.iter().rev().find(|s| {
        s.receiver.is_empty() && matches!(s.event.as_str(), "pending" | "firing" | "level" | "resolved" | "inactive")
    });
    let Some(step) = last else {
        return (format!("Nothing is known of {name}."), format!("没有 {name} 的记录。"));
    };
    let (at, level) = (rfc3339(step.ts_ms), &step.level);
    let (word, word_zh) = reason_words(&step.reason);
    match step.event.as_str() {
        "pending" => (
            format!("{name} is pending since {at}: its condition holds, not yet for long enough."),
            format!("{name} 自 {at} 起处于待触发状态：条件成立，但持续时间还不够。"),
        ),
        "inactive" => (
            format!("{name} went away at {at} before it fired ({word})."),
            format!("{name} 在触发之前于 {at} 消失（{word_zh}）。"),
        ),
        "resolved" => (format!("{name} ended at {at}: {word}."), format!("{name} 于 {at} 恢复：{word_zh}。")),
        _ => (format!("{name} fires at level {level} since {at}."), format!("{name} 自 {at} 起以 {level} 级别告警。")),
    }
}

fn reason_words(reason: &str) -> (&str, &str) {
    match reason {
        "condition_false" => ("the condition no longer holds", "条件不再成立"),
        "recovered" => ("the recovery condition is met", "已满足恢复条件"),
        "no_data" => ("what it watched gives no value any more", "被监视的数据已经没有取值"),
        "limit_exceeded" => ("its rule found more than its limit", "规则结果超过上限"),
        "keep_firing_over" => ("the condition has not held for keep_firing_for", "保持时间内条件未再成立"),
        "rule_gone" => ("its rule was removed", "规则已被删除"),
        "posted_end" => ("its sender said so", "发送方已宣告恢复"),
        "timed_out" => ("its sender did not repeat it in time", "发送方没有按时重发"),
        other => (other, other),
    }
}

/// The last thing that decided, in words; a message that was taken counts for ever.
fn receiver_told(receiver: &str, steps: &[&Step]) -> Told {
    let sent = steps.iter().rev().find(|s| s.event == "sent");
    let digest_sent = steps.iter().rev().find(|s| s.event == "digested" && s.detail["delivered"] == "sent");
    let told = sent.or(digest_sent);
    let last = steps.iter().rev().find(|s| !matches!(s.event.as_str(), "attempt" | "grouped" | "deduplicated"));
    let last = last.or_else(|| steps.last());
    let (reason, reason_zh) = match (told, last) {
        (None, None) => ("not told: no route leads to it".into(), "未通知：没有路由指向它".into()),
        (Some(told), Some(last)) if std::ptr::eq(*told, *last) => sentence(told),
        (Some(told), Some(last)) => {
            let ((a, a_zh), (b, b_zh)) = (sentence(told), sentence(last));
            (format!("{a}; since then {b}"), format!("{a_zh}；此后{b_zh}"))
        }
        (_, Some(last)) => sentence(last),
        (Some(told), None) => sentence(told),
    };
    let at_ms = told.or(last).map(|s| s.ts_ms);
    Told { receiver: receiver.into(), told: told.is_some(), reason, reason_zh, at_ms }
}

fn sentence(step: &Step) -> (String, String) {
    let (at, reason) = (rfc3339(step.ts_ms), step.reason.as_str());
    let text = |name: &str| step.detail[name].as_str().unwrap_or("").to_string();
    let until = step.detail["until_ms"].as_i64().map(rfc3339).unwrap_or_default();
    match step.event.as_str() {
        "sent" => {
            let (channel, answer) = (text("channel"), text("answer"));
            (
                format!("told at {at} by {channel} ({reason}; answer: {answer})"),
                format!("已于 {at} 通过 {channel} 通知（{reason}；回执：{answer}）"),
            )
        }
        "digested" => {
            let (alerts, groups) = (&step.detail["alerts"], &step.detail["groups"]);
            let (state, state_zh) = match step.detail["delivered"].as_str() {
                Some("sent") => ("told", "已通知"),
                Some("failed") => ("not told: the message was given up", "未通知：消息已放弃"),
                _ => ("not told yet: the message is on its way", "尚未通知：消息在途"),
            };
            (
                format!(
                    "{state}, in one message about {alerts} alerts of {groups} groups made at {at} ({})",
                    cause(reason).0
                ),
                format!(
                    "{state_zh}，与 {groups} 组共 {alerts} 条告警合并为一条消息，生成于 {at}（{}）",
                    cause(reason).1
                ),
            )
        }
        "held" => (
            format!(
                "held back since {at} until {until}: {}; it will be told in one message with the others",
                cause(reason).0
            ),
            format!("自 {at} 起暂缓至 {until}：{}；将与其他告警合并通知", cause(reason).1),
        ),
        "silenced" => {
            let by = reason.trim_start_matches("silenced by ");
            (format!("not told at {at}: silence {by}"), format!("{at} 未通知：被静默 {by} 屏蔽"))
        }
        "inhibited" => {
            let by = reason.trim_start_matches("inhibited by ");
            (
                format!("not told at {at}: made needless by alert {by}, which fires"),
                format!("{at} 未通知：被正在告警的 {by} 抑制"),
            )
        }
        "muted" => {
            (format!("not told at {at}: the route is {reason}"), format!("{at} 未通知：路由处于静音时段（{reason}）"))
        }
        "retry" => {
            let (channel, answer) = (text("channel"), text("answer"));
            (
                format!("not told yet: {channel} answered {answer:?} at {at}; it is tried again"),
                format!("尚未通知：{at} {channel} 的回应是“{answer}”，将重试"),
            )
        }
        "failed" => {
            let answer = text("answer");
            (format!("not told: given up at {at} ({answer})"), format!("未通知：{at} 已放弃（{answer}）"))
        }
        "deduplicated" => (format!("told of it before; nothing new at {at}"), format!("此前已通知，{at} 没有变化")),
        "grouped" => (
            format!("in group {reason} since {at}; its message is not made yet"),
            format!("自 {at} 起在组 {reason} 中，消息尚未生成"),
        ),
        other => (format!("{other} at {at} ({reason})"), format!("{at} {other}（{reason}）")),
    }
}

fn cause(word: &str) -> (&'static str, &'static str) {
    match word {
        "storm" => ("many groups began at once", "大量告警同时发生"),
        _ => ("the receiver's rate limit", "接收者的限速"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(ts_ms: i64, event: &str, reason: &str, receiver: &str, detail: Value) -> Step {
        Step {
            ts_ms,
            event: event.into(),
            level: "critical".into(),
            reason: reason.into(),
            receiver: receiver.into(),
            detail,
        }
    }

    /// Rows and what must stand in the answer of receiver `dba`.
    #[test]
    fn sentences_by_table() {
        let firing = || step(1_000, "firing", "held_long_enough", "", Value::Null);
        let sent =
            || step(3_000, "sent", "first notification", "dba", json!({"channel": "webhook", "answer": "200 OK"}));
        for (rows, told, words) in [
            (vec![firing()], false, "no route leads to it"),
            (vec![firing(), step(2_000, "grouped", "{}:{}", "dba", Value::Null)], false, "its message is not made yet"),
            (
                vec![firing(), sent()],
                true,
                "told at 1970-01-01T00:00:03Z by webhook (first notification; answer: 200 OK)",
            ),
            (vec![firing(), step(2_000, "silenced", "silenced by s1", "dba", Value::Null)], false, "silence s1"),
            (
                vec![firing(), step(2_000, "inhibited", "inhibited by ff", "dba", Value::Null)],
                false,
                "alert ff, which fires",
            ),
            (
                vec![firing(), sent(), step(4_000, "silenced", "silenced by s1", "dba", Value::Null)],
                true,
                "since then not told",
            ),
            (
                vec![firing(), step(2_000, "held", "storm", "dba", json!({"until_ms": 9_000}))],
                false,
                "until 1970-01-01T00:00:09Z: many groups",
            ),
            (
                vec![
                    firing(),
                    step(
                        2_000,
                        "digested",
                        "rate_limit",
                        "dba",
                        json!({"alerts": 7, "groups": 3, "delivered": "sent"}),
                    ),
                ],
                true,
                "one message about 7 alerts of 3 groups",
            ),
            (
                vec![
                    firing(),
                    step(2_000, "retry", "again_later", "dba", json!({"channel": "webhook", "answer": "503"})),
                ],
                false,
                "not told yet: webhook answered \"503\" at 1970-01-01T00:00:02Z",
            ),
        ] {
            let answer = explain("ab-1", "X", rows, &["dba".into()], true);
            let dba = &answer.receivers[0];
            assert_eq!(dba.told, told, "{dba:?}");
            assert!(dba.reason.contains(words) && answer.answer.contains(words), "{answer:?}");
            assert!(answer.answer_zh.chars().any(|c| c > '\u{4e00}'));
        }
        assert!(explain("ab-1", "X", vec![firing()], &[], false).answer.contains("No receiver is configured"));
        let pending =
            explain("ab-1", "X", vec![step(1, "pending", "condition_holds", "", Value::Null)], &["dba".into()], true);
        assert!(pending.answer.contains("before an alert fires"), "{}", pending.answer);
    }
}
