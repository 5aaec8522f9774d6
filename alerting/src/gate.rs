//! The gate before a receiver: how many messages it gets in how long, and storms. What does not pass is told together in
//! one message as soon as there is room. Pure; time is an argument.

use std::collections::{BTreeSet, VecDeque};

use crate::level::Level;

/// More groups than this beginning within [`STORM_WINDOW_MS`] are a storm.
pub const STORM_GROUPS: usize = 5;
/// Milliseconds.
pub const STORM_WINDOW_MS: i64 = 60_000;
/// What joins a storm is told this long after its last message, milliseconds.
pub const STORM_JOIN_MS: i64 = 5 * 60_000;
/// What changes or ends in a storm is told this long after its last message, milliseconds.
pub const STORM_CHANGE_MS: i64 = 60_000;
/// A storm in which nothing happened for this long is over, milliseconds.
pub const STORM_QUIET_MS: i64 = 10 * 60_000;
/// A storm of so many rules takes in every rule's alerts.
const STORM_RULES_WIDE: usize = 3;

/// At most `messages` in `per_ms`, in one go or spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Messages.
    pub messages: u32,
    /// Milliseconds.
    pub per_ms: i64,
}

/// A group that has something to say.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its receiver was not told of it yet.
    pub begins: bool,
    /// It was held back before, so its beginning is counted already.
    pub waited: bool,
    /// Its receiver was told of it in a storm's message.
    pub in_storm: bool,
    /// Its worst level.
    pub level: Level,
    /// Of its first alert.
    pub rule: String,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It gets its own message.
    Alone,
    /// It is told in one message with the others.
    Together(&'static str),
    /// Not before then, milliseconds; and why.
    Hold(i64, &'static str),
}

/// The word for what waits or is told together because of a storm.
pub const STORM: &str = "storm";
/// The word for what waits or is told together because of the rate limit.
pub const RATE_LIMIT: &str = "rate_limit";

#[derive(Debug)]
struct Storm {
    level: Level,
    rules: BTreeSet<String>,
    last_message_ms: i64,
    last_event_ms: i64,
}

/// What is remembered about one receiver.
#[derive(Debug, Default)]
pub struct Gate {
    /// Messages that may leave, in parts of a message times `per_ms`.
    spent: i64,
    spent_at_ms: i64,
    begun: VecDeque<i64>,
    storm: Option<Storm>,
}

impl Gate {
    /// Decides on everything that has something to say now, in its order.
    pub fn plan(&mut self, limit: RateLimit, items: &[Item], now_ms: i64) -> Vec<Verdict> {
        self.refill(limit, now_ms);
        while self.begun.front().is_some_and(|at| now_ms - at >= STORM_WINDOW_MS) {
            self.begun.pop_front();
        }
        if self.storm.as_ref().is_some_and(|s| now_ms - s.last_event_ms >= STORM_QUIET_MS) {
            self.storm = None;
        }
        let mut verdicts = self.storm_plan(items, now_ms);
        self.limit_plan(limit, items, &mut verdicts, now_ms);
        verdicts
    }

    /// Without regard to the rate limit.
    fn storm_plan(&mut self, items: &[Item], now_ms: i64) -> Vec<Verdict> {
        let joins = |storm: &Storm, item: &Item| {
            let of_rule = storm.rules.len() >= STORM_RULES_WIDE || storm.rules.contains(&item.rule);
            item.in_storm || item.begins && of_rule && item.level <= storm.level
        };
        let counts = |item: &&Item| item.begins && !item.waited;
        let fresh = items.iter().filter(counts).filter(|i| !self.storm.as_ref().is_some_and(|s| joins(s, i))).count();
        let breaks_out = fresh > 0 && fresh + self.begun.len() > STORM_GROUPS;
        if breaks_out {
            let storm = self.storm.get_or_insert_with(|| Storm {
                level: Level::Notice,
                rules: BTreeSet::new(),
                last_message_ms: i64::MIN / 2, // tells at once
                last_event_ms: now_ms,
            });
            for item in items.iter().filter(|i| i.begins) {
                storm.level = storm.level.max(item.level);
                storm.rules.insert(item.rule.clone());
            }
            storm.last_message_ms = i64::MIN / 2;
            self.begun.clear();
        }
        if self.storm.is_none() && items.iter().any(|i| i.in_storm) {
            // of a storm that is over, or that we were killed in: what becomes of it is told together too
            let (level, rules) = (Level::Notice, BTreeSet::new());
            self.storm = Some(Storm { level, rules, last_message_ms: i64::MIN / 2, last_event_ms: now_ms });
        }
        let Some(storm) = &mut self.storm else {
            self.begun.extend(items.iter().filter(counts).map(|_| now_ms));
            return vec![Verdict::Alone; items.len()];
        };
        let mut told = false;
        let verdicts = items.iter().map(|item| {
            if !joins(storm, item) {
                if counts(&item) {
                    self.begun.push_back(now_ms);
                }
                return Verdict::Alone;
            }
            storm.last_event_ms = now_ms;
            let risen = item.level > storm.level;
            let pause_ms = if item.begins { STORM_JOIN_MS } else { STORM_CHANGE_MS };
            let then_ms = storm.last_message_ms.saturating_add(pause_ms);
            if risen || then_ms <= now_ms {
                told = true;
                return Verdict::Together(STORM);
            }
            Verdict::Hold(then_ms, STORM)
        });
        let verdicts: Vec<Verdict> = verdicts.collect();
        if told {
            storm.last_message_ms = now_ms;
            let worst = items.iter().zip(&verdicts).filter(|(_, v)| matches!(v, Verdict::Together(_)));
            storm.level = worst.map(|(i, _)| i.level).max().unwrap_or(storm.level).max(storm.level);
        }
        verdicts
    }

    /// Spends what there is: the storm's message first, then the worst; the last one left is spent on all that remain.
    fn limit_plan(&mut self, limit: RateLimit, items: &[Item], verdicts: &mut [Verdict], now_ms: i64) {
        let together = verdicts.iter().any(|v| matches!(v, Verdict::Together(_)));
        let mut alone: Vec<usize> = (0..items.len()).filter(|i| verdicts[*i] == Verdict::Alone).collect();
        alone.sort_by_key(|i| std::cmp::Reverse(items[*i].level));
        let mut free = self.free(limit);
        if together && free == 0 {
            let then_ms = self.next_ms(limit, now_ms);
            for verdict in verdicts.iter_mut().filter(|v| matches!(v, Verdict::Together(_))) {
                *verdict = Verdict::Hold(then_ms, RATE_LIMIT);
            }
        } else if together {
            self.spend(limit, 1);
            free -= 1;
        }
        if alone.len() <= free {
            return self.spend(limit, alone.len());
        }
        if free == 0 {
            let then_ms = self.next_ms(limit, now_ms);
            alone.iter().for_each(|i| verdicts[*i] = Verdict::Hold(then_ms, RATE_LIMIT));
            return;
        }
        self.spend(limit, free);
        alone[free - 1..].iter().for_each(|i| verdicts[*i] = Verdict::Together(RATE_LIMIT));
    }

    fn refill(&mut self, limit: RateLimit, now_ms: i64) {
        let earned = (now_ms - self.spent_at_ms).max(0).saturating_mul(i64::from(limit.messages));
        self.spent = self.spent.saturating_sub(earned).max(0);
        self.spent_at_ms = now_ms;
    }

    fn free(&self, limit: RateLimit) -> usize {
        let all = i64::from(limit.messages) * limit.per_ms;
        ((all - self.spent).max(0) / limit.per_ms) as usize
    }

    fn spend(&mut self, limit: RateLimit, messages: usize) {
        self.spent += messages as i64 * limit.per_ms;
    }

    /// When the next message may leave.
    fn next_ms(&self, limit: RateLimit, now_ms: i64) -> i64 {
        let all = i64::from(limit.messages) * limit.per_ms;
        let missing = (self.spent + limit.per_ms - all).max(0);
        now_ms + (missing + i64::from(limit.messages) - 1) / i64::from(limit.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit { messages: 10, per_ms: 60_000 };

    fn item(rule: &str, level: Level, begins: bool, in_storm: bool) -> Item {
        Item { begins, waited: false, in_storm, level, rule: rule.into() }
    }

    /// `a`lone, `t`ogether, `h`eld by a storm, `r`: held by the rate limit.
    fn word(verdicts: &[Verdict]) -> String {
        let letter = |v: &Verdict| match v {
            Verdict::Alone => 'a',
            Verdict::Together(_) => 't',
            Verdict::Hold(_, STORM) => 'h',
            Verdict::Hold(..) => 'r',
        };
        verdicts.iter().map(letter).collect()
    }

    #[test]
    fn a_storm_is_one_message_and_worse_news_gets_through() {
        let mut gate = Gate::default();
        let many = |n, level| vec![item("Down", level, true, false); n];
        assert_eq!(word(&gate.plan(LIMIT, &many(3, Level::Warning), 0)), "aaa", "a few are no storm");
        assert_eq!(word(&gate.plan(LIMIT, &many(4, Level::Warning), 1_000)), "tttt", "with those before they are");
        assert_eq!(word(&gate.plan(LIMIT, &many(9, Level::Warning), 2_000)), "hhhhhhhhh");
        assert_eq!(word(&gate.plan(LIMIT, &many(1, Level::Critical), 3_000)), "a", "worse than the storm");
        assert_eq!(word(&gate.plan(LIMIT, &[item("Slow", Level::Notice, true, false)], 4_000)), "a", "of another rule");
        let ends = vec![item("Down", Level::Warning, false, true); 2];
        assert_eq!(word(&gate.plan(LIMIT, &ends, 5_000)), "hh");
        assert_eq!(word(&gate.plan(LIMIT, &ends, 61_000)), "tt");
        assert_eq!(word(&gate.plan(LIMIT, &many(1, Level::Warning), 61_000 + STORM_JOIN_MS)), "t");
        assert_eq!(word(&gate.plan(LIMIT, &many(2, Level::Warning), 61_000 + STORM_JOIN_MS + STORM_QUIET_MS)), "aa");
    }

    #[test]
    fn what_the_rate_limit_holds_back_is_told_together() {
        let limit = RateLimit { messages: 3, per_ms: 60_000 };
        let mut gate = Gate::default();
        let change = |level| item("x", level, false, false);
        let five = [Level::Notice, Level::Critical, Level::Notice, Level::Warning, Level::Notice].map(change);
        assert_eq!(word(&gate.plan(limit, &five, 0)), "tatat", "the worst alone, the rest together");
        let one = [change(Level::Critical)];
        assert_eq!(gate.plan(limit, &one, 1_000), [Verdict::Hold(20_000, RATE_LIMIT)]);
        assert_eq!(word(&gate.plan(limit, &[change(Level::Notice), change(Level::Notice)], 20_000)), "tt");
        assert_eq!(word(&gate.plan(limit, &one, 20_001)), "r");
        assert_eq!(word(&gate.plan(limit, &one, 40_000)), "a");
        assert_eq!(word(&gate.plan(limit, &five[..3], 600_000)), "aaa", "what was not used does not add up");
        assert_eq!(word(&gate.plan(limit, &one, 600_001)), "r");
    }
}
