//! Which parts have expired: a pure function of their ages and sizes.

use crate::config::Keep;

/// A part of one table, as far as retention cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aged {
    pub(crate) id: u64,
    pub(crate) max_ts_ms: i64,
    pub(crate) bytes: u64,
}

/// Ids of the parts of one table to remove: those whose newest row is older than allowed, and the oldest of those that
/// are together more bytes than allowed.
pub(crate) fn expired(parts: &[Aged], keep: Keep, now_ms: i64) -> Vec<u64> {
    let mut newest_first = parts.to_vec();
    newest_first.sort_unstable_by_key(|p| std::cmp::Reverse((p.max_ts_ms, p.id)));
    let (mut sum, mut is_over, mut out) = (0u64, false, Vec::new());
    for part in newest_first {
        let is_old = keep.age_ms.is_some_and(|age| part.max_ts_ms < now_ms.saturating_sub(age));
        sum = sum.saturating_add(part.bytes);
        is_over |= keep.bytes.is_some_and(|max| sum > max);
        if is_old || is_over {
            out.push(part.id);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_age_and_by_bytes() {
        let part = |id, max_ts_ms, bytes| Aged { id, max_ts_ms, bytes };
        let parts = [part(1, 100, 10), part(2, 200, 10), part(3, 300, 10)];
        let keep = |age_ms, bytes| Keep { age_ms, bytes };
        let cases: &[(Keep, i64, &[u64])] = &[
            (keep(None, None), i64::MAX, &[]),
            (keep(Some(100), None), 300, &[1]),
            (keep(Some(100), None), 301, &[2, 1]),
            (keep(None, Some(30)), 0, &[]),
            (keep(None, Some(29)), 0, &[1]),
            (keep(None, Some(5)), 0, &[3, 2, 1]),
            (keep(Some(150), Some(10)), 300, &[2, 1]),
        ];
        for (keep, now, ids) in cases {
            assert_eq!(expired(&parts, *keep, *now), *ids, "{keep:?} at {now}");
        }
    }
}
