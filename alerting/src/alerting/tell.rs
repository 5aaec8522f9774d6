//! From alert to receipt: routed into groups, groups that are due into the outbox, and out from there.

use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::json;

use super::{Alerting, Pipeline};
use crate::deliver::{self, Receipt, Telling};
use crate::dispatch::{Step, Wishes};
use crate::ledger::{Entry, Page, subject_of_note};
use crate::message::AlertNote;
use crate::outbox::{Parcel, Settled};

impl Alerting {
    pub(super) fn route(&self, note: &AlertNote, now_ms: i64) -> Vec<Step> {
        let labels = proto::Labels::from_pairs(&note.labels);
        let mut pipeline = self.0.pipeline.lock();
        let settings = self.settings(); // those the groups are of
        match &settings.route {
            Some(root) => pipeline.dispatcher.update(root, &labels, note, now_ms),
            None => {
                pipeline.dispatcher.see(&labels, note);
                Vec::new()
            }
        }
    }

    /// Puts the messages of groups that are due into the outbox. A message is on disk, and so is the memory of having told it,
    /// before it may leave.
    pub(super) fn flush(&self, now_ms: i64) {
        let settings = self.settings();
        let silences = self.silences();
        let mut page = Page::default();
        let mut pipeline = self.0.pipeline.lock();
        let Pipeline { dispatcher, told, acknowledged } = &mut *pipeline;
        let out = dispatcher.flush(&settings, &Wishes { silences: &silences, acknowledged }, told, now_ms);
        for step in &out.steps {
            page.add_step(step, now_ms);
        }
        let mut changed = !out.remember.is_empty();
        let mut written = Vec::new();
        for (parcel, tells) in out.parcels {
            let message = parcel.clone();
            match self.0.outbox.write(parcel, tells.clone()) {
                Ok(one) => {
                    changed = true;
                    written.extend(one);
                    tells.into_iter().for_each(|(key, entry)| told.set(key, entry));
                }
                Err(e) => self.note_message(&mut page, &message, "failed", "outbox_full", &e, now_ms),
            }
        }
        out.remember.into_iter().for_each(|(key, entry)| told.set(key, entry));
        for (key, fingerprint) in &out.forget {
            changed |= told.forget(key, fingerprint);
        }
        if changed && let Err(e) = told.save(now_ms) {
            tracing::error!(error = %e, "what was told can't be written down; it is remembered in memory");
        }
        let any = !written.is_empty();
        written.into_iter().for_each(|one| self.0.outbox.release(one));
        drop(pipeline);
        if any {
            self.0.outgoing.notify_one();
        }
        page.write(&self.0.store, &self.0.tenant, now_ms);
    }

    /// Sends what may leave now, every lane beside the others, and waits for the answers. Gives how many attempts there were.
    pub async fn deliver(&self, now_ms: i64) -> usize {
        let due = self.0.outbox.take_due(now_ms);
        let attempts: FuturesUnordered<_> = due.iter().map(|parcel| self.attempt(parcel)).collect();
        attempts.count().await
    }

    pub(super) async fn attempt(&self, parcel: &Parcel) {
        let settings = self.settings();
        let receiver = settings.receivers.get(&parcel.message.receiver);
        let channel = receiver.and_then(|r| r.channels.get(parcel.channel)).filter(|c| c.kind() == parcel.kind);
        self.await_evidence(&parcel.message).await;
        let known = self.0.known.lock().of(&parcel.message);
        let telling = Telling { message: &parcel.message, key: &parcel.key, known: &known, now_ms: (self.0.clock)() };
        let receipt = match channel {
            Some(channel) => deliver::send(&self.0.client, channel, parcel, &telling).await,
            None => Receipt::refused("the receiver is gone"),
        };
        let now_ms = (self.0.clock)();
        let settled = self.0.outbox.settle(parcel, &receipt, now_ms);
        let mut page = Page::default();
        for tried in &receipt.tried {
            let reason = format!("{}: {}", tried.by, tried.outcome);
            self.note_message(&mut page, parcel, "attempt", &reason, &tried.detail, now_ms);
        }
        let (event, reason) = match settled {
            Settled::Sent => ("sent", parcel.message.why.words()),
            Settled::Retry(_) => ("retry", "again_later"),
            Settled::Failed => ("failed", "given_up"),
        };
        if event != "sent" {
            let receiver = &parcel.message.receiver;
            tracing::warn!(
                receiver,
                channel = parcel.kind,
                key = parcel.key,
                answer = receipt.detail,
                "a message was not taken"
            );
        }
        self.note_message(&mut page, parcel, event, reason, &receipt.detail, now_ms);
        let kept = page.keep(&self.0.store, &self.0.tenant, now_ms);
        self.0.outgoing.notify_one();
        // the ledger has it before the outbox forgets it: a crash between tells it again under the same key
        kept.await;
        if !matches!(settled, Settled::Retry(_)) {
            self.0.outbox.forget(&parcel.key);
        }
    }

    /// A ledger row for every alert of a message.
    fn note_message(&self, page: &mut Page, parcel: &Parcel, event: &str, reason: &str, answer: &str, now_ms: i64) {
        let detail = json!({ "channel": parcel.kind, "key": parcel.key, "answer": answer }).to_string();
        for note in &parcel.message.alerts {
            page.add(&Entry {
                subject: &subject_of_note(note),
                ts_ms: now_ms,
                event,
                value: note.value,
                reason: Some(reason),
                texts: None,
                receiver: Some(&parcel.message.receiver),
                detail: Some(detail.clone()),
            });
        }
    }
}
