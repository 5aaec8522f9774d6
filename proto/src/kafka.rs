//! What both ends say to Kafka alike: how brokers are reached, and what a record of ours is. The client itself is theirs.
//!
//! A record's value is an encoded [`crate::Batch`], its key the collector's id (docs/formats/wire.md).

use std::path::PathBuf;

/// Longest topic name Kafka takes, bytes.
pub const TOPIC_BYTES_MAX: usize = 249;
/// Largest record value a collector makes unless it is told otherwise, bytes: a broker's default `message.max.bytes` is
/// 1 048 588 with the record's own frame and key.
pub const VALUE_BYTES_DEFAULT: usize = 1_000_000;
/// What a record may need beyond its value: frame, key and headers, bytes.
pub const RECORD_OVERHEAD_BYTES: usize = 4 << 10;

/// How brokers are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `host:port` of some of them; the others are learned from these.
    pub brokers: Vec<String>,
    /// Encrypted, if given.
    pub tls: Option<Tls>,
    /// Who we are, if brokers ask.
    pub sasl: Option<Sasl>,
}

/// Certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM of the authority; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM of our certificate and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Name and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// How they are shown.
    pub mechanism: Mechanism,
    /// The name.
    pub username: String,
    /// File whose first line is the password; read whenever a client is made, so that a new one is taken up.
    pub password_file: PathBuf,
}

/// How a password is shown (RFC 4616, RFC 5802).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// As it is: only over TLS is it a secret.
    Plain,
    /// Proved, never sent, with SHA-256.
    ScramSha256,
    /// Proved, never sent, with SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// All of them by the words of a config file.
    pub const WORDS: [(&str, Mechanism); 3] = [
        ("plain", Mechanism::Plain),
        ("scram-sha-256", Mechanism::ScramSha256),
        ("scram-sha-512", Mechanism::ScramSha512),
    ];

    /// Kafka's name for it.
    fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Connection {
    /// The properties of librdkafka (its CONFIGURATION.md) that say the same. `password` is what stands in the password file.
    pub fn properties(&self, password: &str) -> Vec<(&'static str, String)> {
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        let mut out = vec![("bootstrap.servers", self.brokers.join(",")), ("security.protocol", protocol.to_owned())];
        let path = |path: &PathBuf| path.display().to_string();
        if let Some(tls) = &self.tls {
            out.extend(tls.ca_file.as_ref().map(|file| ("ssl.ca.location", path(file))));
            if let Some((cert_file, key_file)) = &tls.identity {
                out.push(("ssl.certificate.location", path(cert_file)));
                out.push(("ssl.key.location", path(key_file)));
            }
        }
        if let Some(sasl) = &self.sasl {
            out.push(("sasl.mechanism", sasl.mechanism.as_str().to_owned()));
            out.push(("sasl.username", sasl.username.clone()));
            out.push(("sasl.password", password.to_owned()));
        }
        out
    }
}

/// Whether a text is `host:port` of a broker.
pub fn is_broker(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host_is_one = match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(plain),
    };
    host_is_one && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Whether a text can be a topic's name.
pub fn is_topic(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=TOPIC_BYTES_MAX).contains(&text.len()) && !matches!(text, "." | "..") && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protection_becomes_its_properties() {
        let tls = Tls { ca_file: Some("/ca".into()), identity: Some(("/c".into(), "/k".into())) };
        let sasl = |mechanism| Sasl { mechanism, username: "u".into(), password_file: "/p".into() };
        let of = |tls: Option<Tls>, sasl: Option<Sasl>| {
            let connection = Connection { brokers: vec!["a:1".into(), "b:2".into()], tls, sasl };
            let properties = connection.properties("secret");
            properties.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
        };
        let brokers = "bootstrap.servers=a:1,b:2 security.protocol=";
        let files = " ssl.ca.location=/ca ssl.certificate.location=/c ssl.key.location=/k";
        let login = |mechanism| format!(" sasl.mechanism={mechanism} sasl.username=u sasl.password=secret");
        assert_eq!(of(None, None), format!("{brokers}plaintext"));
        assert_eq!(of(Some(Tls::default()), None), format!("{brokers}ssl"));
        assert_eq!(of(Some(tls.clone()), None), format!("{brokers}ssl{files}"));
        let plain = of(None, Some(sasl(Mechanism::Plain)));
        assert_eq!(plain, format!("{brokers}sasl_plaintext{}", login("PLAIN")));
        let scram = of(Some(tls), Some(sasl(Mechanism::ScramSha512)));
        assert_eq!(scram, format!("{brokers}sasl_ssl{files}{}", login("SCRAM-SHA-512")));
        let connection = Connection { brokers: vec![], tls: None, sasl: Some(sasl(Mechanism::ScramSha256)) };
        assert!(!format!("{connection:?}").contains("secret"));
    }

    #[test]
    fn names_that_can_be_and_that_can_not() {
        for good in ["kafka1:9092", "10.0.0.1:1", "[::1]:9092", "a-b.c_d:65535"] {
            assert!(is_broker(good), "{good}");
        }
        for bad in ["kafka1", "kafka1:", ":9092", "a:0", "a:70000", "a b:1", "[x]:1", "kafka://a:1", "a:1,b:2"] {
            assert!(!is_broker(bad), "{bad}");
        }
        for good in ["tidewatch", "a.b-c_D9"] {
            assert!(is_topic(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "前", &"x".repeat(250)] {
            assert!(!is_topic(bad), "{bad}");
        }
    }
}
