//! What jemalloc, the program's allocator, says about the memory it holds (jemalloc(3), `stats.*`).

use tikv_jemalloc_ctl::{Result, epoch, stats};

/// Bytes, of all threads. What the program uses is `allocated`; the rest of `resident` is what fragments, is kept for the next
/// allocation for some seconds, or describes the memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AllocatorStats {
    /// In allocations that were not freed.
    pub allocated_bytes: u64,
    /// In pages that hold at least one allocation.
    pub active_bytes: u64,
    /// In pages the kernel backs with memory, as far as is known.
    pub resident_bytes: u64,
    /// Address space kept for later, without memory.
    pub retained_bytes: u64,
}

/// The numbers now; `None` if the allocator gives none.
pub fn read() -> Option<AllocatorStats> {
    ask().ok()
}

fn ask() -> Result<AllocatorStats> {
    // numbers are those of the last advance
    epoch::advance()?;
    Ok(AllocatorStats {
        allocated_bytes: stats::allocated::read()? as u64,
        active_bytes: stats::active::read()? as u64,
        resident_bytes: stats::resident::read()? as u64,
        retained_bytes: stats::retained::read()? as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_is_counted() {
        const BYTES: usize = 64 << 20;
        let before = read().expect("numbers");
        let held = vec![1_u8; BYTES];
        let with = read().expect("numbers");
        assert!(with.allocated_bytes >= before.allocated_bytes + (BYTES as u64) / 2, "{before:?} {with:?}");
        assert!(with.allocated_bytes <= with.active_bytes && with.active_bytes <= with.resident_bytes, "{with:?}");
        drop(held);
    }
}
