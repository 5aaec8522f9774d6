//! Prometheus remote write 2.0 (`io.prometheus.write.v2.Request`), whose texts stand in one table of symbols that everything
//! refers to. Read in place: a series' labels are copied from the symbols to the canonical bytes, no string is built. What comes
//! out is what 1.0 gives. Source: the Remote-Write 2.0 specification (2.0-rc.4) and `prompb/io/prometheus/write/v2/types.proto`.
//!
//! Field numbers: Request {4 symbols, 5 TimeSeries}; TimeSeries {1 labels_refs, 2 Sample, 3 Histogram, 4 Exemplar, 5 Metadata};
//! Exemplar {1 labels_refs, 2 double value, 3 int64 timestamp in ms}; Metadata {1 type, 3 help_ref, 4 unit_ref}; Sample and
//! Histogram are those of 1.0. Passed over, as nothing here keeps it: `start_timestamp` (Sample 3, Histogram 17), and what it was
//! before rc.4, `created_timestamp` (TimeSeries 6).

use hashbrown::HashSet;
use proto::{batch::LABELS_MAX, labels::METRIC_NAME, samples::Family};
use storage::NotKept;

use crate::{
    batch_header::varint,
    remote_write::{BadReference, Field, KINDS, WriteRequest, WriteRequestError, field},
    remote_write_exemplars::Observed,
};

/// Most symbols of one request.
const SYMBOLS_MAX: usize = 1 << 20;
/// Most bytes that labels and metadata of one request may have once references are replaced by what they stand for: as many as a
/// request of 1.0 may have.
const EXPANDED_BYTES_MAX: usize = 128 << 20;

type Read<T> = Result<T, WriteRequestError>;

/// The table, and what is at hand for each series. Reuse it: its buffers stay.
struct Symbols<'a> {
    texts: Vec<&'a str>,
    /// Bytes that were copied from the table so far.
    expanded: usize,
    references: Vec<u64>,
    pairs: Vec<(&'a str, &'a str)>,
    of_exemplar: Vec<(&'a str, &'a str)>,
    /// Metrics whose metadata was taken.
    families: HashSet<&'a str>,
}

impl WriteRequest {
    /// Reads a request of 2.0, forgetting what was read before.
    pub fn read_interned(&mut self, bytes: &[u8]) -> Read<()> {
        self.clear();
        let mut symbols = Symbols::read(bytes)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            if let (5, Field::Bytes(series)) = field(&mut rest).ok_or(WriteRequestError::Damaged(at))? {
                self.read_interned_series(series, &mut symbols, at)?;
            }
        }
        Ok(())
    }

    fn read_interned_series<'a>(&mut self, mut rest: &'a [u8], symbols: &mut Symbols<'a>, at: usize) -> Read<()> {
        let (begin, damaged) = (self.begin(), || WriteRequestError::Damaged(at));
        let mut metadata = None;
        symbols.references.clear();
        while !rest.is_empty() {
            match field(&mut rest).ok_or_else(damaged)? {
                (1, value) => symbols.refer(&value, "labels of one series", at)?,
                (2, Field::Bytes(sample)) => self.read_sample(sample, at)?,
                (3, Field::Bytes(histogram)) => self.read_histogram(histogram, at)?,
                (4, Field::Bytes(exemplar)) => self.read_interned_exemplar(exemplar, symbols, at)?,
                (5, Field::Bytes(of)) => metadata = Some(of),
                _ => {}
            }
        }
        let mut pairs = std::mem::take(&mut symbols.pairs);
        let read = symbols.resolve(&mut pairs, self.series_read, "labels_refs");
        let put = read.and_then(|()| {
            if let Some(family) = metadata.map(|of| symbols.family(of, &pairs, self.series_read, at)).transpose()? {
                self.families.extend(family);
            }
            match pairs.iter().any(|(name, _)| name.is_empty()) {
                true => Err(WriteRequestError::Label { series: self.series_read, rule: "a label has no name" }),
                false => self.put_labels(&mut pairs, &begin),
            }
        });
        symbols.pairs = pairs;
        put
    }

    fn read_interned_exemplar<'a>(&mut self, mut rest: &'a [u8], symbols: &mut Symbols<'a>, at: usize) -> Read<()> {
        // those of the series may stand before or behind its exemplars
        let of_series = std::mem::take(&mut symbols.references);
        let mut observed = Observed::default();
        while !rest.is_empty() {
            match field(&mut rest).ok_or(WriteRequestError::Damaged(at))? {
                (1, value) => symbols.refer(&value, "labels of one exemplar", at)?,
                (number, value) => observed.put(number, &value),
            }
        }
        let mut pairs = std::mem::take(&mut symbols.of_exemplar);
        symbols.resolve(&mut pairs, self.series_read, "exemplars.labels_refs")?;
        self.push_exemplar(&observed, Ok::<_, NotKept>(&mut pairs))?;
        (symbols.of_exemplar, symbols.references) = (pairs, of_series);
        Ok(())
    }
}

