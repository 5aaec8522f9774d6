//! Integers as differences of order 0, 1 or 2, in blocks: each number as far above the smallest of its block as so many bits hold,
//! the few that are further above it listed behind (a patched frame of reference). Noise costs no more than its bits, and reading
//! is one load, one shift and as many additions as the order.

use super::{
    codec::{CodecError, damaged},
    varint,
};

/// Numbers of a block.
const BLOCK: usize = 128;
/// Highest order of differences.
const ORDER_MAX: usize = 2;
/// Widths up to here are read by one load of eight bytes, wherever in a byte a number begins.
const ONE_LOAD_BITS: u32 = 57;

/// How a block is written.
#[derive(Clone, Copy)]
struct Shape {
    smallest: i64,
    /// Bits of each number that stand together.
    bits: u32,
    /// Numbers that have more.
    exceptions: usize,
    /// What it takes in all.
    bytes: usize,
}

impl Shape {
    /// The cheapest; `block` isn't empty.
    fn of(block: &[i64]) -> Shape {
        let smallest = block.iter().copied().min().unwrap_or_default();
        let mut lengths = [0usize; 65];
        for number in block {
            lengths[bit_length(above(*number, smallest))] += 1;
        }
        let head = varint::signed_bytes(smallest) + 1;
        let (mut best, mut exceptions) = (None::<Shape>, 0);
        for bits in (0..=64).rev() {
            // an exception: its distance from the one before and what stands above the bits
            let beyond: usize = (bits + 1..=64)
                .filter(|length| lengths[*length] > 0)
                .map(|l| lengths[l] * (1 + (l - bits).div_ceil(7)))
                .sum();
            let bytes = head + 1 + (block.len() * bits).div_ceil(8) + beyond;
            if best.is_none_or(|best| bytes < best.bytes) {
                best = Some(Shape { smallest, bits: bits as u32, exceptions, bytes });
            }
            exceptions += lengths[bits];
        }
        best.unwrap_or(Shape { smallest, bits: 64, exceptions: 0, bytes: usize::MAX })
    }

    fn put(&self, block: &[i64], out: &mut Vec<u8>) {
        varint::put_signed(out, self.smallest);
        out.push(self.bits as u8);
        out.push(self.exceptions as u8);
        let (mut waiting, mut waiting_bits) = (0u128, 0);
        for number in block {
            waiting |= u128::from(above(*number, self.smallest) & mask(self.bits)) << waiting_bits;
            waiting_bits += self.bits;
            while waiting_bits >= 8 {
                out.push(waiting as u8);
                (waiting, waiting_bits) = (waiting >> 8, waiting_bits - 8);
            }
        }
        if waiting_bits > 0 {
            out.push(waiting as u8);
        }
        let mut next = 0;
        for (at, number) in block.iter().enumerate() {
            let beyond = above(*number, self.smallest).checked_shr(self.bits).unwrap_or(0);
            if beyond > 0 {
                out.push((at - next) as u8);
                varint::put(out, beyond);
                next = at + 1;
            }
        }
    }
}

/// Appends the numbers.
pub(super) fn put(numbers: &[i64], out: &mut Vec<u8>) {
    let mut best = (usize::MAX, Vec::new(), Vec::new(), Vec::new());
    let (mut differences, mut firsts) = (numbers.to_vec(), Vec::new());
    for order in 0..=ORDER_MAX.min(numbers.len()) {
        if order > 0 {
            firsts.push(differences[0]);
            differences = differences.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        }
        let shapes: Vec<Shape> = differences.chunks(BLOCK).map(Shape::of).collect();
        let of_firsts: usize = firsts.iter().map(|first| varint::signed_bytes(*first)).sum();
        let bytes = of_firsts + shapes.iter().map(|shape| shape.bytes).sum::<usize>();
        if bytes < best.0 {
            best = (bytes, firsts.clone(), differences.clone(), shapes);
        }
        if order == numbers.len() {
            break;
        }
    }
    let (_, firsts, differences, shapes) = best;
    out.push(firsts.len() as u8);
    firsts.iter().for_each(|first| varint::put_signed(out, *first));
    differences.chunks(BLOCK).zip(shapes).for_each(|(block, shape)| shape.put(block, out));
}

