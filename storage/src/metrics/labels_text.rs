//! A series in a part: the metric's name in one column, the other labels as JSON text in the next, so that any reader of
//! Parquet sees them. Names ascend, as in the label set; the order of rows is by metric, then by those pairs.

use std::{cmp::Ordering, fmt};

use proto::{
    Labels,
    labels::{METRIC_NAME, put_str},
};
use serde::de::{Deserializer as _, MapAccess, Visitor};

/// The labels but the metric's name as JSON: `{"instance":"db1","job":"node"}`, names ascending, no spaces.
pub(crate) fn write(labels: &Labels) -> String {
    let mut out = String::with_capacity(labels.as_bytes().len() + labels.len() * 6 + 2);
    out.push('{');
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        if out.len() > 1 {
            out.push(',');
        }
        put_json(&mut out, name);
        out.push(':');
        put_json(&mut out, value);
    }
    out.push('}');
    out
}

fn put_json(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The label set of a row; `None` unless the text is a JSON object of strings that makes, with the metric, a label set.
pub(crate) fn read(metric: &str, text: &str) -> Option<Labels> {
    let mut pairs = Pairs {
        bytes: Vec::with_capacity(metric.len() + text.len() + 12),
        metric: Some(metric).filter(|m| !m.is_empty()),
    };
    if pairs.read_plain(text).is_none() {
        pairs.bytes.clear();
        pairs.metric = Some(metric).filter(|m| !m.is_empty());
        let mut json = serde_json::Deserializer::from_str(text);
        json.deserialize_map(&mut pairs).ok()?;
        json.end().ok()?;
    }
    pairs.put_metric();
    Labels::from_bytes(&pairs.bytes)
}

/// Writes canonical bytes while the object is parsed, the metric's name where it belongs among the names.
struct Pairs<'a> {
    bytes: Vec<u8>,
    metric: Option<&'a str>,
}

impl Pairs<'_> {
    /// Reads text as [`write()`] makes it of labels in which nothing has to be escaped: by far the most, and reading the labels of
    /// many parts is most of what a question about all of their series costs. `None`: another text, of which some may be read.
    fn read_plain(&mut self, text: &str) -> Option<()> {
        let mut rest = text.strip_prefix('{')?;
        while rest != "}" {
            let name = take_plain(&mut rest)?;
            rest = rest.strip_prefix(':')?;
            let value = take_plain(&mut rest)?;
            if name > METRIC_NAME {
                self.put_metric();
            }
            put_str(&mut self.bytes, name);
            put_str(&mut self.bytes, value);
            rest = match rest.strip_prefix(',') {
                Some(more) if more.starts_with('"') => more,
                None if rest == "}" => rest,
                _ => return None,
            };
        }
        Some(())
    }

    fn put_metric(&mut self) {
        if let Some(metric) = self.metric.take() {
            put_str(&mut self.bytes, METRIC_NAME);
            put_str(&mut self.bytes, metric);
        }
    }
}

/// A JSON string without escapes off the front of `rest`.
fn take_plain<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.strip_prefix('"')?;
    let end = text.bytes().position(|b| b == b'"' || b == b'\\' || b < b' ')?;
    let (plain, tail) = text.split_at(end);
    *rest = tail.strip_prefix('"')?;
    Some(plain)
}

impl<'de> Visitor<'de> for &mut Pairs<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of label names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<std::borrow::Cow<'de, str>, std::borrow::Cow<'de, str>>()? {
            if *name > *METRIC_NAME {
                self.put_metric();
            }
            put_str(&mut self.bytes, &name);
            put_str(&mut self.bytes, &value);
        }
        Ok(())
    }
}

/// The order of rows in a part: by metric, then by the other labels.
pub(crate) fn order(a: &Labels, b: &Labels) -> Ordering {
    /// How the bytes of a set begin whose first label is the metric's name: there it is the order of sets.
    const NAME_FIRST: &[u8] = b"\x08__name__";
    if a.as_bytes().starts_with(NAME_FIRST) && b.as_bytes().starts_with(NAME_FIRST) {
        return a.cmp(b);
    }
    fn others(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
        labels.iter().filter(|(name, _)| *name != METRIC_NAME)
    }
    a.metric_name().cmp(b.metric_name()).then_with(|| others(a).cmp(others(b)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    proptest::proptest! {
        #[test]
        fn labels_come_back(pairs in proptest::collection::vec(("[A-Z_a-z]{1,9}", ".{0,6}"), 0..5), metric in "(up)?") {
            let labels = Labels::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain([(METRIC_NAME, metric.as_str())]));
            let text = write(&labels);
            let standard: serde_json::Value = serde_json::from_str(&text).unwrap();
            for (name, value) in labels.iter().filter(|(n, _)| *n != METRIC_NAME) {
                proptest::prop_assert_eq!(standard[name].as_str(), Some(value));
            }
            proptest::prop_assert_eq!(read(labels.metric_name(), &text), Some(labels));
        }
    }

    proptest::proptest! {
        #[test]
        fn rows_are_ordered_by_metric_then_pairs(
            a in proptest::collection::vec(("[A_a]{1,2}|__name__", "[x-z]{1,2}"), 0..4),
            b in proptest::collection::vec(("[A_a]{1,2}|__name__", "[x-z]{1,2}"), 0..4),
        ) {
            let key = |l: &Labels| {
                let others = l.iter().filter(|(name, _)| *name != METRIC_NAME).map(|(n, v)| (n.to_owned(), v.to_owned()));
                (l.metric_name().to_owned(), others.collect::<Vec<_>>())
            };
            let (a, b) = (Labels::from_pairs(a), Labels::from_pairs(b));
            proptest::prop_assert_eq!(order(&a, &b), key(&a).cmp(&key(&b)));
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "{",
            "[]",
            "{}x",
            r#"{"a":1}"#,
            r#"{"b":"1","a":"1"}"#,
            r#"{"a":"1""b":"1"}"#,
            r#"{"a":"1",}"#,
            "{\"a\":\"1\n\"}",
            r#"{"a":"1","a":"1"}"#,
            r#"{"a":""}"#,
            r#"{"__name__":"x"}"#,
        ] {
            assert_eq!(read("up", text), None, "{text}");
        }
    }
}
