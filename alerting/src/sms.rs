//! The SMS channel: numbers, and providers tried in the configured order until each number has the message.
//!
//! Every number goes its own way: a provider that refuses it, is throttled or can't be reached hands it to the next one at
//! once; an answer that leaves open what became of it is asked again there after a pause, and handed on when that stays so. What each
//! number has gone through is the parcel's [`Progress`], kept in the outbox, so that after a restart only the numbers
//! without the message are tried. No provider knows idempotency keys: an answer lost on its way can mean a second SMS,
//! never none.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::answer_codes::{Codes, Means, look_up};
use crate::content::{Voice, shorten};
use crate::deliver::{Outcome, Receipt, Telling, Tried};
use crate::exchange::{Broken, Reply};

pub mod aliyun;
pub mod fit;
pub mod tencent;
pub mod twilio;

/// Most numbers of one channel.
pub const NUMBERS_MAX: usize = 100;
/// Most providers of one channel.
pub const PROVIDERS_MAX: usize = 8;
/// Longest time one request may be given: all numbers of a channel are asked for before the oldest signature ends,
/// 15 minutes after it was made.
pub const TIMEOUT_MS_MAX: u64 = 60_000;
/// Requests to one provider at once.
const AT_ONCE_MAX: usize = 8;
const _: () = assert!((NUMBERS_MAX.div_ceil(AT_ONCE_MAX) as u64) * TIMEOUT_MS_MAX < 15 * 60_000);
/// After so many unclear answers about a number it is handed to the next provider.
const UNCLEAR_MAX: u32 = 2;
/// Longest account of one attempt, characters.
const DETAIL_CHARS_MAX: usize = 1_500;

/// Numbers and who sends to them.
#[derive(Clone, Debug)]
pub struct Sms {
    /// Numbers in E.164, `+8613800000000`.
    pub to: Vec<String>,
    /// In the order they are tried.
    pub providers: Vec<Provider>,
    /// Language and time zone of what is filled in.
    pub voice: Voice,
    /// Whether ends are told.
    pub send_resolved: bool,
    /// How long one request may take.
    pub timeout_ms: u64,
}

/// A provider under its name in ledger and progress.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its kind; with a number where there are several of a kind.
    pub name: String,
    /// How to talk to it.
    pub api: Api,
}

/// The providers there are.
#[derive(Clone, Debug)]
pub enum Api {
    /// Alibaba Cloud.
    Aliyun(aliyun::Aliyun),
    /// Tencent Cloud.
    Tencent(tencent::Tencent),
    /// Twilio.
    Twilio(twilio::Twilio),
}

/// What a provider said about one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it means; `None`: it leaves open what became of the message.
    pub means: Option<Means>,
    /// The provider's message id, or its code and words.
    pub words: String,
}

/// What every request needs beside the provider's own.
pub struct Call<'a> {
    /// The shared client.
    pub client: &'a reqwest::Client,
    /// What is told.
    pub telling: &'a Telling<'a>,
    /// In which voice.
    pub voice: Voice,
    /// How long one request may take.
    pub timeout_ms: u64,
}

/// What the numbers of one message have gone through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress(BTreeMap<String, Number>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Number {
    /// The provider that took it, and its words.
    taken: Option<(String, String)>,
    /// Providers that never will, with their words.
    refused: BTreeMap<String, String>,
    /// Unclear answers by provider.
    unclear: BTreeMap<String, u32>,
}

/// One walk along the providers.
#[derive(Debug, Default)]
struct Round {
    /// Numbers that wait for a pause instead of going on to the next provider.
    held: BTreeSet<String>,
    /// The soonest a provider that is throttled can take a number.
    after_ms: Option<i64>,
    /// The last words about each number.
    words: BTreeMap<String, String>,
    tried: Vec<Tried>,
}

impl Progress {
    /// The numbers a provider is asked to take now.
    fn open_for(&self, to: &[String], provider: &str, round: &Round) -> Vec<String> {
        let open = |number: &&String| match self.0.get(*number) {
            Some(n) => n.taken.is_none() && !n.refused.contains_key(provider) && !round.held.contains(*number),
            None => true,
        };
        to.iter().filter(open).cloned().collect()
    }

