//! A label set: the identity of a series.
//!
//! Held as its canonical bytes (names ascending, each name and value behind its length as a varint), so that equality,
//! hashing and the raw-bytes lookup of the ingest path are one memory comparison, and a clone is a reference count.

use std::{cmp::Ordering, fmt, sync::Arc};

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// An immutable set of labels with distinct, ascending names and no empty values.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[u8]>);

impl Labels {
    /// The set without labels.
    pub fn empty() -> Labels {
        Labels(Arc::from([]))
    }

    /// Builds a set from pairs in any order; an empty value means "no such label"; of equal names the last wins.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Labels {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Takes canonical bytes; `None` unless they are exactly what [`Labels::as_bytes`] gives.
    pub fn from_bytes(bytes: &[u8]) -> Option<Labels> {
        validate(bytes).then(|| Labels(Arc::from(bytes)))
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Name and value of each label, names ascending.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: &self.0 }
    }

    /// The value of `name`, if the set has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut at = 0;
        while let Some((other, value_at)) = text_at(&self.0, at) {
            let (value, next) = text_at(&self.0, value_at)?;
            match other.cmp(name.as_bytes()) {
                Ordering::Less => at = next,
                Ordering::Equal => return std::str::from_utf8(value).ok(),
                Ordering::Greater => break,
            }
        }
        None
    }

    /// The labels whose names `keep` wants.
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Labels {
        let mut bytes = Vec::with_capacity(self.0.len());
        self.put_only(keep, &mut bytes);
        // some of the labels of a set are a set
        if bytes.len() == self.0.len() { self.clone() } else { Labels(Arc::from(bytes)) }
    }

    /// Appends the canonical bytes of [`Labels::only`].
    pub fn put_only(&self, keep: impl Fn(&str) -> bool, bytes: &mut Vec<u8>) {
        let mut at = 0;
        while let Some((name, value_at)) = text_at(&self.0, at) {
            let Some((_, next)) = text_at(&self.0, value_at) else { return };
            if std::str::from_utf8(name).is_ok_and(&keep) {
                bytes.extend_from_slice(&self.0[at..next]);
            }
            at = next;
        }
    }

    /// The metric's name; empty if the set has none.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// How many labels the set has.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether the set has no labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A builder that starts from this set.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.into(), v.into())).collect() }
    }

    /// A 64-bit hash of the canonical bytes (XXH3), the same on every machine and in every release.
    pub fn hash64(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.0)
    }
}

impl Ord for Labels {
    /// Pairwise by name, then value; a set that is the beginning of another comes first. What both begin with is skipped, so
    /// that only the text in which they differ is read: sorting many series compares little else.
    fn cmp(&self, other: &Labels) -> Ordering {
        let (a, b) = (self.as_bytes(), other.as_bytes());
        let same = common_prefix(a, b);
        if same == a.len() || same == b.len() {
            return a.len().cmp(&b.len());
        }
        let mut at = 0;
        while let (Some((a_text, a_end)), Some((b_text, _))) = (text_at(a, at), text_at(b, at)) {
            if same < a_end {
                return a_text.cmp(b_text);
            }
            at = a_end;
        }
        Ordering::Equal
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Labels) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Labels {
    /// As Prometheus writes it: `{__name__="up", instance="db1"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelsIter<'a>;

    fn into_iter(self) -> LabelsIter<'a> {
        self.iter()
    }
}

impl serde::Serialize for Labels {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// Iterates over a set's pairs.
#[derive(Clone)]
pub struct LabelsIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        if self.rest.is_empty() {
            return None;
        }
        Some((take_str(&mut self.rest)?, take_str(&mut self.rest)?))
    }
}

/// Collects labels one by one.
#[derive(Clone, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets `name` to `value`; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut LabelsBuilder {
        match self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(i) if value.is_empty() => {
                self.pairs.remove(i);
            }
            Ok(i) => self.pairs[i].1 = value.into(),
            Err(_) if value.is_empty() => {}
            Err(i) => self.pairs.insert(i, (name.into(), value.into())),
        }
        self
    }

    /// Sets `name` to `value` unless it is set already.
    pub fn set_default(&mut self, name: &str, value: &str) -> &mut LabelsBuilder {
        if self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)).is_err() {
            self.set(name, value);
        }
        self
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) -> &mut LabelsBuilder {
        self.set(name, "")
    }

    /// The finished set.
    pub fn build(&self) -> Labels {
        let mut bytes = Vec::with_capacity(self.pairs.iter().map(|(n, v)| n.len() + v.len() + 2).sum());
        for (name, value) in &self.pairs {
            put_str(&mut bytes, name);
            put_str(&mut bytes, value);
        }
        Labels(Arc::from(bytes))
    }
}