/// Decodes `count` numbers, which use up `bytes`, and appends what `of` makes of them to `out`.
pub(super) fn take(
    codec: &'static str,
    mut bytes: &[u8],
    count: usize,
    out: &mut Vec<f64>,
    of: impl Fn(i64) -> f64,
) -> Result<(), CodecError> {
    let cut = damaged(codec, "cut off");
    let (&order, rest) = bytes.split_first().ok_or(cut)?;
    bytes = rest;
    let order = usize::from(order);
    if order > ORDER_MAX.min(count) {
        return Err(damaged(codec, "differences of a higher order than there may be"));
    }
    // the last number, and the last difference
    let mut last = [0i64; ORDER_MAX];
    for first in &mut last[..order] {
        *first = varint::take_signed(&mut bytes).ok_or(cut)?;
    }
    let mut left = count - order;
    // a block takes three bytes at least: no more is reserved than can be there
    out.reserve(count.min(order + bytes.len() / 3 * BLOCK));
    match order {
        0 => {}
        1 => out.push(of(last[0])),
        _ => {
            let second = last[0].wrapping_add(last[1]);
            out.extend([of(last[0]), of(second)]);
            last[0] = second;
        }
    }
    let mut block = [0u64; BLOCK];
    while left > 0 {
        let block = &mut block[..left.min(BLOCK)];
        let smallest = take_block(codec, &mut bytes, block)?;
        let numbers = block.iter().map(|number| smallest.wrapping_add(*number as i64));
        match order {
            0 => out.extend(numbers.map(&of)),
            1 => out.extend(numbers.map(|difference| {
                last[0] = last[0].wrapping_add(difference);
                of(last[0])
            })),
            _ => out.extend(numbers.map(|change| {
                last[1] = last[1].wrapping_add(change);
                last[0] = last[0].wrapping_add(last[1]);
                of(last[0])
            })),
        }
        left -= block.len();
    }
    if bytes.is_empty() { Ok(()) } else { Err(damaged(codec, "more bytes than the samples that the row says")) }
}

/// Takes a block off the front of `bytes`: how far each number is above the smallest, which is returned.
fn take_block(codec: &'static str, bytes: &mut &[u8], block: &mut [u64]) -> Result<i64, CodecError> {
    let cut = damaged(codec, "cut off");
    let smallest = varint::take_signed(bytes).ok_or(cut)?;
    let (&[bits, exceptions], rest) = bytes.split_first_chunk().ok_or(cut)?;
    let bits = u32::from(bits);
    if bits > u64::BITS {
        return Err(damaged(codec, "more than 64 bits a number"));
    }
    let (packed, rest) = rest.split_at_checked((block.len() * bits as usize).div_ceil(8)).ok_or(cut)?;
    unpack(packed, bits, block);
    *bytes = rest;
    let mut next = 0;
    for _ in 0..exceptions {
        let (&gap, rest) = bytes.split_first().ok_or(cut)?;
        *bytes = rest;
        let beyond = varint::take(bytes).ok_or(cut)?;
        let at = next + usize::from(gap);
        let number = block.get_mut(at).ok_or(damaged(codec, "an exception past the last sample of its block"))?;
        if beyond == 0 || bits > beyond.leading_zeros() {
            return Err(damaged(codec, "an exception that is none, or of more than 64 bits"));
        }
        *number |= beyond << bits;
        next = at + 1;
    }
    Ok(smallest)
}

