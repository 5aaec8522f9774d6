//! One target of `tests::fuzzing` under libFuzzer, which keeps an input when it reaches code that none before it reached:
//! `FUZZ_TARGET=promql guided_fuzz CORPUS… -max_total_time=600`. `make fuzz` builds it with the counters (`fuzz/instrument.sh`)
//! and runs every target. An input that fells the target is left as a file and named.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::{Corpus, fuzz_target};

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn chosen() -> fn(&[u8]) {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    match tests::fuzzing::target(&name) {
        Some(run) => run,
        None => {
            let known: Vec<_> = tests::fuzzing::TARGETS.iter().map(|(name, _)| *name).collect();
            eprintln!("FUZZ_TARGET={name:?} is no target; there are {}", known.join(", "));
            std::process::exit(2);
        }
    }
}

fuzz_target!(init: { TARGET.get_or_init(chosen); }, |data: &[u8]| -> Corpus {
    match data.len() <= tests::fuzzing::INPUT_BYTES_MAX {
        true => {
            TARGET.get_or_init(chosen)(data);
            Corpus::Keep
        }
        false => Corpus::Reject,
    }
});
