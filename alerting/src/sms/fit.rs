//! Fitting what is to be said into what providers take: named fields, cut by characters (a Chinese one counts as one),
//! without the characters and links that templates must not carry. Pure.

use crate::content::{self, Voice};
use crate::deliver::Telling;

/// Something a template can be filled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// firing or resolved, in the channel's language.
    State,
    /// The level.
    Level,
    /// The rule's name.
    Rule,
    /// The instance.
    Instance,
    /// The summary; without one the rule's name.
    Summary,
    /// The value.
    Value,
    /// How many alerts the message is about.
    Count,
    /// When it began.
    Time,
    /// Link to the alert's page.
    Link,
    /// The last part of that link: for templates that hold the address themselves.
    Id,
    /// The verdict's title, when known.
    Verdict,
    /// What to do, when known.
    Advice,
    /// A label's value.
    Label(String),
}

/// Names of fields, as configs write them; beside them there is `label:NAME`.
pub const FIELD_NAMES: &str =
    "state, level, rule, instance, summary, value, count, time, link, id, verdict, advice, label:NAME";

impl Field {
    /// The field of that name.
    pub fn parse(name: &str) -> Option<Field> {
        Some(match name {
            "state" => Field::State,
            "level" => Field::Level,
            "rule" => Field::Rule,
            "instance" => Field::Instance,
            "summary" => Field::Summary,
            "value" => Field::Value,
            "count" => Field::Count,
            "time" => Field::Time,
            "link" => Field::Link,
            "id" => Field::Id,
            "verdict" => Field::Verdict,
            "advice" => Field::Advice,
            other => Field::Label(other.strip_prefix("label:").filter(|l| !l.is_empty())?.into()),
        })
    }

    /// Its value, of the first and worst alert.
    pub fn value(&self, telling: &Telling<'_>, voice: Voice) -> String {
        let Some(alert) = telling.message.alerts.first() else { return String::new() };
        let label = |name: &str| alert.labels.get(name).cloned().unwrap_or_default();
        let finding = telling.finding(&alert.id);
        match self {
            Field::State => content::state(alert, voice.language).into(),
            Field::Level => content::level(alert.level, voice.language).into(),
            Field::Rule => label("alertname"),
            Field::Instance => label("instance"),
            Field::Summary => match alert.annotation("summary", voice.language) {
                "" => label("alertname"),
                summary => summary.into(),
            },
            Field::Value => alert.value.map(query::promql::number::format_g).unwrap_or_default(),
            Field::Count => telling.message.alerts.len().to_string(),
            Field::Time => voice.short_moment(alert.starts_at_ms),
            Field::Link => alert.link.clone(),
            Field::Id => alert.link.rsplit('/').next().unwrap_or_default().into(),
            Field::Verdict => finding.map(|f| content::title(f, voice.language).into()).unwrap_or_default(),
            Field::Advice => finding.map(|f| content::advice(f, voice.language).into()).unwrap_or_default(),
            Field::Label(name) => label(name),
        }
    }
}

/// A template's variable: what it is filled with, and how long that may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// With what.
    pub field: Field,
    /// Most characters.
    pub chars_max: usize,
}

impl Variable {
    /// The value that is sent.
    pub fn fill(&self, telling: &Telling<'_>, voice: Voice) -> String {
        variable(&self.field.value(telling, voice), self.chars_max)
    }
}

/// Punctuation that Chinese carriers' templates take in variables beside letters, digits and spaces; the brackets 【】
/// are kept for the sender's signature.
const PUNCTUATION: &str = "!\"#%'()*+,-./:;<=>?@_，。：；！？、（）《》“”‘’％～—…";

/// A variable's value: one line, no links, no characters that are refused, at most that many characters, never empty.
pub fn variable(text: &str, chars_max: usize) -> String {
    let keep = |c: char| c.is_alphanumeric() && (c as u32) < 0x1_0000 || PUNCTUATION.contains(c);
    let text = without_links(text);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words = words.map(|w| w.chars().filter(|c| keep(*c)).collect::<String>()).filter(|w| !w.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    let cut = cut(&line, chars_max).trim_end();
    if cut.is_empty() { "-".into() } else { cut.into() }
}

/// A space where an address with a scheme stood: from the scheme to the first character that is none of an address.
fn without_links(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let scheme = rest[..at].bytes().rev().take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)).count();
        kept.push_str(&rest[..at - scheme]);
        kept.push(' ');
        let link = rest[at..].bytes().take_while(u8::is_ascii_graphic).count();
        rest = &rest[at + link..];
    }
    kept + rest
}

/// The first characters of a text.
fn cut(text: &str, chars_max: usize) -> &str {
    text.char_indices().nth(chars_max).map_or(text, |(at, _)| &text[..at])
}

/// A free text with `{field}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeText(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
}

