//! Which parts to merge next: a pure, size-tiered choice within one tenant, table and day.
//!
//! Parts come from the head small, and are merged with neighbours of their size, so that each row is rewritten a
//! logarithmic number of times; once a day is over its parts become one, unless that would rewrite much to add little.
//! Parts of event tables stay as they are once they are large: one part fewer saves a search some milliseconds, and rewriting a
//! gigabyte of log lines takes ten seconds of CPU.
//! Only neighbours in the order of appending are merged: what of two samples with one timestamp was the later one stays so.

use std::ops::Range;

/// Fewest parts merged while their day lasts.
const MERGE_PARTS_MIN: usize = 4;
/// Most parts merged at once: bounds memory and time of one step.
const MERGE_PARTS_MAX: usize = 16;
/// The largest part of a merge may have this many times the bytes of the others together.
const LARGEST_SHARE_MAX: u64 = 2;
/// The same for a day that is over: one last rewrite is worth more there.
const LARGEST_SHARE_OVER_MAX: u64 = 8;

/// What a merge may cost, bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Of the merged part, by what its inputs have.
    part: u64,
    /// Rewritten for each part that there is less.
    rewritten: u64,
}

impl Bounds {
    /// Of metrics: a question asks every part for its series.
    pub(crate) fn metrics(part_bytes_max: u64) -> Bounds {
        Bounds { part: part_bytes_max, rewritten: u64::MAX }
    }

    /// Of event tables.
    pub(crate) fn events(part_bytes_max: u64) -> Bounds {
        Bounds { part: part_bytes_max, rewritten: part_bytes_max / 8 }
    }
}

/// The parts to merge, as a range of `bytes`: the sizes of a day's parts in the order of their sequence, bytes.
/// `None`: nothing worth it. `is_over`: no more rows are expected for that day.
pub(crate) fn choose(bytes: &[u64], is_over: bool, bounds: Bounds) -> Option<Range<usize>> {
    let (parts_min, share_max) =
        if is_over { (2, LARGEST_SHARE_OVER_MAX) } else { (MERGE_PARTS_MIN, LARGEST_SHARE_MAX) };
    let mut best: Option<(u64, Range<usize>)> = None;
    for start in 0..bytes.len() {
        let (mut sum, mut largest) = (0u64, 0u64);
        for end in start + 1..=bytes.len().min(start + MERGE_PARTS_MAX) {
            sum = sum.saturating_add(bytes[end - 1]);
            largest = largest.max(bytes[end - 1]);
            if sum > bounds.part {
                break;
            }
            let gain = (end - start - 1) as u64;
            if end - start < parts_min
                || largest > (sum - largest).saturating_mul(share_max)
                || sum > gain.saturating_mul(bounds.rewritten)
            {
                continue;
            }
            // most parts removed for the bytes rewritten: compare sum / (parts - 1) without dividing
            let is_better = best
                .as_ref()
                .is_none_or(|(s, r)| u128::from(sum) * ((r.len() - 1) as u128) < u128::from(*s) * u128::from(gain));
            if is_better {
                best = Some((sum, start..end));
            }
        }
    }
    best.map(|(_, range)| range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses() {
        type Case<'a> = (&'a [u64], bool, Option<Range<usize>>);
        let cases: &[Case<'_>] = &[
            (&[], true, None),
            (&[10], true, None),
            (&[10, 10], false, None),
            (&[10, 10], true, Some(0..2)),
            (&[10, 10, 10], false, None),
            (&[10, 10, 10, 10], false, Some(0..4)),
            // the large one stays out of it
            (&[1000, 10, 10, 10, 10], false, Some(1..5)),
            (&[1000, 10, 10, 10], false, None),
            // a straggler is not worth rewriting its day, several of them become one
            (&[1000, 10], true, None),
            (&[1000, 10, 10], true, Some(1..3)),
            (&[1000, 200], true, Some(0..2)),
            // over the bound of a part
            (&[900_000, 900_000], true, None),
        ];
        for (bytes, is_over, expected) in cases {
            assert_eq!(choose(bytes, *is_over, Bounds::metrics(1_000_000)), *expected, "{bytes:?} {is_over}");
        }
    }

    /// Small ones are merged, large ones stay, and so do large ones with a small one beside them.
    #[test]
    fn event_parts_are_merged_until_they_are_large() {
        let chosen = |bytes: &[u64], is_over| choose(bytes, is_over, Bounds::events(800));
        assert_eq!(chosen(&[70; 4], false), Some(0..4), "280 bytes for three parts less");
        assert_eq!(chosen(&[80; 4], false), None, "320");
        assert_eq!(chosen(&[200; 3], true), None);
        assert_eq!(chosen(&[200, 30, 30], true), Some(1..3));
        assert_eq!(chosen(&[200, 60], true), None);
        let mut parts = Vec::new();
        for flushed in std::iter::repeat_n(1, 1000) {
            parts.push(flushed);
            while let Some(range) = chosen(&parts, false) {
                let sum: u64 = parts[range.clone()].iter().sum();
                parts.splice(range, [sum]);
            }
        }
        assert!(parts.len() <= 20, "{parts:?}");
    }

    /// 1 000 equal parts, one by one: few remain at any time, and little is rewritten.
    #[test]
    fn rewrites_a_logarithmic_number_of_times() {
        let (mut parts, mut rewritten, mut most) = (Vec::<u64>::new(), 0u64, 0);
        for _ in 0..1000 {
            parts.push(100);
            while let Some(range) = choose(&parts, false, Bounds::metrics(u64::MAX)) {
                let sum: u64 = parts[range.clone()].iter().sum();
                rewritten += sum;
                parts.splice(range, [sum]);
            }
            most = most.max(parts.len());
        }
        assert!(most <= 20, "{most} parts at once");
        assert!(rewritten <= 100_000 * 8, "rewritten {} times", rewritten / 100_000);
        while let Some(range) = choose(&parts, true, Bounds::metrics(u64::MAX)) {
            let sum: u64 = parts[range.clone()].iter().sum();
            parts.splice(range, [sum]);
        }
        assert!(parts.len() <= 2, "{parts:?}");
    }
}
