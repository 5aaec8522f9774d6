//! Where the windows of all steps lie among a series' times. Series of one target mostly have the same times, so this is found
//! once for all of them.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::range::Placement;
use super::value::Steps;

/// What one evaluation keeps of this at most, bytes.
const KEPT_BYTES_MAX: usize = 32 << 20;

/// Something that follows from a series' times.
pub(super) trait Plan {
    /// Memory, bytes.
    fn bytes(&self) -> usize;
}

/// Plans of one kind, by the times they follow from; shared by the threads of an evaluation.
pub(super) struct ByTimes<P> {
    kept: Mutex<Kept<P>>,
}

/// First and last time, and how many.
type Key = (i64, i64, usize);

struct Kept<P> {
    plans: HashMap<Key, (Arc<[i64]>, Arc<P>)>,
    bytes: usize,
}

impl<P> Default for ByTimes<P> {
    fn default() -> ByTimes<P> {
        ByTimes { kept: Mutex::new(Kept { plans: HashMap::new(), bytes: 0 }) }
    }
}

impl<P: Plan> ByTimes<P> {
    /// The plan for `times`: the one that was made for equal times, or a new one.
    pub(super) fn of(&self, times: &[i64], make: impl FnOnce() -> P) -> Arc<P> {
        let Some((first, last)) = times.first().zip(times.last()) else { return Arc::new(make()) };
        let key = (*first, *last, times.len());
        let known = self.kept.lock().plans.get(&key).cloned();
        if let Some((same, plan)) = known
            && *same == *times
        {
            return plan;
        }
        let plan = Arc::new(make());
        let bytes = plan.bytes() + size_of_val(times);
        let mut kept = self.kept.lock();
        if kept.bytes + bytes <= KEPT_BYTES_MAX {
            kept.bytes += bytes;
            kept.plans.insert(key, (times.into(), plan.clone()));
        }
        plan
    }
}

/// One window: the samples `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Bounds {
    pub(super) fn of<'a, T>(&self, column: &'a [T]) -> &'a [T] {
        &column[self.start as usize..self.end as usize]
    }

    pub(super) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }
}

/// The window of each step.
pub(super) struct Windows {
    pub(super) bounds: Vec<Bounds>,
    /// Samples of all windows together; one that lies in two counts twice.
    pub(super) samples: u64,
}

impl Windows {
    /// Finds the windows of `steps` among `times`, which ascend.
    pub(super) fn lay(times: &[i64], steps: &Steps, placement: &Placement) -> Windows {
        let (mut start, mut end, mut samples) = (0, 0, 0);
        let bounds = (0..steps.count).map(|step| {
            let end_ms = placement.end(steps.time(step));
            let start_ms = end_ms.saturating_sub(placement.range_ms);
            while end < times.len() && times[end] <= end_ms {
                end += 1;
            }
            while start < end && times[start] <= start_ms {
                start += 1;
            }
            samples += (end - start) as u64;
            Bounds { start: start as u32, end: end as u32 }
        });
        let bounds = bounds.collect();
        Windows { bounds, samples }
    }
}

impl Plan for Windows {
    fn bytes(&self) -> usize {
        size_of_val(&self.bounds[..])
    }
}
