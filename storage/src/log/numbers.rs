//! What the series numbers of one generation of the log mean.

use crate::metrics::SeriesId;

/// Numbers on one page. A number that nothing is near costs a page, which is about what its series costs anyway.
const PAGE: usize = 256;
/// Of a number that no record defined: heads have fewer series.
const UNDEFINED: SeriesId = SeriesId::MAX;

/// The head's series by their numbers in the log: a list, since numbers are given one after the other, and asked once for
/// every sample of a replay.
#[derive(Default)]
pub(crate) struct SeriesNumbers {
    pages: Vec<Option<Box<[SeriesId; PAGE]>>>,
}

impl SeriesNumbers {
    /// From now on `number` means `series`.
    pub(crate) fn set(&mut self, number: u32, series: SeriesId) {
        let (page, at) = (number as usize / PAGE, number as usize % PAGE);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        self.pages[page].get_or_insert_with(|| Box::new([UNDEFINED; PAGE]))[at] = series;
    }

    /// What `number` means, if a record has said it.
    pub(crate) fn get(&self, number: u32) -> Option<SeriesId> {
        let page = self.pages.get(number as usize / PAGE)?.as_ref()?;
        Some(page[number as usize % PAGE]).filter(|series| *series != UNDEFINED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_means_what_was_said_last_and_its_neighbours_nothing() {
        let mut numbers = SeriesNumbers::default();
        assert_eq!(numbers.get(0), None);
        for (number, series) in [(0, 7), (255, 0), (256, 1), (u32::MAX, 2), (256, 3)] {
            numbers.set(number, series);
        }
        let found = [0, 1, 254, 255, 256, 257, 1_000_000, u32::MAX - 1, u32::MAX].map(|n| numbers.get(n));
        assert_eq!(found, [Some(7), None, None, Some(0), Some(3), None, None, None, Some(2)]);
    }
}