impl FreeText {
    /// Reads the text; the error is what stands between braces and is no field.
    pub fn parse(text: &str) -> Result<FreeText, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or_else(|| rest[open..].to_string())? + open;
            let field = Field::parse(&rest[open + 1..close]).ok_or_else(|| rest[open + 1..close].to_string())?;
            pieces.extend([Piece::Text(rest[..open].into()), Piece::Field(field)]);
            rest = &rest[close + 1..];
        }
        pieces.push(Piece::Text(rest.into()));
        Ok(FreeText(pieces))
    }

    /// The text filled in, on one line, at most that many characters: the longest field but the link gives way, so that
    /// level and link survive.
    pub fn fill(&self, telling: &Telling<'_>, voice: Voice, chars_max: usize) -> String {
        let mut values: Vec<(bool, String)> = self
            .0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => (false, text.clone()),
                Piece::Field(field) => (*field != Field::Link, one_line(&field.value(telling, voice))),
            })
            .collect();
        let length = |values: &[(bool, String)]| values.iter().map(|(_, v)| v.chars().count()).sum::<usize>();
        let excess = length(&values).saturating_sub(chars_max);
        let longest = values.iter_mut().filter(|(yields, _)| *yields).max_by_key(|(_, v)| v.chars().count());
        if let Some((_, value)) = longest.filter(|_| excess > 0) {
            let kept = value.chars().count().saturating_sub(excess + 1);
            *value = format!("{}…", cut(value, kept).trim_end());
        }
        let text: String = values.into_iter().map(|(_, v)| v).collect();
        cut(text.trim(), chars_max).to_string()
    }
}

fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::sample;
    use crate::message::Language;

    const CHINESE: Voice = Voice { language: Language::Chinese, offset_minutes: 480 };
    const ENGLISH: Voice = Voice { language: Language::English, offset_minutes: 0 };

    #[test]
    fn variables_are_clean_and_cut_by_characters() {
        for (text, chars_max, expected) in [
            ("12 个会话在等待锁", 35, "12 个会话在等待锁"),
            ("12 个会话在等待锁", 5, "12 个会"),
            ("磁盘将在两小时内写满", 4, "磁盘将在"),
            ("a\nb\t c\u{7}d", 35, "a b c d"),
            ("【观潮】 ok 🔥★", 35, "观潮 ok"),
            ("see https://watch/alert/1 now", 35, "see now"),
            ("请看https://watch/alert/1，谢谢", 35, "请看 ，谢谢"),
            ("db-1.example:5432", 35, "db-1.example:5432"),
            ("", 35, "-"),
            ("🔥", 35, "-"),
            ("ab  ", 3, "ab"),
            ("ab cd", 3, "ab"),
            ("${code}", 35, "code"),
        ] {
            assert_eq!(variable(text, chars_max), expected, "{text:?} in {chars_max}");
        }
    }

    #[test]
    fn fields_say_what_they_are_named() {
        let message = sample::message(true);
        let telling = sample::telling(&message);
        for (name, voice, expected) in [
            ("state", CHINESE, "告警"),
            ("level", CHINESE, "严重"),
            ("level", ENGLISH, "critical"),
            ("rule", ENGLISH, "LockPileup"),
            ("instance", ENGLISH, "db<1>"),
            ("summary", CHINESE, "12 个会话在等待"),
            ("value", ENGLISH, "12"),
            ("count", ENGLISH, "1"),
            ("time", CHINESE, "01-01 08:16"),
            ("time", ENGLISH, "01-01 00:16"),
            ("link", ENGLISH, "http://t/alert/a"),
            ("id", ENGLISH, "a"),
            ("label:instance", ENGLISH, "db<1>"),
            ("label:none", ENGLISH, ""),
            ("verdict", ENGLISH, ""),
        ] {
            let field = Field::parse(name).expect("a field");
            assert_eq!(field.value(&telling, voice), expected, "{name}");
        }
        assert_eq!((Field::parse("colour"), Field::parse("label:")), (None, None));
    }

    #[test]
    fn free_text_keeps_level_and_link_and_shortens_the_longest() {
        let mut message = sample::message(true);
        message.alerts[0].annotations.insert("summary".into(), "sessions wait ".repeat(50));
        let text = FreeText::parse("[{level}] {summary} {link}").expect("a text");
        let filled = text.fill(&sample::telling(&message), ENGLISH, 60);
        assert_eq!(filled.chars().count(), 60, "{filled}");
        assert!(filled.starts_with("[critical] sessions wait") && filled.ends_with("… http://t/alert/a"), "{filled}");
        assert_eq!(text.fill(&sample::telling(&message), ENGLISH, 10).chars().count(), 10);
        assert_eq!(FreeText::parse("{what}").unwrap_err(), "what");
        assert_eq!(FreeText::parse("{level").unwrap_err(), "{level");
    }
}
