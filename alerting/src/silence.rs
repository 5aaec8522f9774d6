//! Silences: what operators asked not to hear of for a while; and the stage that heeds them.
//!
//! The shape is Alertmanager's (api/v2, `gettableSilence`), with one field more: a silence may come back, at the same hours of
//! chosen days, between its start and its end ([`Recurrence`]).

use serde::{Deserialize, Serialize};

use crate::dispatch::{Flush, View};
use crate::matcher::Matchers;
use crate::recurrence::Recurrence;
use proto::Labels;

/// Most conditions of one silence.
pub const CONDITIONS_MAX: usize = 64;
/// Longest name, value, author or comment, bytes.
pub const TEXT_BYTES_MAX: usize = 4_096;

/// One condition on a label, as Alertmanager writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Condition {
    /// The label.
    pub name: String,
    /// Value or pattern.
    pub value: String,
    /// Whether `value` is an anchored regular expression.
    pub is_regex: bool,
    /// Whether the label must match (true) or must not.
    #[serde(default = "yes")]
    pub is_equal: bool,
}

fn yes() -> bool {
    true
}

/// What an operator asks for; checked by [`Silence::new`].
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Whose alerts.
    pub conditions: Vec<Condition>,
    /// From when, milliseconds.
    pub starts_at_ms: i64,
    /// Until when, milliseconds.
    pub ends_at_ms: i64,
    /// Who asks.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// At which hours; `None`: all the time.
    pub recurrence: Option<Recurrence>,
}

/// A silence, from `starts_at_ms` (inclusive) to `ends_at_ms` (exclusive).
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    /// Unique.
    pub id: String,
    /// What was asked for.
    pub wish: Wish,
    /// When it was last changed, milliseconds.
    pub updated_at_ms: i64,
    matchers: Matchers,
}

/// Where a silence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilenceState {
    /// It has not begun.
    Pending,
    /// It is between its start and its end.
    Active,
    /// It is over.
    Expired,
}

impl SilenceState {
    /// As Alertmanager names it.
    pub fn name(self) -> &'static str {
        match self {
            SilenceState::Pending => "pending",
            SilenceState::Active => "active",
            SilenceState::Expired => "expired",
        }
    }
}

/// The matchers of conditions; the error names the one that is wrong.
pub fn matchers(conditions: &[Condition]) -> Result<Matchers, String> {
    if conditions.is_empty() || conditions.len() > CONDITIONS_MAX {
        return Err(format!("matchers: 1 to {CONDITIONS_MAX} are allowed, there are {}", conditions.len()));
    }
    for (i, c) in conditions.iter().enumerate() {
        if c.name.is_empty() || c.name.len() > TEXT_BYTES_MAX || c.value.len() > TEXT_BYTES_MAX {
            return Err(format!("matchers[{i}]: a name of 1 to {TEXT_BYTES_MAX} bytes and a value of at most as many"));
        }
    }
    let parts = conditions.iter().map(|c| (c.name.as_str(), c.is_regex, c.is_equal, c.value.as_str()));
    let matchers = Matchers::of(parts).map_err(|e| format!("matchers: {e}"))?;
    if matchers.matches_nothing_given() {
        return Err("matchers: at least one matcher must not match the empty string".into());
    }
    Ok(matchers)
}

