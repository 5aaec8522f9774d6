//! What the chat channels share: a group's robot behind a secret address, and the message in paragraphs, each value one line,
//! bounded, and without the characters that chat markup gives a meaning: nothing a label holds becomes a link, a
//! mention or a heading.

use crate::content::{Fact, Voice, facts, heading, shorten, verdict, words};
use crate::deliver::Telling;
use crate::level::Level;
use crate::message::{AlertNote, Language};
use crate::secret::Secret;

/// Alerts written out in one message; the rest is counted.
const ALERTS_MAX: usize = 5;
/// Longest value, characters.
const VALUE_CHARS_MAX: usize = 400;

/// A robot of a chat group.
#[derive(Clone, Debug)]
pub struct Robot {
    /// Where to: whoever knows it can write to the group.
    pub url: Secret,
    /// What requests are signed with, where the vendor has that.
    pub sign_secret: Option<Secret>,
    /// Who is mentioned: mobile numbers (DingTalk), user ids (WeCom).
    pub at: Vec<String>,
    /// Language and time zone.
    pub voice: Voice,
    /// Whether ends are told.
    pub send_resolved: bool,
    /// How long one attempt may take.
    pub timeout_ms: u64,
}

/// One alert, ready for markup: every text is plain and on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paragraph {
    /// Whether what it is about still fires.
    pub firing: bool,
    /// A coloured disc, state, level, rule and instance.
    pub heading: String,
    /// The summary; may be empty.
    pub summary: String,
    /// Value, times, likely cause, advice …
    pub facts: Vec<Fact>,
    /// The alert's page, if it has a full address.
    pub link: Option<String>,
}

/// The first alerts of a message; [`left_out`] counts the others.
pub fn paragraphs(telling: &Telling<'_>, voice: Voice) -> Vec<Paragraph> {
    telling.message.alerts.iter().take(ALERTS_MAX).map(|alert| paragraph(alert, telling, voice)).collect()
}

fn paragraph(alert: &AlertNote, telling: &Telling<'_>, voice: Voice) -> Paragraph {
    let instance = alert.labels.get("instance").map_or("", |i| i.as_str());
    let heading = format!("{} {} {instance}", disc(alert), heading(alert, voice.language));
    let all = verdict(alert, telling, voice.language).into_iter().chain(facts(alert, voice));
    Paragraph {
        firing: alert.is_firing(),
        heading: plain(heading.trim_end()),
        summary: plain(alert.annotation("summary", voice.language)),
        facts: all.map(|f| Fact { value: plain(&f.value), ..f }).collect(),
        link: link(&alert.link),
    }
}

/// `3 more alerts not shown`, if there are any beyond those shown.
pub fn left_out(telling: &Telling<'_>, shown: usize, language: Language) -> Option<String> {
    let more = telling.message.alerts.len().saturating_sub(shown) + telling.message.left_out();
    (more > 0).then(|| format!("{more} {}", words(language).more))
}

/// Markup of a message within a limit in bytes: paragraphs as long as they fit, then how many alerts are left out. A
/// first paragraph that doesn't fit is cut.
pub fn bounded(paragraphs: &[String], telling: &Telling<'_>, language: Language, bytes_max: usize) -> String {
    let note = |shown| left_out(telling, shown, language).map(|n| format!("\n\n{n}")).unwrap_or_default();
    for shown in (1..=paragraphs.len()).rev() {
        let text = paragraphs[..shown].join("\n\n") + &note(shown);
        if text.len() <= bytes_max {
            return text;
        }
    }
    let mut text = paragraphs.first().cloned().unwrap_or_default();
    let note = note(1);
    let mut end = text.len().min(bytes_max.saturating_sub(note.len() + '…'.len_utf8()));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    format!("{text}…{note}")
}

/// One line, bounded, characters with a meaning in markup replaced by their full-width twins.
pub fn plain(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    let twin = |c: char| match c {
        '*' => '＊',
        '`' => '｀',
        '~' => '～',
        '<' => '＜',
        '>' => '＞',
        '[' => '［',
        ']' => '］',
        '#' => '＃',
        '@' => '＠',
        '!' => '！',
        '|' => '｜',
        '\\' => '＼',
        // these turn what follows round or hide it
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        other => other,
    };
    shorten(&line.chars().map(twin).collect::<String>(), VALUE_CHARS_MAX)
}

/// An address that markup can't end early; `None` where it is none.
fn link(address: &str) -> Option<String> {
    if !address.starts_with("http://") && !address.starts_with("https://") {
        return None;
    }
    let escape = |c: char| match c {
        '(' => "%28".into(),
        ')' => "%29".into(),
        '<' => "%3C".into(),
        '>' => "%3E".into(),
        '|' => "%7C".into(),
        '[' => "%5B".into(),
        ']' => "%5D".into(),
        c if c.is_whitespace() || c.is_control() => String::new(),
        c => c.to_string(),
    };
    Some(address.chars().map(escape).collect())
}

fn disc(alert: &AlertNote) -> &'static str {
    match (alert.is_firing(), alert.level) {
        (false, _) => "🟢",
        (true, Level::Critical) => "🔴",
        (true, Level::Warning) => "🟠",
        (true, Level::Notice) => "🔵",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::sample;

    #[test]
    fn nothing_a_label_holds_is_markup() {
        for (text, expected) in [
            ("[here](http://evil)", "［here］(http://evil)"),
            ("<@all> <!channel> @all", "＜＠all＞ ＜！channel＞ ＠all"),
            ("a\n# b\n> c\r\n- d", "a ＃ b ＞ c - d"),
            ("**x** `y` ~z~", "＊＊x＊＊ ｀y｀ ～z～"),
            ("pg_stat_activity", "pg_stat_activity"),
            ("right\u{202e}left", "right\u{fffd}left"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
        assert_eq!(plain(&"长".repeat(1_000)).chars().count(), VALUE_CHARS_MAX);
        assert_eq!(link("http://t/a) [x](b|c>").as_deref(), Some("http://t/a%29%5Bx%5D%28b%7Cc%3E"));
        assert_eq!(link("javascript:alert(1)"), None);
    }

    #[test]
    fn texts_stay_within_their_bytes_and_say_what_is_missing() {
        let mut message = sample::message(true);
        message.alerts = vec![message.alerts[0].clone(); 12];
        let telling = sample::telling(&message);
        let texts = vec!["一二三四五".to_string(); 5];
        let whole = bounded(&texts, &telling, Language::English, 4_096);
        assert!(whole.ends_with("7 more alerts not shown"), "{whole}");
        let some = bounded(&texts, &telling, Language::English, 80);
        assert!(some.len() <= 80 && some.ends_with("9 more alerts not shown"), "{some}");
        let cut = bounded(&texts, &telling, Language::English, 40);
        assert!(cut.len() <= 40 && cut.ends_with("…\n\n11 more alerts not shown"), "{cut}");
    }
}
