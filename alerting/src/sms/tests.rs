//! The way of numbers along providers, decided without any network.

use super::*;
use crate::content::Voice;
use crate::message::Language;
use crate::secret::Secret;

const A: &str = "+8613800000000";
const B: &str = "+8613900000000";

fn sms(to: &[&str], providers: &[&str]) -> Sms {
    let api = Api::Twilio(twilio::Twilio {
        endpoint: twilio::ENDPOINT.parse().expect("a url"),
        account_sid: "AC1".into(),
        user: "AC1".into(),
        auth_token: Secret::new("t"),
        sender: twilio::Sender::From("+1".into()),
        text: fit::FreeText::parse(twilio::TEXT).expect("a text"),
        text_chars_max: twilio::TEXT_CHARS,
    });
    Sms {
        to: to.iter().map(|n| n.to_string()).collect(),
        providers: providers.iter().map(|p| Provider { name: p.to_string(), api: api.clone() }).collect(),
        voice: Voice { language: Language::English, offset_minutes: 0 },
        send_resolved: true,
        timeout_ms: 1_000,
    }
}

/// Plays one round: what each provider says about each number; gives whom each provider was asked for, and the outcome.
fn round(sms: &Sms, progress: &mut Progress, says: &[(&str, &str, Option<Means>)]) -> (Vec<String>, Outcome) {
    let mut round = Round::default();
    let mut asked = Vec::new();
    for provider in &sms.providers {
        for number in progress.open_for(&sms.to, &provider.name, &round) {
            let said = says.iter().find(|(p, n, _)| *p == provider.name && *n == number);
            let (.., means) = said.unwrap_or_else(|| panic!("{} was asked for {number}", provider.name));
            asked.push(format!("{} {}", provider.name, &number[3..6]));
            let answer = Answer { means: *means, words: "w".into() };
            progress.note(&mut round, &provider.name, &number, &answer);
        }
    }
    (asked, progress.conclude(sms, round).outcome)
}

const TAKEN: Option<Means> = Some(Means::Taken);
const REFUSED: Option<Means> = Some(Means::Refused);
const AGAIN: Option<Means> = Some(Means::Again(Some(60_000)));
const UNCLEAR: Option<Means> = None;

#[test]
fn only_numbers_without_the_message_go_on() {
    let sms = sms(&[A, B], &["x", "y"]);
    let mut progress = Progress::default();
    let says = [("x", A, TAKEN), ("x", B, AGAIN), ("y", B, AGAIN)];
    let outcome = Outcome::Again { retry_after_ms: Some(60_000) };
    assert_eq!(round(&sms, &mut progress, &says), (vec!["x 138".into(), "x 139".into(), "y 139".into()], outcome));
    let stored = serde_json::to_string(&progress).expect("json");
    let mut progress: Progress = serde_json::from_str(&stored).expect("the same after a restart");
    let says = [("x", B, REFUSED), ("y", B, TAKEN)];
    assert_eq!(round(&sms, &mut progress, &says), (vec!["x 139".into(), "y 139".into()], Outcome::Taken));
}

#[test]
fn an_unclear_answer_is_asked_once_more_before_the_next_provider() {
    let sms = sms(&[A], &["x", "y"]);
    let mut progress = Progress::default();
    let again = Outcome::Again { retry_after_ms: None };
    assert_eq!(round(&sms, &mut progress, &[("x", A, UNCLEAR)]), (vec!["x 138".into()], again));
    let says = [("x", A, UNCLEAR), ("y", A, TAKEN)];
    assert_eq!(round(&sms, &mut progress, &says), (vec!["x 138".into(), "y 138".into()], Outcome::Taken));
}

#[test]
fn refused_by_all_is_refused_unless_another_number_has_it() {
    let mut progress = Progress::default();
    let says = [("x", A, REFUSED), ("y", A, REFUSED), ("x", B, TAKEN)];
    assert_eq!(round(&sms(&[A], &["x", "y"]), &mut progress, &says).1, Outcome::Refused);
    let both = sms(&[A, B], &["x", "y"]);
    let mut progress = Progress::default();
    assert_eq!(round(&both, &mut progress, &says).1, Outcome::Taken);
    let receipt = progress.conclude(&both, Round::default());
    assert_eq!(receipt.detail, "+86138****0000 refused, x: w, y: w; +86139****0000 x: w");
}

#[test]
fn a_provider_that_refused_is_not_asked_again() {
    let sms = sms(&[A], &["x", "y"]);
    let mut progress = Progress::default();
    round(&sms, &mut progress, &[("x", A, REFUSED), ("y", A, AGAIN)]);
    assert_eq!(round(&sms, &mut progress, &[("y", A, TAKEN)]), (vec!["y 138".into()], Outcome::Taken));
}