    /// Takes one answer in.
    fn note(&mut self, round: &mut Round, provider: &str, number: &str, answer: &Answer) {
        let state = self.0.entry(number.into()).or_default();
        round.words.insert(number.into(), format!("{provider}: {}", answer.words));
        match answer.means {
            Some(Means::Taken) => state.taken = Some((provider.into(), answer.words.clone())),
            Some(Means::Refused) => {
                state.refused.insert(provider.into(), answer.words.clone());
            }
            Some(Means::Again(after_ms)) => {
                round.after_ms = match (round.after_ms, after_ms) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
            None => {
                let unclear = state.unclear.entry(provider.into()).or_default();
                *unclear += 1;
                if *unclear < UNCLEAR_MAX {
                    round.held.insert(number.into());
                }
            }
        }
    }

    /// What the message has come to: again while a number can still get it, taken if any has it, else refused.
    fn conclude(&self, sms: &Sms, round: Round) -> Receipt {
        let (mut open, mut taken) = (0usize, 0usize);
        let mut lines = Vec::new();
        for number in &sms.to {
            let state = self.0.get(number).cloned().unwrap_or_default();
            let words = match &state.taken {
                Some((provider, words)) => {
                    taken += 1;
                    format!("{provider}: {words}")
                }
                None if sms.providers.iter().all(|p| state.refused.contains_key(&p.name)) => {
                    let refusals: Vec<String> =
                        state.refused.iter().map(|(p, words)| format!("{p}: {words}")).collect();
                    format!("refused, {}", refusals.join(", "))
                }
                None => {
                    open += 1;
                    round.words.get(number).cloned().unwrap_or_default()
                }
            };
            lines.push(format!("{} {words}", masked(number)));
        }
        let outcome = match (open, taken) {
            (1.., _) => Outcome::Again { retry_after_ms: round.after_ms },
            (0, 1..) => Outcome::Taken,
            (0, 0) => Outcome::Refused,
        };
        let detail = shorten(&lines.join("; "), DETAIL_CHARS_MAX);
        Receipt { outcome, detail, tried: round.tried, progress: Some(self.clone()) }
    }
}

/// One walk along the providers with the numbers that don't have the message yet.
pub async fn send(client: &reqwest::Client, sms: &Sms, telling: &Telling<'_>, progress: &Progress) -> Receipt {
    let mut progress = progress.clone();
    let mut round = Round::default();
    // signatures hold for minutes, a walk past providers that don't answer can take as long
    let began = tokio::time::Instant::now();
    for provider in &sms.providers {
        let numbers = progress.open_for(&sms.to, &provider.name, &round);
        if numbers.is_empty() {
            continue;
        }
        let passed_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(0);
        let telling = Telling { now_ms: telling.now_ms + passed_ms, ..*telling };
        let call = Call { client, telling: &telling, voice: sms.voice, timeout_ms: sms.timeout_ms };
        let answers = match &provider.api {
            Api::Aliyun(aliyun) => aliyun::send(aliyun, &call, &numbers).await,
            Api::Tencent(tencent) => tencent::send(tencent, &call, &numbers).await,
            Api::Twilio(twilio) => twilio::send(twilio, &call, &numbers).await,
        };
        for (number, answer) in &answers {
            progress.note(&mut round, &provider.name, number, answer);
        }
        round.tried.push(tried(&provider.name, &answers));
    }
    progress.conclude(sms, round)
}

/// One provider's part of a walk, for the ledger.
fn tried(provider: &str, answers: &[(String, Answer)]) -> Tried {
    let word = |answer: &Answer| match answer.means {
        Some(Means::Taken) => "taken",
        Some(Means::Again(_)) => "again",
        Some(Means::Refused) => "refused",
        None => "unclear",
    };
    let words: BTreeSet<&str> = answers.iter().map(|(_, a)| word(a)).collect();
    let lines: Vec<String> = answers.iter().map(|(n, a)| format!("{} {} {}", masked(n), word(a), a.words)).collect();
    let outcome = words.into_iter().collect::<Vec<_>>().join(", ");
    Tried { by: provider.into(), outcome, detail: shorten(&lines.join("; "), DETAIL_CHARS_MAX) }
}

/// A number for people to recognise, not to call: `+86138****0000`.
pub fn masked(number: &str) -> String {
    let chars: Vec<char> = number.chars().collect();
    let (from, to) = (chars.len().saturating_sub(8), chars.len().saturating_sub(4));
    chars.iter().enumerate().map(|(i, c)| if (from..to).contains(&i) && *c != '+' { '*' } else { *c }).collect()
}

/// The answer behind a provider's code and words; without a code the status decides.
fn answer(reply: &Reply, code: Option<&str>, words: &str, codes: Codes) -> Answer {
    let means = match code.and_then(|code| look_up(codes, code)) {
        Some(Means::Again(after_ms)) => Some(Means::Again(reply.retry_after_ms.max(after_ms))),
        Some(means) => Some(means),
        None if reply.is_for_later() => Some(Means::Again(reply.retry_after_ms)),
        None => None,
    };
    Answer { means, words: format!("{} {} {words}", reply.status, code.unwrap_or("no code")).trim_end().to_string() }
}

/// The answer where there was none: a request that never left goes to the next provider at once, one that may have
/// arrived is unclear.
fn broken(broken: &Broken) -> Answer {
    let means = match broken {
        Broken::NotSent(_) => Some(Means::Again(None)),
        Broken::NoAnswer(_) => None,
    };
    Answer { means, words: broken.words().into() }
}

#[cfg(test)]
mod tests;
