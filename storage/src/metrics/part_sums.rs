//! Checksums of a part, inside the part: Parquet readers meet damage with wrong values or a panic, so no byte reaches them
//! unchecked.
//!
//! The key-value `tidewatch.crc32c` reads `crc32c/1:TTTTTTTT:EEEEEEEEEEEEEEEE:BBBBBBBB…`, all hexadecimal: `E` is where the
//! column data ends; each `B` is the CRC32C of one block of 64 KiB of the file before `E` (the last may be shorter); `T`
//! is the CRC32C of everything from `E` to the end of the file, with `T`'s own eight digits read as `00000000`.

use std::ops::Range;

use parquet::file::metadata::KeyValue;

/// Key in the file's metadata.
pub(crate) const KEY: &str = "tidewatch.crc32c";
const PREFIX: &[u8] = b"crc32c/1:";
const DIGITS: usize = 8;
const END_DIGITS: usize = 16;
/// What one checksum covers: little enough that a read of one page reads little more.
pub(crate) const BLOCK_BYTES: u64 = 64 << 10;

/// Checksums of the blocks before `end`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) end: u64,
    pub(crate) blocks: Vec<u32>,
    /// CRC so far and bytes of the block that is not full.
    open: (u32, u64),
}

impl Sums {
    /// Takes the next bytes of the file.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        self.end += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min((BLOCK_BYTES - self.open.1) as usize));
            self.open = (crc32c::crc32c_append(self.open.0, now), self.open.1 + now.len() as u64);
            if self.open.1 == BLOCK_BYTES {
                self.blocks.push(self.open.0);
                self.open = (0, 0);
            }
            bytes = rest;
        }
    }

    /// The metadata entry, with zeros for the tail's checksum; no bytes of column data may follow.
    pub(crate) fn finish(&mut self) -> KeyValue {
        if self.open.1 > 0 {
            self.blocks.push(std::mem::take(&mut self.open).0);
        }
        let mut text = format!("crc32c/1:{:08x}:{:016x}:", 0, self.end);
        self.blocks.iter().for_each(|sum| text += &format!("{sum:08x}"));
        KeyValue::new(KEY.into(), text)
    }

    /// The whole blocks that cover `range`, and which they are; `None` if it reaches past them.
    pub(crate) fn cover(&self, range: &Range<u64>) -> Option<(Range<u64>, Range<usize>)> {
        let blocks = (range.start / BLOCK_BYTES) as usize..range.end.div_ceil(BLOCK_BYTES) as usize;
        let cover = blocks.start as u64 * BLOCK_BYTES..(blocks.end as u64 * BLOCK_BYTES).min(self.end);
        (range.start <= range.end && range.end <= self.end && blocks.end <= self.blocks.len())
            .then_some((cover, blocks))
    }

    /// Whether `bytes` are these blocks.
    pub(crate) fn hold(&self, blocks: Range<usize>, bytes: &[u8]) -> bool {
        bytes.chunks(BLOCK_BYTES as usize).map(crc32c::crc32c).eq(self.blocks[blocks].iter().copied())
    }
}

/// Puts the tail's checksum into a finished tail (everything from [`Sums::end`] on) whose entry has zeros.
pub(crate) fn seal_tail(tail: &mut [u8]) {
    if let Some(at) = entry(tail) {
        let sum = format!("{:08x}", crc32c::crc32c(tail));
        tail[at..at + DIGITS].copy_from_slice(sum.as_bytes());
    }
}

/// Reads the entry out of the last bytes of a file of `size`: the sums, and the tail's own checksum. `None`: there is none.
pub(crate) fn parse(last: &[u8], size: u64) -> Option<(Sums, u32)> {
    let at = entry(last)?;
    let hex = |range: Range<usize>| u64::from_str_radix(std::str::from_utf8(last.get(range)?).ok()?, 16).ok();
    let tail_sum = hex(at..at + DIGITS)? as u32;
    let end_at = at + DIGITS + 1;
    let end = hex(end_at..end_at + END_DIGITS).filter(|&end| end <= size)?;
    let blocks_at = end_at + END_DIGITS + 1;
    let count = end.div_ceil(BLOCK_BYTES) as usize;
    last.get(blocks_at..blocks_at.checked_add(count.checked_mul(DIGITS)?)?)?;
    let block = |i: usize| hex(blocks_at + i * DIGITS..blocks_at + (i + 1) * DIGITS).map(|sum| sum as u32);
    let blocks = (0..count).map(block).collect::<Option<Vec<u32>>>()?;
    Some((Sums { end, blocks, open: (0, 0) }, tail_sum))
}

/// Whether a whole tail has this checksum.
pub(crate) fn tail_holds(tail: &[u8], sum: u32) -> bool {
    let Some(at) = entry(tail) else { return false };
    let before = crc32c::crc32c(&tail[..at]);
    let zeros = crc32c::crc32c_append(before, &[b'0'; DIGITS]);
    crc32c::crc32c_append(zeros, &tail[at + DIGITS..]) == sum
}

/// Where the tail checksum's digits stand: behind the last prefix.
fn entry(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(PREFIX.len()).rposition(|window| window == PREFIX)? + PREFIX.len();
    (at + DIGITS <= bytes.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_flipped_bit_is_seen() {
        for size in [0usize, 1, BLOCK_BYTES as usize, BLOCK_BYTES as usize * 2 + 77] {
            let mut file: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
            let mut sums = Sums::default();
            file.chunks(1000).for_each(|piece| sums.update(piece));
            let entry = sums.finish().value.unwrap();
            let mut tail = [b"index ", entry.as_bytes(), b" footer"].concat();
            seal_tail(&mut tail);
            file.extend_from_slice(&tail);
            let (parsed, tail_sum) = parse(&file, file.len() as u64).unwrap();
            assert_eq!(parsed.blocks, sums.blocks);
            assert!(tail_holds(&file[size..], tail_sum));
            for at in (0..file.len()).step_by(if size > 2 { 997 } else { 1 }) {
                let mut bad = file.clone();
                bad[at] ^= 1;
                if at < size {
                    let at = at as u64;
                    let (cover, blocks) = parsed.cover(&(at..at + 1)).unwrap();
                    assert!(!parsed.hold(blocks, &bad[cover.start as usize..cover.end as usize]));
                } else {
                    let whole = parse(&bad, bad.len() as u64)
                        .is_some_and(|(sums, sum)| sums.end == size as u64 && tail_holds(&bad[size..], sum));
                    assert!(!whole, "byte {at} of the tail");
                }
            }
        }
    }
}
