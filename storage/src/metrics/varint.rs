//! Variable-length integers: LEB128 for unsigned, zigzag before it for signed; and the cost of bytes after entropy coding.

/// Appends `n`, seven bits a byte, lowest first, the high bit set on all but the last.
pub(crate) fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a signed number: 0, −1, 1, −2 … become 0, 1, 2, 3 …
pub(crate) fn put_signed(out: &mut Vec<u8>, n: i64) {
    put(out, zigzag(n));
}

/// Bytes that [`put_signed`] takes for `n`.
pub(crate) fn signed_bytes(n: i64) -> usize {
    (u64::BITS - (zigzag(n) | 1).leading_zeros()).div_ceil(7) as usize
}

/// Takes a number off the front of `rest`; `None` if it is cut off or longer than 64 bits.
pub(crate) fn take(rest: &mut &[u8]) -> Option<u64> {
    let (&first, tail) = rest.split_first()?;
    if first < 0x80 {
        *rest = tail;
        return Some(first as u64);
    }
    let mut n = (first & 0x7f) as u64;
    for (i, &byte) in tail.iter().take(9).enumerate() {
        let shift = 7 * (i as u32 + 1);
        if shift == 63 && byte > 1 {
            return None;
        }
        n |= ((byte & 0x7f) as u64) << shift;
        if byte < 0x80 {
            *rest = &tail[i + 1..];
            return Some(n);
        }
    }
    None
}

/// The signed counterpart of [`take`].
pub(crate) fn take_signed(rest: &mut &[u8]) -> Option<i64> {
    take(rest).map(unzigzag)
}

/// Appends exactly `count` signed numbers from `bytes` to `out`; `None` unless they use up `bytes` exactly.
/// Eight one-byte numbers at a time where they stand together, as they do in regular data.
pub(crate) fn take_signed_all(mut bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Option<()> {
    if count > bytes.len() {
        return None; // each takes at least one byte: nothing is reserved for what cannot be there
    }
    out.reserve(count);
    let mut left = count;
    while left > 0 {
        if left >= 8
            && let Some((eight, tail)) = bytes.split_first_chunk::<8>()
            && u64::from_le_bytes(*eight) & 0x8080_8080_8080_8080 == 0
        {
            out.extend(eight.map(|b| unzigzag(b as u64)));
            bytes = tail;
            left -= 8;
            continue;
        }
        out.push(take_signed(&mut bytes)?);
        left -= 1;
    }
    bytes.is_empty().then_some(())
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// What an order-0 entropy coder would make of `bytes`, in bytes: the estimate of a chunk's share of its compressed page.
pub(crate) fn entropy_bytes(bytes: &[u8]) -> usize {
    let mut counts = [0u32; 256];
    for &b in bytes {
        counts[b as usize] += 1;
    }
    let total = bytes.len() as f64;
    let bits: f64 = counts.iter().filter(|&&c| c > 0).map(|&c| c as f64 * (total / c as f64).log2()).sum();
    (bits / 8.0).ceil() as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    proptest::proptest! {
        #[test]
        fn numbers_come_back(numbers in proptest::collection::vec(proptest::num::i64::ANY, 0..40), small in proptest::collection::vec(-64i64..64, 0..40)) {
            for list in [numbers, small] {
                let mut bytes = Vec::new();
                list.iter().for_each(|&n| put_signed(&mut bytes, n));
                proptest::prop_assert_eq!(bytes.len(), list.iter().map(|&n| signed_bytes(n)).sum::<usize>());
                let mut out = Vec::new();
                take_signed_all(&bytes, list.len(), &mut out).unwrap();
                proptest::prop_assert_eq!(out, list);
            }
        }

        #[test]
        fn any_bytes_end_in_a_number_or_in_none(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..24), count in 0usize..40) {
            let mut out = Vec::new();
            let _ = take_signed_all(&bytes, count, &mut out);
            proptest::prop_assert!(out.len() <= count);
        }
    }
}
