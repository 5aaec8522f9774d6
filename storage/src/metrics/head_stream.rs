//! The samples of one series in the head: an append-only stream of tokens, a few bytes a sample, nothing for repeats.
//!
//! A sample that continues the rhythm with the same value only counts up `run`. Else one token is written:
//! - `1nnnnnnn`: `n` (1–126) repeats of the sample before it, each one delta later; 127: a varint with `n` follows;
//! - `0iiiitvv`: a sample. `t`: a zigzag varint, the change of the delta, follows. `vv`: 0 same value; 1 the value and the
//!   one before it are integers and differ by the zigzag number `iiii` (15: a varint with it follows); 2 a byte
//!   `(leading << 4) | kept` and the `kept` bytes of the xor with the value before it, leading and trailing zero bytes left out.
//!
//! In memory only: never written to disk, so it may change with any release.

use super::varint;

const RUN: u8 = 0x80;
const RUN_INLINE_MAX: u32 = 126;
const TIME: u8 = 1 << 2;
const SAME: u8 = 0;
const INTEGER: u8 = 1;
const XOR: u8 = 2;
const INLINE_SHIFT: u8 = 3;
const INLINE_MAX: u64 = 14;
/// Largest float up to which every integer is exact.
const INTEGER_MAX: f64 = (1u64 << 53) as f64;

/// One series' samples in the order they were appended.
#[derive(Clone, Default)]
pub(crate) struct Stream {
    tokens: Vec<u8>,
    last_ts: i64,
    last_delta: i64,
    last_bits: u64,
    min_ts: i64,
    max_ts: i64,
    run: u32,
    count: u32,
    disordered: bool,
}

impl Stream {
    /// Appends a sample; gives the growth in bytes of memory.
    pub(crate) fn append(&mut self, timestamp: i64, value: f64) -> usize {
        let bits = value.to_bits();
        let delta = timestamp.wrapping_sub(self.last_ts);
        if self.count == 0 {
            (self.min_ts, self.max_ts) = (timestamp, timestamp);
        } else if delta == self.last_delta && bits == self.last_bits && self.run < u32::MAX {
            self.run += 1;
            self.note(timestamp);
            return 0;
        }
        let before = self.tokens.capacity();
        self.put_run();
        let change = delta.wrapping_sub(self.last_delta);
        let time = if change == 0 { 0 } else { TIME };
        let last = f64::from_bits(self.last_bits);
        if bits == self.last_bits {
            self.tokens.push(time | SAME);
            self.put_change(change);
        } else if let Some((now, was)) = integer(value).zip(integer(last)) {
            let step = now - was;
            let zigzag = ((step << 1) ^ (step >> 63)) as u64;
            let inline = zigzag.min(INLINE_MAX + 1);
            self.tokens.push(time | INTEGER | (inline as u8) << INLINE_SHIFT);
            self.put_change(change);
            if inline > INLINE_MAX {
                varint::put(&mut self.tokens, zigzag);
            }
        } else {
            let xor = bits ^ self.last_bits;
            let leading = xor.leading_zeros() / 8;
            let kept = 8 - leading - xor.trailing_zeros() / 8;
            self.tokens.push(time | XOR);
            self.put_change(change);
            self.tokens.push((leading << 4 | kept) as u8);
            let start = leading as usize;
            self.tokens.extend_from_slice(&xor.to_be_bytes()[start..start + kept as usize]);
        }
        self.last_delta = if self.count == 0 { 0 } else { delta };
        self.last_bits = bits;
        self.note(timestamp);
        self.tokens.capacity() - before
    }

    fn note(&mut self, timestamp: i64) {
        self.disordered |= self.count > 0 && timestamp <= self.last_ts;
        self.last_ts = timestamp;
        self.min_ts = self.min_ts.min(timestamp);
        self.max_ts = self.max_ts.max(timestamp);
        self.count += 1;
    }

    fn put_change(&mut self, change: i64) {
        if change != 0 {
            varint::put_signed(&mut self.tokens, change);
        }
    }