impl<'a> Symbols<'a> {
    /// The symbols of a request, wherever they stand in it.
    fn read(bytes: &'a [u8]) -> Read<Symbols<'a>> {
        let mut texts = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let (4, Field::Bytes(text)) = field(&mut rest).ok_or(WriteRequestError::Damaged(at))? else { continue };
            let wrong = |rule| WriteRequestError::Symbol { symbol: texts.len(), rule };
            if texts.is_empty() && !text.is_empty() {
                return Err(wrong("the first must be empty: it is what references mean that are not set"));
            }
            if texts.len() >= SYMBOLS_MAX {
                return Err(WriteRequestError::TooMany { what: "symbols of one request", max: SYMBOLS_MAX });
            }
            let text = std::str::from_utf8(text).map_err(|_| wrong("it is not UTF-8"))?;
            texts.push(text);
        }
        if texts.is_empty() {
            // as in a request of 1.0 that is said to be one of 2.0: silence would lose it
            return Err(WriteRequestError::Symbol { symbol: 0, rule: "there are none" });
        }
        let (expanded, references, families) = Default::default();
        Ok(Symbols { texts, expanded, references, pairs: Vec::new(), of_exemplar: Vec::new(), families })
    }

    /// Takes references, packed or one by one, as protobuf allows both.
    fn refer(&mut self, value: &Field<'_>, what: &'static str, at: usize) -> Read<()> {
        let mut put = |reference| {
            if self.references.len() >= 2 * LABELS_MAX {
                return Err(WriteRequestError::TooMany { what, max: LABELS_MAX });
            }
            self.references.push(reference);
            Ok(())
        };
        match value {
            Field::Varint(reference) => put(*reference),
            Field::Bytes(packed) => {
                let mut rest = *packed;
                while !rest.is_empty() {
                    put(varint(&mut rest).ok_or(WriteRequestError::Damaged(at))?)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What the references taken stand for: names and values by turns.
    fn resolve(&mut self, pairs: &mut Vec<(&'a str, &'a str)>, series: usize, field: &'static str) -> Read<()> {
        pairs.clear();
        let (references, rest) = self.references.as_chunks::<2>();
        if !rest.is_empty() {
            let wrong = BadReference::NoPairs(self.references.len());
            return Err(WriteRequestError::Reference { series, field, wrong });
        }
        for [name, value] in references {
            let texts = &self.texts;
            pairs.push((text(texts, *name, series, field)?, text(texts, *value, series, field)?));
        }
        self.expand(pairs.iter().map(|(name, value)| name.len() + value.len()).sum())
    }

    /// Refuses a request that says more by its references than it could without.
    fn expand(&mut self, bytes: usize) -> Read<()> {
        self.expanded += bytes;
        match self.expanded <= EXPANDED_BYTES_MAX {
            true => Ok(()),
            false => Err(WriteRequestError::TooMany {
                what: "bytes of labels and metadata of one request, references replaced",
                max: EXPANDED_BYTES_MAX,
            }),
        }
    }

    /// What the metadata of a series says of its metric, if that is something and the first word about it.
    fn family(
        &mut self,
        mut rest: &'a [u8],
        labels: &[(&'a str, &'a str)],
        series: usize,
        at: usize,
    ) -> Read<Option<Family>> {
        let (mut kind, mut help, mut unit) = (KINDS[0], "", "");
        while !rest.is_empty() {
            match field(&mut rest).ok_or(WriteRequestError::Damaged(at))? {
                (1, Field::Varint(n)) => kind = KINDS.get(n as usize).copied().unwrap_or(KINDS[0]),
                (3, Field::Varint(n)) => help = text(&self.texts, n, series, "metadata.help_ref")?,
                (4, Field::Varint(n)) => unit = text(&self.texts, n, series, "metadata.unit_ref")?,
                _ => {}
            }
        }
        let metric = labels.iter().find(|(name, _)| *name == METRIC_NAME).map_or("", |&(_, metric)| metric);
        let name = family_name(metric, kind);
        if name.is_empty() || (kind, help, unit) == (KINDS[0], "", "") || !self.families.insert(name) {
            return Ok(None);
        }
        self.expand(name.len() + help.len() + unit.len())?;
        Ok(Some(Family { name: name.into(), kind: kind.into(), help: help.into(), unit: unit.into() }))
    }
}

fn text<'a>(texts: &[&'a str], reference: u64, series: usize, field: &'static str) -> Read<&'a str> {
    let found = usize::try_from(reference).ok().and_then(|at| texts.get(at).copied());
    let wrong = BadReference::PastTheEnd { reference, symbols: texts.len() };
    found.ok_or(WriteRequestError::Reference { series, field, wrong })
}

/// The name that 1.0 has metadata by: of the series that make a histogram or a summary, what they have in common.
fn family_name<'a>(series: &'a str, kind: &str) -> &'a str {
    let endings: &[&str] = match kind {
        "histogram" => &["_bucket", "_count", "_sum"],
        "gaugehistogram" => &["_bucket", "_gcount", "_gsum"],
        "summary" => &["_count", "_sum"],
        _ => &[],
    };
    endings.iter().find_map(|&ending| series.strip_suffix(ending)).unwrap_or(series)
}

#[cfg(test)]
#[path = "remote_write/interned_tests.rs"]
mod tests;