/// Numbers of `bits` each, the lowest bits of the first byte first.
fn unpack(packed: &[u8], bits: u32, out: &mut [u64]) {
    if bits == 0 {
        return out.fill(0);
    }
    let place = |i: usize| (i * bits as usize / 8, (i * bits as usize % 8) as u32);
    // those that lie in eight bytes that are there
    let whole = match bits <= ONE_LOAD_BITS && packed.len() >= 8 {
        true => (((packed.len() - 8) * 8 + 7) / bits as usize + 1).min(out.len()),
        false => 0,
    };
    let (in_one, others) = out.split_at_mut(whole);
    for (i, number) in in_one.iter_mut().enumerate() {
        let (byte, shift) = place(i);
        let eight = packed[byte..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
        *number = eight >> shift & mask(bits);
    }
    for (i, number) in others.iter_mut().enumerate() {
        let (byte, shift) = place(whole + i);
        let mut wide = [0; 16];
        let there = &packed[byte..packed.len().min(byte + 9)];
        wide[..there.len()].copy_from_slice(there);
        *number = (u128::from_le_bytes(wide) >> shift) as u64 & mask(bits);
    }
}

fn above(number: i64, smallest: i64) -> u64 {
    number.wrapping_sub(smallest) as u64
}

fn bit_length(number: u64) -> usize {
    (u64::BITS - number.leading_zeros()) as usize
}

fn mask(bits: u32) -> u64 {
    u64::MAX.checked_shr(u64::BITS - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn back(bytes: &[u8], count: usize) -> Result<Vec<i64>, CodecError> {
        let mut out = Vec::new();
        take("packed", bytes, count, &mut out, |number| f64::from_bits(number as u64))?;
        Ok(out.into_iter().map(|number| number.to_bits() as i64).collect())
    }

    fn packed(numbers: &[i64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(numbers, &mut bytes);
        bytes
    }

    #[test]
    fn a_number_takes_its_bits() {
        let noise = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for bits in 0..=64 {
            let numbers: Vec<i64> = (0..300).map(|i| (noise(i) & mask(bits)) as i64).collect();
            let bytes = packed(&numbers);
            assert_eq!(back(&bytes, 300), Ok(numbers), "{bits} bits");
            assert!(bytes.len() <= 300 * bits as usize / 8 + 40, "{bits} bits: {} bytes", bytes.len());
        }
    }

    #[test]
    fn what_is_far_from_the_others_is_listed_apart() {
        let mut numbers: Vec<i64> = (0..200).map(|i| i * 1_000 + i % 3).collect();
        (numbers[60], numbers[199]) = (i64::MAX, i64::MIN);
        let bytes = packed(&numbers);
        assert_eq!(back(&bytes, 200), Ok(numbers));
        assert!(bytes.len() < 200, "{} bytes", bytes.len());
    }

    #[test]
    fn damage_is_told() {
        let bytes = packed(&(0..150).map(|i| i * i % 97).collect::<Vec<i64>>());
        for count in [149, 151, 0] {
            assert!(back(&bytes, count).is_err(), "{count}");
        }
        for length in 0..bytes.len() {
            assert!(back(&bytes[..length], 150).is_err(), "{length} bytes");
        }
        assert!(back(&[3, 2, 2, 2, 0, 0, 0], 4).is_err(), "an order of three");
        assert!(back(&[0, 0, 65, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1).is_err(), "65 bits");
        assert!(back(&[0, 0, 0, 1, 5, 1], 5).is_err(), "an exception past the end");
        assert!(back(&[0, 0, 8, 1, 0, 0, 0], 1).is_err(), "an exception of nothing");
        assert!(back(&[0, 0, 63, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], 1).is_err(), "65 bits by an exception");
    }

    proptest! {
        #[test]
        fn numbers_come_back(
            any in proptest::collection::vec(any::<i64>(), 0..300), near in proptest::collection::vec(-40_000i64..40_000, 0..300),
            seldom in proptest::collection::vec(prop_oneof![20 => 0i64..100, 1 => any::<i64>()], 0..300),
        ) {
            for numbers in [any, near, seldom] {
                prop_assert_eq!(back(&packed(&numbers), numbers.len()), Ok(numbers));
            }
        }
    }
}