impl Silence {
    /// Checks a wish; the error names the field and what is allowed.
    pub fn new(id: String, wish: Wish, updated_at_ms: i64) -> Result<Silence, String> {
        let matchers = matchers(&wish.conditions)?;
        if wish.starts_at_ms >= wish.ends_at_ms {
            return Err("startsAt: must lie before endsAt".into());
        }
        for (field, text) in [("createdBy", &wish.created_by), ("comment", &wish.comment)] {
            if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
                return Err(format!("{field}: 1 to {TEXT_BYTES_MAX} bytes are allowed"));
            }
        }
        Ok(Silence { id, wish, updated_at_ms, matchers })
    }

    /// Where it stands.
    pub fn state(&self, now_ms: i64) -> SilenceState {
        if now_ms < self.wish.starts_at_ms {
            SilenceState::Pending
        } else if now_ms < self.wish.ends_at_ms {
            SilenceState::Active
        } else {
            SilenceState::Expired
        }
    }

    /// Whether it silences now: active, and at one of its hours.
    pub fn is_in_force(&self, now_ms: i64) -> bool {
        self.state(now_ms) == SilenceState::Active && self.wish.recurrence.as_ref().is_none_or(|r| r.holds(now_ms))
    }

    /// Whether it is about an alert with these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.matches(labels)
    }

    /// Its conditions as text.
    pub fn matchers_text(&self) -> String {
        self.matchers.to_string()
    }
}

/// Takes out every alert a silence in force matches.
pub fn stage(flush: &mut Flush, view: &View<'_>) {
    if view.silences.is_empty() {
        return;
    }
    let mut withheld = Vec::new();
    flush.alerts.retain(|alert| {
        let labels = Labels::from_pairs(&alert.labels);
        let by = view.silences.iter().find(|s| s.matches(&labels));
        if let Some(by) = by {
            withheld.push((alert.clone(), "silence", format!("silenced by {}", by.id)));
        }
        by.is_none()
    });
    flush.withheld.extend(withheld);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wish(conditions: &[(&str, &str, bool, bool)]) -> Wish {
        let condition = |(name, value, is_regex, is_equal): &(&str, &str, bool, bool)| Condition {
            name: (*name).into(),
            value: (*value).into(),
            is_regex: *is_regex,
            is_equal: *is_equal,
        };
        Wish {
            conditions: conditions.iter().map(condition).collect(),
            starts_at_ms: 1_000,
            ends_at_ms: 2_000,
            created_by: "me".into(),
            comment: "night shift".into(),
            recurrence: None,
        }
    }

    #[test]
    fn states_follow_start_and_end() {
        let silence = Silence::new("a".into(), wish(&[("x", "y", false, true)]), 0).unwrap();
        for (now_ms, state) in [
            (999, SilenceState::Pending),
            (1_000, SilenceState::Active),
            (1_999, SilenceState::Active),
            (2_000, SilenceState::Expired),
        ] {
            assert_eq!(silence.state(now_ms), state, "{now_ms}");
        }
    }

    #[test]
    fn wrong_wishes_are_told_by_field() {
        let said = |wish: Wish| Silence::new("a".into(), wish, 0).unwrap_err();
        let good = wish(&[("x", "y", false, true)]);
        assert!(said(wish(&[])).starts_with("matchers: 1 to"));
        assert!(said(wish(&[("x", "(", true, true)])).starts_with("matchers: "));
        assert!(said(wish(&[("x", ".*", true, true)])).contains("empty string"));
        assert!(said(wish(&[("x", "y", false, false)])).contains("empty string"));
        assert!(said(Wish { starts_at_ms: 2_000, ..good.clone() }).starts_with("startsAt"));
        assert!(said(Wish { created_by: " ".into(), ..good.clone() }).starts_with("createdBy"));
        assert!(said(Wish { comment: "x".repeat(TEXT_BYTES_MAX + 1), ..good }).starts_with("comment"));
    }

    #[test]
    fn conditions_match_as_matchers_do() {
        let labels = Labels::from_pairs([("alertname", "LockPileup"), ("instance", "db1")]);
        for (conditions, expected) in [
            (&[("alertname", "LockPileup", false, true)][..], true),
            (&[("alertname", "Lock.*", true, true), ("instance", "db2", false, true)], false),
            (&[("alertname", "Lock", true, true)], false),
            (&[("alertname", "Lock.*", true, true), ("instance", "db2", false, false)], true),
        ] {
            let silence = Silence::new("a".into(), wish(conditions), 0).unwrap();
            assert_eq!(silence.matches(&labels), expected, "{conditions:?}");
        }
    }
}
