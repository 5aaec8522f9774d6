//! The inputs of `fuzz/corpus`, and mutations of them, through everything that reads bytes from outside (`tests::fuzzing`): the short
//! form of `make fuzz`. `FUZZ_SEED=…` repeats a run. An input that fells a target is printed as a byte string: it goes into the
//! corpus with the fix.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
};

use fastrand::Rng;
use tests::fuzzing::{INPUT_BYTES_MAX, TARGETS};

/// Mutations of a target's inputs.
const MUTATIONS: usize = 300;
/// Changes that one mutation makes at most.
const CHANGES_MAX: usize = 8;
/// Bytes that decide something in many formats.
const TELLING: &[u8] =
    &[0, 1, 0x7f, 0x80, 0xff, b'"', b'\'', b'\\', b'{', b'}', b'(', b')', b'[', b'\n', b' ', b'-', b':'];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn mutate(corpus: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut bytes = random.choice(corpus).unwrap().clone();
    for _ in 0..random.usize(1..=CHANGES_MAX) {
        let at = random.usize(0..=bytes.len());
        let end = (at + random.usize(0..64)).min(bytes.len());
        match random.u8(0..7) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
            2 if at < bytes.len() => bytes[at] = *random.choice(TELLING).unwrap(),
            3 => bytes.insert(at, *random.choice(TELLING).unwrap()),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let other = random.choice(corpus).unwrap();
                let from = random.usize(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

#[test]
fn no_input_is_more_than_an_answer_or_an_error() {
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("FUZZ_SEED={seed}");
    for (name, run) in TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "fuzz/corpus/{name} is empty");
        let mut random = Rng::with_seed(seed);
        let mutations = (0..MUTATIONS).map(|_| mutate(&corpus, &mut random));
        for input in corpus.iter().cloned().chain(mutations) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&input))) {
                eprintln!("{name} fell over (FUZZ_SEED={seed}): b\"{}\"", input.escape_ascii());
                resume_unwind(panic);
            }
        }
        println!("{name}: {} inputs and {MUTATIONS} mutations", corpus.len());
    }
}

#[test]
fn every_corpus_has_its_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(tests::fuzzing::target(&name).is_some(), "fuzz/corpus/{name} belongs to no target");
    }
}
