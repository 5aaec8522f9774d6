//! Which pieces of text a block of rows has: one bit for every run of three and of five bytes in it.
//!
//! A text can be part of another only if each of its runs is a run of the other, wherever it begins, so a block that lacks
//! the bit of one run of a needle has no row with the needle. Runs of five tell ids and numbers apart, runs of three serve
//! short needles. Case is folded away first, on both sides. A bit may stand for several runs: then a block is read in vain.

/// Bits of a run's hash, and of the largest filter's index.
const BITS_LOG_MAX: u32 = 20;
/// The smallest filter's.
const BITS_LOG_MIN: u32 = 6;
/// Bits of a filter for two that are set, at least: the more, the seldomer a block is read in vain.
const BITS_FOR_TWO: usize = 3;

/// Folds case: what two texts have in common stays in common. Of characters that are not ASCII only those change that a
/// comparison without case, or Unicode's lower case, takes for ASCII letters: K (Kelvin), ſ and İ.
pub(crate) fn fold(text: &str, out: &mut Vec<u8>) {
    out.clear();
    if text.is_ascii() {
        out.extend(text.bytes().map(|b| b.to_ascii_lowercase()));
        return;
    }
    for c in text.chars() {
        match c {
            '\u{212a}' => out.push(b'k'),
            '\u{17f}' => out.push(b's'),
            '\u{130}' => out.extend_from_slice("i\u{307}".as_bytes()),
            c => out.extend_from_slice(c.to_ascii_lowercase().encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The hashes of a folded text's runs of three and of five bytes.
fn hashes(folded: &[u8]) -> impl Iterator<Item = u32> + '_ {
    folded.array_windows().map(hash::<3>).chain(folded.array_windows().map(hash::<5>))
}

fn hash<const N: usize>(run: &[u8; N]) -> u32 {
    let bytes = run.iter().fold(N as u64, |sum, byte| sum << 8 | u64::from(*byte));
    let mixed = bytes.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> (64 - BITS_LOG_MAX)) as u32
}

/// Bytes of a word, and of its front, whose runs end within it.
const WORD_BYTES: usize = 8;
const STEP: usize = WORD_BYTES - 4;
/// Logarithm of the number of words remembered.
const WORDS_LOG: u32 = 12;
/// No text has these bytes: they are not UTF-8.
const NO_WORD: u64 = u64::MAX;

/// Gathers the runs of a block's texts.
pub(crate) struct GramsBuilder {
    /// Words that the block has had, each at its hash: most of what a log says it has said before, and is known by one look.
    words: Box<[u64; 1 << WORDS_LOG]>,
    bits: Box<[u64; 1 << (BITS_LOG_MAX - 6)]>,
    folded: Vec<u8>,
    has_text: bool,
}

impl GramsBuilder {
    pub(crate) fn new() -> GramsBuilder {
        let words = Box::new([NO_WORD; 1 << WORDS_LOG]);
        GramsBuilder { words, bits: Box::new([0; 1 << (BITS_LOG_MAX - 6)]), folded: Vec::new(), has_text: false }
    }

    pub(crate) fn add(&mut self, text: &str) {
        self.has_text = true;
        fold(text, &mut self.folded);
        let mut set = |hash: u32| self.bits[hash as usize / 64] |= 1 << (hash % 64);
        let mut rest = &self.folded[..];
        while let Some(bytes) = rest.first_chunk::<WORD_BYTES>() {
            let word = u64::from_le_bytes(*bytes);
            let known = &mut self.words[(word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - WORDS_LOG)) as usize];
            if *known != word {
                *known = word;
                bytes[..STEP + 2].array_windows().map(hash::<3>).for_each(&mut set);
                bytes.array_windows().map(hash::<5>).for_each(&mut set);
            }
            rest = &rest[STEP..];
        }
        hashes(rest).for_each(set);
    }

    /// Appends the filter and begins a new one: the logarithm of its bits in one byte, 0 if there was no text, then the bits,
    /// lowest first.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.has_text) {
            out.push(0);
            return;
        }
        let set: usize = self.bits.iter().map(|word| word.count_ones() as usize).sum();
        let log =
            (set * BITS_FOR_TWO / 2).max(1).next_power_of_two().trailing_zeros().clamp(BITS_LOG_MIN, BITS_LOG_MAX);
        let words = 1 << (log - 6);
        let (kept, folded_in) = self.bits.split_at_mut(words);
        for more in folded_in.chunks_exact(words) {
            kept.iter_mut().zip(more).for_each(|(word, more)| *word |= more);
        }
        out.push(log as u8);
        kept.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        self.bits.fill(0);
        self.words.fill(NO_WORD);
    }
}

/// A block's filter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grams<'a> {
    /// A power of two of bits; `None`: there was no text.
    bits: Option<&'a [u8]>,
}