    fn put_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        match run {
            0 => {}
            1..=RUN_INLINE_MAX => self.tokens.push(RUN | run as u8),
            _ => {
                self.tokens.push(RUN | 127);
                varint::put(&mut self.tokens, run as u64);
            }
        }
    }

    /// Samples, duplicates included.
    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    /// Whether some sample lies within the range's hull.
    pub(crate) fn overlaps(&self, min_ts: i64, max_ts: i64) -> bool {
        self.count > 0 && self.min_ts <= max_ts && self.max_ts >= min_ts
    }

    /// Its oldest and newest timestamp, if it has a sample.
    pub(crate) fn cover(&self) -> Option<(i64, i64)> {
        (self.count > 0).then_some((self.min_ts, self.max_ts))
    }

    /// Appends the samples within the range to the columns, in the order they were appended.
    pub(crate) fn read(&self, min_ts: i64, max_ts: i64, timestamps: &mut Vec<i64>, values: &mut Vec<f64>) {
        let inside = min_ts <= self.min_ts && self.max_ts <= max_ts;
        if inside {
            timestamps.reserve(self.count as usize);
            values.reserve(self.count as usize);
        }
        let mut rest = &self.tokens[..];
        let (mut ts, mut delta, mut bits, mut first) = (0i64, 0i64, 0u64, true);
        let mut repeat = |n: u64, ts: &mut i64, delta: i64, bits: u64| {
            let value = f64::from_bits(bits);
            if inside {
                timestamps.extend((1..=n as i64).map(|i| ts.wrapping_add(i.wrapping_mul(delta))));
                values.resize(values.len() + n as usize, value);
                *ts = ts.wrapping_add(delta.wrapping_mul(n as i64));
                return;
            }
            for _ in 0..n {
                *ts = ts.wrapping_add(delta);
                if (min_ts..=max_ts).contains(ts) {
                    timestamps.push(*ts);
                    values.push(value);
                }
            }
        };
        // the stream is this module's own writing: a `None` below can only be its end
        while let Some((&token, tail)) = rest.split_first() {
            rest = tail;
            if token & RUN != 0 {
                let n = (token & 127) as u64;
                let n = if n == 127 { varint::take(&mut rest).unwrap_or(0) } else { n };
                repeat(n, &mut ts, delta, bits);
                continue;
            }
            if token & TIME != 0 {
                delta = delta.wrapping_add(varint::take_signed(&mut rest).unwrap_or(0));
            }
            match token & 3 {
                INTEGER => {
                    let inline = (token >> INLINE_SHIFT) as u64;
                    let zigzag = if inline > INLINE_MAX { varint::take(&mut rest).unwrap_or(0) } else { inline };
                    let step = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
                    bits = ((f64::from_bits(bits) as i64).wrapping_add(step) as f64).to_bits();
                }
                XOR => {
                    let shape = rest.first().copied().unwrap_or(0);
                    let (leading, kept) = ((shape >> 4) as usize, (shape & 15) as usize);
                    let mut bytes = [0u8; 8];
                    if let Some(from) = rest.get(1..1 + kept)
                        && let Some(to) = bytes.get_mut(leading..leading + kept)
                    {
                        to.copy_from_slice(from);
                        rest = &rest[1 + kept..];
                    }
                    bits ^= u64::from_be_bytes(bytes);
                }
                _ => {}
            }
            repeat(1, &mut ts, delta, bits);
            if first {
                (first, delta) = (false, 0);
            }
        }
        repeat(self.run as u64, &mut ts, delta, bits);
    }

    /// Whether the samples were appended in strictly ascending order of time.
    pub(crate) fn ascending(&self) -> bool {
        !self.disordered
    }
}

/// The value as an integer, if that loses nothing (−0.0 would).
fn integer(value: f64) -> Option<i64> {
    let n = value as i64;
    (value.abs() < INTEGER_MAX && (n as f64).to_bits() == value.to_bits()).then_some(n)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metrics::testdata::arbitrary_value;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_sample_comes_back_in_its_order(
            samples in proptest::collection::vec((prop_oneof![Just(1000i64), Just(1000), -5000..20_000i64, any::<i64>()], arbitrary_value()), 0..300),
            from in -100_000i64..100_000, to in -100_000i64..400_000,
        ) {
            let mut stream = Stream::default();
            let mut ts = 0i64;
            let mut expected = Vec::new();
            for (delta, value) in samples {
                ts = ts.wrapping_add(delta);
                stream.append(ts, value);
                expected.push((ts, value.to_bits()));
            }
            for (from, to) in [(i64::MIN, i64::MAX), (from, to)] {
                let (mut timestamps, mut values) = (vec![], vec![]);
                stream.read(from, to, &mut timestamps, &mut values);
                let got: Vec<_> = timestamps.iter().copied().zip(values.iter().map(|v| v.to_bits())).collect();
                let expected: Vec<_> = expected.iter().copied().filter(|s| (from..=to).contains(&s.0)).collect();
                prop_assert_eq!(got, expected);
            }
        }
    }

    #[test]
    fn a_series_that_stands_still_costs_nothing_more() {
        let mut stream = Stream::default();
        (0..10_000).for_each(|i| {
            stream.append(1_700_000_000_000 + i * 10_000, 42.0);
        });
        assert!(stream.tokens.len() < 20, "{}", stream.tokens.len());
    }
}
