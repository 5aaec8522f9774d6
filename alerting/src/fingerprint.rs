//! The identity of an alert: 64 bits of its labels, equal to what Alertmanager computes.
//!
//! FNV-1a over name, 0xff, value, 0xff of each label, names ascending (github.com/prometheus/common, model/signature.go).

use proto::Labels;

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;
const SEPARATOR: u8 = 0xff;

/// A fingerprint; prints as 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// The fingerprint of a label set.
    pub fn of(labels: &Labels) -> Fingerprint {
        let mut hash = Fnv::default();
        for (name, value) in labels {
            hash.write(name.as_bytes());
            hash.write(&[SEPARATOR]);
            hash.write(value.as_bytes());
            hash.write(&[SEPARATOR]);
        }
        Fingerprint(hash.0)
    }

    /// Reads 16 hex digits.
    pub fn parse(text: &str) -> Option<Fingerprint> {
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Fingerprint)).flatten()
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// FNV-1a, 64 bits: small, stable in every release; used for identities that live on disk.
pub(crate) struct Fnv(pub(crate) u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(OFFSET_BASIS)
    }
}

impl Fnv {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// One string with its end marked.
    pub(crate) fn text(&mut self, text: &str) -> &mut Fnv {
        self.write(text.as_bytes());
        self.write(&[SEPARATOR]);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_set_is_the_offset_basis_and_text_round_trips() {
        let none = Fingerprint::of(&Labels::empty());
        assert_eq!(none.to_string(), "cbf29ce484222325");
        let some = Fingerprint::of(&Labels::from_pairs([("alertname", "X")]));
        assert_ne!(none, some);
        assert_eq!(Fingerprint::parse(&some.to_string()), Some(some));
        assert_eq!(Fingerprint::parse("xyz"), None);
    }
}
