//! What the error codes of providers mean: a table per provider, looked up exactly, then by the longest prefix.

use crate::deliver::Receipt;
use crate::exchange::{Broken, Reply};

/// What an answer means for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// The peer has it.
    Taken,
    /// Not now, perhaps not before this many milliseconds.
    Again(Option<i64>),
    /// Never, as it is.
    Refused,
}

/// A minute and an hour: how long providers' counters run.
pub const MINUTE_MS: i64 = 60_000;
/// See [`MINUTE_MS`].
pub const HOUR_MS: i64 = 3_600_000;

/// Codes and what they mean; a code that ends in `*` stands for all that begin with what is before it.
pub type Codes = &'static [(&'static str, Means)];

/// What a code means; `None`: the table doesn't know it.
pub fn look_up(codes: Codes, code: &str) -> Option<Means> {
    let exact = codes.iter().find(|(known, _)| *known == code);
    let by_prefix = || {
        let fitting = codes.iter().filter(|(known, _)| known.strip_suffix('*').is_some_and(|p| code.starts_with(p)));
        fitting.max_by_key(|(known, _)| known.len())
    };
    exact.or_else(by_prefix).map(|(_, means)| *means)
}

/// The receipt for a chat robot's answer. The code in the body decides, whatever the status; without one the status does.
/// A success without the code that says so is none: it is tried again.
pub fn receipt(answer: Result<Reply, Broken>, code: fn(&Reply) -> Option<String>, codes: Codes) -> Receipt {
    let reply = match answer {
        Ok(reply) => reply,
        Err(broken) => return Receipt::again(broken.words(), None),
    };
    let detail = reply.detail();
    let code = code(&reply);
    match code.as_deref().and_then(|code| look_up(codes, code)) {
        Some(Means::Taken) if reply.is_success() => Receipt::taken(detail),
        Some(Means::Again(after_ms)) => Receipt::again(detail, reply.retry_after_ms.max(after_ms)),
        Some(Means::Refused) => Receipt::refused(detail),
        _ if reply.is_success() || reply.is_for_later() || code.is_some() => {
            Receipt::again(detail, reply.retry_after_ms)
        }
        _ => Receipt::refused(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_codes_win_over_prefixes_and_long_ones_over_short() {
        const CODES: Codes = &[("a.*", Means::Refused), ("a.b.*", Means::Again(None)), ("a.b.c", Means::Taken)];
        for (code, expected) in [
            ("a.x", Some(Means::Refused)),
            ("a.b.x", Some(Means::Again(None))),
            ("a.b.c", Some(Means::Taken)),
            ("b", None),
        ] {
            assert_eq!(look_up(CODES, code), expected, "{code}");
        }
    }
}
