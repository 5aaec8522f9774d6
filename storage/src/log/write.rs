//! The writer thread: gathers, writes, syncs, tells.

use std::collections::VecDeque;

use super::{Chunk, Failure, GROUP_BYTES, Position, Shared, frame, group};
use crate::disk::is_full;

enum Trouble {
    Full(String),
    Broken(String),
}

impl Shared {
    /// Runs until closed or poisoned. The pause behind a sync lets the next group gather.
    pub(super) fn write_loop(&self) {
        let mut unwritten: VecDeque<Chunk> = VecDeque::new();
        loop {
            let closing = {
                let mut state = self.state.lock();
                while unwritten.is_empty() && state.waiting.is_empty() && !state.closing {
                    self.wake.wait(&mut state);
                }
                unwritten.append(&mut state.waiting);
                state.closing
            };
            while let Some(chunk) = unwritten.front_mut() {
                match self.write(chunk) {
                    Ok(()) => {
                        let written = chunk.bytes.len();
                        unwritten.pop_front();
                        self.state.lock().waiting_bytes -= written;
                    }
                    Err(Trouble::Full(why)) => {
                        self.tell(|p| p.failure = Some(Failure::Full(why)));
                        break;
                    }
                    Err(Trouble::Broken(why)) => {
                        self.poison(why);
                        return;
                    }
                }
            }
            if closing {
                self.prove();
                self.tell(|p| p.failure = p.failure.take().or(Some(Failure::Closed)));
                return;
            }
            let mut state = self.state.lock();
            if !state.closing {
                // nobody signals the end of the pause; a close may cut it short
                self.wake.wait_while_for(&mut state, |s| !s.closing, self.fsync_interval);
            }
        }
    }

    fn write(&self, chunk: &mut Chunk) -> Result<(), Trouble> {
        let at = Position { segment: chunk.segment, offset: chunk.offset + chunk.group_at as u64 };
        let synced = self.progress.borrow().synced;
        chunk.bytes[chunk.group_at..chunk.group_at + GROUP_BYTES].copy_from_slice(&group(at, synced));
        let place = || format!("log segment {:016x} at offset {}", chunk.segment, chunk.offset);
        let mut file = chunk.file.lock();
        file.write_at(chunk.offset, &chunk.bytes).map_err(|e| match is_full(&e) {
            true => Trouble::Full(format!("writing {}: {e}", place())),
            false => Trouble::Broken(format!("writing {}: {e}", place())),
        })?;
        let end = chunk.offset + chunk.bytes.len() as u64;
        if chunk.is_last {
            file.set_len(end).map_err(|e| Trouble::Broken(format!("cutting {}: {e}", place())))?;
        }
        file.sync().map_err(|e| Trouble::Broken(format!("syncing {}: {e}", place())))?;
        if chunk.is_new {
            self.disk.sync_dir(&self.dir).map_err(|e| Trouble::Broken(format!("syncing the log's directory: {e}")))?;
        }
        self.tell(|p| {
            p.synced = Position { segment: chunk.segment, offset: end };
            p.failure = None;
            p.syncs += 1;
        });
        Ok(())
    }

    /// At a clean end: one more group frame, so that the last group too is proven and damage to it can't pass for a tail.
    fn prove(&self) {
        let (synced, failed) = {
            let progress = self.progress.borrow();
            (progress.synced, progress.failure.is_some())
        };
        let state = self.state.lock();
        let at = Position { segment: state.segment, offset: state.offset };
        let fits = state.offset + GROUP_BYTES as u64 <= state.capacity;
        if let Some(file) = &state.file
            && !failed
            && at == synced
            && fits
        {
            let mut file = file.lock();
            // a convenience: without it the log is as good as after a crash
            let _ = file.write_at(at.offset, &group(at, synced)).and_then(|()| file.sync());
        }
    }

    pub(super) fn poison(&self, why: String) -> Failure {
        tracing::error!(why, "the log takes no more writes");
        let failure = Failure::Poisoned(why);
        self.tell(|p| {
            if !matches!(p.failure, Some(Failure::Poisoned(_))) {
                p.failure = Some(failure.clone());
            }
        });
        failure
    }

    fn tell(&self, change: impl FnOnce(&mut super::Progress)) {
        self.progress.send_modify(change);
    }
}

const _: () = assert!(frame::HEADER_BYTES + GROUP_BYTES < crate::config::SEGMENT_BYTES_MIN as usize);
