//! Codec 16: native histograms. Buckets change seldom and counts change little, so a chunk is cut into runs of one layout; of a
//! run the layout stands once and each count is a column, one bucket after another, in differences.
//!
//! `[number of runs] then per run [samples, layout]; [length, the sums of all samples as one column of floats]; then per run
//! [length, the counts]`. Counts of integers: a byte of coding, the first sample's, then the columns' differences (or the
//! differences of those), as varints or pco, whichever is smaller. Instead of all observations stands what they are more than
//! the buckets hold, which is 0 but for observations of NaN. Counts of floats: one column of floats.

use std::sync::Arc;

use proto::histogram::{Counts, Histogram, Layout};

use super::{
    codec::{CodecError, DECODED_SAMPLES_MAX, PCO_SAMPLES_MIN, damaged, pco_put, pco_take},
    values, varint,
};

pub(crate) const TAG: u8 = 16;
const NAME: &str = "histograms";

/// Most counts (of all columns and samples) in one chunk that a writer makes: 2 MiB once decoded.
pub(crate) const CHUNK_CELLS_MAX: usize = 1 << 18;
const _: () = assert!(CHUNK_CELLS_MAX <= DECODED_SAMPLES_MAX);
/// One histogram fits a chunk.
const _: () = assert!(proto::histogram::BUCKETS_MAX + proto::histogram::TOTALS <= CHUNK_CELLS_MAX);

/// Bits of the byte before the counts of integers.
const PCO: u8 = 1;
const SECOND_ORDER: u8 = 2;

/// Whether a chunk's values are these.
pub(crate) fn is_histogram(values: &[u8]) -> bool {
    values.first() == Some(&TAG)
}

/// How many counts the chunk that begins with these samples takes, and how many samples: as many as fit.
pub(crate) fn chunk_len(samples: &[(i64, Histogram)], samples_max: usize) -> usize {
    let mut cells = 0;
    let fits = |(_, histogram): &&(i64, Histogram)| {
        cells += histogram.counts().len();
        cells <= CHUNK_CELLS_MAX
    };
    samples.iter().take(samples_max).take_while(fits).count()
}

/// Encodes at least one sample.
pub(crate) fn encode(samples: &[(i64, Histogram)]) -> Vec<u8> {
    let same = |a: &(i64, Histogram), b: &(i64, Histogram)| {
        a.1.is_float() == b.1.is_float() && (Arc::ptr_eq(a.1.layout(), b.1.layout()) || a.1.layout() == b.1.layout())
    };
    let runs: Vec<&[(i64, Histogram)]> = samples.chunk_by(same).collect();
    let mut out = vec![TAG];
    varint::put(&mut out, runs.len() as u64);
    for run in &runs {
        varint::put(&mut out, run.len() as u64);
        run[0].1.layout().put(run[0].1.is_float(), &mut out);
    }
    let sums: Vec<f64> = samples.iter().map(|(_, histogram)| histogram.sum()).collect();
    put_block(&mut out, &values::encode(&sums));
    for run in &runs {
        put_block(&mut out, &encode_counts(run));
    }
    out
}

fn put_block(out: &mut Vec<u8>, block: &[u8]) {
    varint::put(out, block.len() as u64);
    out.extend_from_slice(block);
}

fn encode_counts(run: &[(i64, Histogram)]) -> Vec<u8> {
    let columns = run[0].1.layout().columns();
    let (mut integers, mut floats) = (Vec::new(), Vec::new());
    for column in 0..columns {
        for (_, histogram) in run {
            match histogram.counts() {
                Counts::Integers(counts) if column == 0 => integers.push(beyond_buckets(counts)),
                Counts::Integers(counts) => integers.push(counts[column] as i64),
                Counts::Floats(counts) => floats.push(counts[column]),
            }
        }
    }
    if run[0].1.is_float() { values::encode(&floats) } else { encode_integers(&integers, run.len()) }
}

/// The count of all observations without those in buckets.
fn beyond_buckets(counts: &[u64]) -> i64 {
    counts[1..].iter().fold(counts[0], |rest, n| rest.wrapping_sub(*n)) as i64
}

/// `cells`: one column after another, each of `samples`.
fn encode_integers(cells: &[i64], samples: usize) -> Vec<u8> {
    let mut firsts = Vec::new();
    let mut last = 0i64;
    for column in cells.chunks(samples) {
        varint::put_signed(&mut firsts, column[0].wrapping_sub(last));
        last = column[0];
    }
    let differences = |order: usize| {
        let mut steps = Vec::with_capacity(cells.len());
        for column in cells.chunks(samples) {
            let mut before = 0i64;
            for pair in column.windows(2) {
                let step = pair[1].wrapping_sub(pair[0]);
                steps.push(step.wrapping_sub(before));
                before = if order == 2 { step } else { 0 };
            }
        }
        let mut bytes = Vec::new();
        steps.iter().for_each(|step| varint::put_signed(&mut bytes, *step));
        (varint::entropy_bytes(&bytes), steps, bytes)
    };
    let (first_order, second_order) = (differences(1), differences(2));
    let is_second = second_order.0 < first_order.0;
    let (cost, steps, bytes) = if is_second { second_order } else { first_order };
    let order_bit = if is_second { SECOND_ORDER } else { 0 };
    let mut packed = Vec::new();
    let is_packed = steps.len() >= PCO_SAMPLES_MIN && pco_put(&steps, &mut packed) && packed.len() < cost;
    let mut out = vec![order_bit | if is_packed { PCO } else { 0 }];
    out.append(&mut firsts);
    out.extend_from_slice(if is_packed { &packed } else { &bytes });
    out
}