/// Appends one string in canonical form; callers that write sorted, distinct, non-empty pairs produce [`Labels`] bytes.
pub fn put_str(bytes: &mut Vec<u8>, s: &str) {
    let mut n = s.len();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes.extend_from_slice(s.as_bytes());
}

/// How many bytes both begin with.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const WORD: usize = 8;
    let words = a.chunks_exact(WORD).zip(b.chunks_exact(WORD)).take_while(|(a, b)| a == b).count();
    let from = words * WORD;
    from + a[from..].iter().zip(&b[from..]).take_while(|(a, b)| a == b).count()
}

/// The text whose length stands at `at` in canonical bytes, and where it ends.
fn text_at(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let (mut len, mut shift, mut begin) = (0usize, 0u32, at);
    loop {
        let byte = *bytes.get(begin)?;
        begin += 1;
        len |= ((byte & 0x7f) as usize).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    Some((bytes.get(begin..begin + len)?, begin + len))
}

fn take_str<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (mut len, mut shift, mut at) = (0usize, 0u32, 0usize);
    loop {
        let byte = *rest.get(at)?;
        at += 1;
        len |= ((byte & 0x7f) as usize).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            if byte == 0 && at > 1 {
                return None; // not the shortest form of this length
            }
            break;
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
    let bytes = rest.get(at..at.checked_add(len)?)?;
    let s = std::str::from_utf8(bytes).ok()?;
    *rest = &rest[at + len..];
    Some(s)
}

fn validate(mut bytes: &[u8]) -> bool {
    let mut last: Option<&str> = None;
    while !bytes.is_empty() {
        let (Some(name), Some(value)) = (take_str(&mut bytes), take_str(&mut bytes)) else { return false };
        if name.is_empty() || value.is_empty() || last.is_some_and(|l| l >= name) {
            return false;
        }
        last = Some(name);
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn order_of_insertion_and_empty_values_do_not_matter() {
        let a = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", "")]);
        let b = Labels::from_pairs([("a", "x"), ("b", "2"), ("a", "1")]);
        assert_eq!(a, b);
        assert_eq!(a.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(a.get("b"), Some("2"));
        assert_eq!(a.get("z"), None);
        assert_eq!(a.to_string(), r#"{a="1", b="2"}"#);
    }

    #[test]
    fn canonical_bytes_round_trip_and_nothing_else_is_taken() {
        let long = "x".repeat(300);
        let labels = Labels::from_pairs([("a", long.as_str()), ("b", "2")]);
        assert_eq!(Labels::from_bytes(labels.as_bytes()).unwrap(), labels);
        for bad in
            [&b"\x01a"[..], b"\x01b\x011\x01a\x011", b"\x01a\x00", b"\x81\x00a\x01b", b"\x05ab", b"\x01\xff\x01a"]
        {
            assert!(Labels::from_bytes(bad).is_none(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn sets_are_ordered_pair_by_pair(
            a in proptest::collection::btree_map("[a-c]{1,2}", "[x-z]{1,3}|x{130}", 0..4),
            b in proptest::collection::btree_map("[a-c]{1,2}", "[x-z]{1,3}|x{130}", 0..4),
        ) {
            let (a, b) = (Labels::from_pairs(&a), Labels::from_pairs(&b));
            proptest::prop_assert_eq!(a.cmp(&b), a.iter().cmp(b.iter()));
        }

        #[test]
        fn some_labels_of_a_set_are_those_with_the_names(
            set in proptest::collection::btree_map("[a-d]|a{130}", "[x-z]{1,3}|x{130}", 0..5), wanted in "[a-d]{0,4}",
        ) {
            let labels = Labels::from_pairs(&set);
            let keep = |name: &str| wanted.contains(name);
            let expected = Labels::from_pairs(labels.iter().filter(|(name, _)| keep(name)));
            proptest::prop_assert_eq!(&labels.only(keep), &expected);
            for name in ["a", "b", "c", "d", "e", ""] {
                proptest::prop_assert_eq!(labels.get(name), set.get(name).map(String::as_str));
            }
        }

        #[test]
        fn any_bytes_are_refused_or_are_exactly_the_set(bytes in proptest::collection::vec(0u8..20, 0..40)) {
            if let Some(labels) = Labels::from_bytes(&bytes) {
                let again = Labels::from_pairs(labels.iter());
                proptest::prop_assert_eq!(again.as_bytes(), &bytes[..]);
            }
        }
    }
}