impl<'a> Grams<'a> {
    /// Takes a filter off the front of `bytes`; `None` if it is none.
    pub(crate) fn take(bytes: &mut &'a [u8]) -> Option<Grams<'a>> {
        let (log, rest) = bytes.split_first()?;
        if *log == 0 {
            *bytes = rest;
            return Some(Grams { bits: None });
        }
        if !(BITS_LOG_MIN..=BITS_LOG_MAX).contains(&(*log as u32)) {
            return None;
        }
        let (bits, rest) = rest.split_at_checked(1 << (log - 3))?;
        *bytes = rest;
        Some(Grams { bits: Some(bits) })
    }

    /// Whether one of the texts may contain this folded text.
    pub(crate) fn may_contain(self, folded: &[u8]) -> bool {
        let Some(bits) = self.bits else { return false };
        hashes(folded).all(|hash| {
            let at = hash as usize & (bits.len() * 8 - 1);
            bits[at / 8] >> (at % 8) & 1 == 1
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn folded(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        fold(text, &mut out);
        out
    }

    fn filter(texts: &[String]) -> Vec<u8> {
        let (mut builder, mut out) = (GramsBuilder::new(), Vec::new());
        texts.iter().for_each(|text| builder.add(text));
        builder.finish(&mut out);
        out
    }

    proptest! {
        #[test]
        fn no_part_of_a_text_is_ever_missed(
            texts in proptest::collection::vec("[a-cA-CkKsSiI0-2 .\u{212a}\u{17f}\u{130}é锁]{0,40}", 1..20),
            from in 0usize..40,
            len in 0usize..40,
        ) {
            let bytes = filter(&texts);
            let grams = Grams::take(&mut &bytes[..]).unwrap();
            for text in &texts {
                let part: String = text.chars().skip(from).take(len).collect();
                prop_assert!(grams.may_contain(&folded(&part)), "{part:?} of {text:?}");
                prop_assert!(grams.may_contain(&folded(&part.to_ascii_uppercase())), "{part:?} of {text:?}");
                let lower: String = part.to_lowercase().chars().take_while(char::is_ascii).collect();
                prop_assert!(grams.may_contain(&folded(&lower)), "{lower:?} of {text:?}");
            }
        }

        #[test]
        fn all_runs_are_set_and_no_others(texts in proptest::collection::vec("[ab0-1]{0,30}|select [a-c]{0,9} from t", 1..30)) {
            let mut builder = GramsBuilder::new();
            let mut expected = builder.bits.clone();
            for text in &texts {
                builder.add(text);
                hashes(text.as_bytes()).for_each(|hash| expected[hash as usize / 64] |= 1 << (hash % 64));
            }
            prop_assert!(builder.bits == expected);
            builder.finish(&mut Vec::new());
            builder.add(&texts[0]);
            let bits = |of: &[u64]| of.iter().map(|word| word.count_ones()).sum::<u32>() as usize;
            let distinct: std::collections::HashSet<u32> = hashes(texts[0].as_bytes()).collect();
            prop_assert_eq!(bits(&builder.bits[..]), distinct.len(), "a new block begins with nothing known");
        }

        #[test]
        fn whatever_bytes_are_read_as_filters_end_in_an_answer(bytes: Vec<u8>, needle: String) {
            let mut rest = &bytes[..];
            while let Some(grams) = Grams::take(&mut rest) {
                grams.may_contain(&folded(&needle));
            }
        }
    }

    #[test]
    fn most_absent_needles_are_known_to_be_absent_and_the_filter_stays_small() {
        let id = |n: u64| {
            let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            format!("{:016x}", (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb))
        };
        let texts: Vec<String> = (0..4096)
            .map(|n| format!("2026-11-26 10:00:{:02} order {} took {}.{:03} ms", n % 60, id(n), n % 977, n % 1000))
            .collect();
        let bytes = filter(&texts);
        let raw: usize = texts.iter().map(String::len).sum();
        assert!(bytes.len() * 8 < raw, "{} bytes for {raw}", bytes.len());
        let grams = Grams::take(&mut &bytes[..]).unwrap();
        for (len, wrong_max) in [(16, 2), (10, 20), (8, 60)] {
            let wrong = (5_000..6_000).filter(|n| grams.may_contain(&id(*n).as_bytes()[..len])).count();
            assert!(wrong <= wrong_max, "{wrong} of 1000 ids of {len} digits");
        }
        assert!(!grams.may_contain(b"deadlock"));
        assert!(grams.may_contain(b"rder") && grams.may_contain(b"er"));
    }

    #[test]
    fn blocks_without_text_hold_nothing() {
        let bytes = [filter(&[]), filter(&["ab".into()])].concat();
        let mut rest = &bytes[..];
        let (none, short) = (Grams::take(&mut rest).unwrap(), Grams::take(&mut rest).unwrap());
        assert!(rest.is_empty());
        assert!(!none.may_contain(b"a") && short.may_contain(b"a") && !short.may_contain(b"abc"));
    }
}