/// Decodes exactly `count` samples; each shares its run's layout.
pub(crate) fn decode(bytes: &[u8], count: usize) -> Result<Vec<Histogram>, CodecError> {
    let mut rest = match bytes.split_first() {
        Some((&TAG, body)) if count <= DECODED_SAMPLES_MAX => body,
        Some((&TAG, _)) => return Err(damaged(NAME, "more samples than a chunk may hold")),
        _ => return Err(damaged(NAME, "floats where histograms are expected")),
    };
    let runs = take_runs(&mut rest, count)?;
    let mut sums = Vec::new();
    values::decode(take_block(&mut rest)?, count, &mut sums)?;
    let (mut out, mut sums) = (Vec::with_capacity(count), sums.into_iter());
    for Run { samples, layout, is_float } in runs {
        let counts = decode_counts(take_block(&mut rest)?, samples, layout.columns(), is_float)?;
        for (counts, sum) in counts.into_iter().zip(&mut sums) {
            let histogram = Histogram::new(layout.clone(), sum, counts);
            out.push(histogram.map_err(|_| damaged(NAME, "counts that break a rule of histograms"))?);
        }
    }
    if rest.is_empty() && out.len() == count { Ok(out) } else { Err(damaged(NAME, "more bytes than its samples have")) }
}

struct Run {
    samples: usize,
    layout: Arc<Layout>,
    is_float: bool,
}

fn take_runs(rest: &mut &[u8], count: usize) -> Result<Vec<Run>, CodecError> {
    const CUT: CodecError = damaged(NAME, "it ends within its layouts");
    let number = usize::try_from(varint::take(rest).ok_or(CUT)?).ok().filter(|n| *n <= count.min(rest.len()));
    let (mut runs, mut samples_left, mut cells) = (Vec::new(), count, 0);
    for _ in 0..number.ok_or(damaged(NAME, "more layouts than samples"))? {
        let samples = usize::try_from(varint::take(rest).ok_or(CUT)?).ok().filter(|n| (1..=samples_left).contains(n));
        let samples = samples.ok_or(damaged(NAME, "another number of samples than the row says"))?;
        let (layout, is_float) = Layout::take(rest).map_err(|_| damaged(NAME, "a layout that is none"))?;
        samples_left -= samples;
        cells += samples * layout.columns(); // at most 2^20 of 2^13 each
        if cells > DECODED_SAMPLES_MAX {
            return Err(damaged(NAME, "more counts than a chunk may hold"));
        }
        runs.push(Run { samples, layout: Arc::new(layout), is_float });
    }
    if samples_left > 0 { Err(damaged(NAME, "fewer samples than the row says")) } else { Ok(runs) }
}

fn take_block<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], CodecError> {
    let cut = damaged(NAME, "it ends too early");
    let length = varint::take(rest).and_then(|n| usize::try_from(n).ok()).ok_or(cut)?;
    let (block, after) = rest.split_at_checked(length).ok_or(cut)?;
    *rest = after;
    Ok(block)
}

/// The counts of each sample of a run.
fn decode_counts(block: &[u8], samples: usize, columns: usize, is_float: bool) -> Result<Vec<Counts>, CodecError> {
    if is_float {
        let mut cells = Vec::new();
        values::decode(block, samples * columns, &mut cells)?;
        let sample = |at: usize| (0..columns).map(|column| cells[column * samples + at]).collect();
        return Ok((0..samples).map(|at| Counts::Floats(sample(at))).collect());
    }
    let cells = decode_integers(block, samples, columns)?;
    let sample = |at: usize| {
        let mut counts: Vec<u64> = (0..columns).map(|column| cells[column * samples + at] as u64).collect();
        counts[0] = counts[1..].iter().fold(counts[0], |count, n| count.wrapping_add(*n));
        Counts::Integers(counts)
    };
    Ok((0..samples).map(sample).collect())
}

fn decode_integers(block: &[u8], samples: usize, columns: usize) -> Result<Vec<i64>, CodecError> {
    const CUT: CodecError = damaged(NAME, "it ends within its counts");
    let (&coding, mut rest) = block.split_first().ok_or(CUT)?;
    if coding > PCO | SECOND_ORDER {
        return Err(damaged(NAME, "unknown coding of counts"));
    }
    if columns > rest.len() {
        return Err(CUT);
    }
    let mut firsts = Vec::with_capacity(columns);
    let mut last = 0i64;
    for _ in 0..columns {
        last = last.wrapping_add(varint::take_signed(&mut rest).ok_or(CUT)?);
        firsts.push(last);
    }
    let mut steps = Vec::new();
    let number = (samples - 1) * columns;
    match coding & PCO {
        0 => varint::take_signed_all(rest, number, &mut steps).ok_or(CUT)?,
        _ => pco_take(NAME, rest, number, &mut steps)?,
    }
    let mut cells = Vec::with_capacity(samples * columns);
    for (column, first) in firsts.into_iter().enumerate() {
        let (mut value, mut before) = (first, 0i64);
        cells.push(value);
        for step in &steps[column * (samples - 1)..(column + 1) * (samples - 1)] {
            before = if coding & SECOND_ORDER == 0 { *step } else { before.wrapping_add(*step) };
            value = value.wrapping_add(before);
            cells.push(value);
        }
    }
    Ok(cells)
}
