//! The room left to itself: everything when it is due.

use std::time::Duration;

use tokio::sync::Notify;

use super::Alerting;

/// Longest sleep between looks at what is due, milliseconds.
const IDLE_MS_MAX: i64 = 1_000;

impl Alerting {
    /// Works until the future is dropped: evaluates, flushes and delivers when something is due.
    pub async fn run(&self) {
        tokio::join!(self.run_rules(), self.run_outbox());
    }

    async fn run_rules(&self) {
        loop {
            let now_ms = (self.0.clock)();
            let mut next_ms = now_ms + IDLE_MS_MAX;
            for group in self.0.groups.read().await.iter() {
                // a group that is still at work misses its slot; the others don't wait for it
                let Ok(free) = group.try_lock() else { continue };
                if free.next_slot_ms() <= now_ms {
                    let (this, group) = (self.clone(), group.clone());
                    tokio::spawn(async move {
                        let evaluator = this.evaluator();
                        this.evaluate(&group, &evaluator, now_ms).await;
                        this.flush(now_ms);
                    });
                    next_ms = next_ms.min(now_ms + free.group.interval_ms);
                } else {
                    next_ms = next_ms.min(free.next_slot_ms());
                }
            }
            self.expire_posted(now_ms).await;
            self.flush(now_ms);
            next_ms = next_ms.min(self.0.outside.lock().next_end_ms().unwrap_or(i64::MAX));
            next_ms = next_ms.min(self.0.pipeline.lock().dispatcher.next_due_ms().unwrap_or(i64::MAX));
            self.pause_until(next_ms, &self.0.due).await;
        }
    }

    async fn run_outbox(&self) {
        loop {
            for parcel in self.0.outbox.take_due((self.0.clock)()) {
                let this = self.clone();
                tokio::spawn(async move { this.attempt(&parcel).await });
            }
            let next_ms = self.0.outbox.next_due_ms().unwrap_or(i64::MAX);
            self.pause_until(next_ms.min((self.0.clock)() + IDLE_MS_MAX), &self.0.outgoing).await;
        }
    }

    async fn pause_until(&self, then_ms: i64, sooner: &Notify) {
        let pause = Duration::from_millis((then_ms - (self.0.clock)()).clamp(1, IDLE_MS_MAX) as u64);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = sooner.notified() => {}
        }
    }
}
