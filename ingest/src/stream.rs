//! One collector's connection: its hello, its batches and their acknowledgements, and what it is asked to read.
//!
//! Batches are handed to the store as they come and acknowledged as they reach the disk; up to [`IN_FLIGHT_MAX`] are
//! between the two. Beyond that nothing is read, and the connection's own flow control slows the collector.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use proto::{
    Batch, BatchError, Class,
    batch::describe,
    refusal::Refusal,
    tables::class_name,
    wire::{self, collector_message, server_message},
};
use storage::{Origin, Rows};
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming};

use crate::{
    Admission, Admitted, CollectorStatus, Collectors, Counters, Door, ReadNowError, Refused,
    batch_header::{self, BatchHeader},
    collectors::Request,
    gap::Gap,
    progress::{Place, Progress},
    rows::{instances, with_no_rows, with_rows},
};

/// Batches of one stream between arrival and disk.
pub const IN_FLIGHT_MAX: usize = 64;
/// How long a new stream may take to say hello.
pub const HELLO_WAIT_MS_MAX: u64 = 10_000;
/// Told to a collector whose batch found no room, milliseconds.
pub const SLOW_DOWN_MS: u32 = 1_000;
/// Encoded batches past this are decoded off the connection's thread, bytes.
const DECODE_INLINE_BYTES_MAX: usize = 64 << 10;
/// Requests whose answers a stream awaits.
const REQUESTS_MAX: usize = 256;

pub(crate) type Outbox = mpsc::Sender<Result<wire::ServerMessage, Status>>;

/// One batch reached the disk, or did not.
struct Landed {
    ticket: u64,
    class: Class,
    sequence: u64,
    result: Result<Admitted, Refused>,
}

/// A request the collector has been sent.
struct Asked {
    reply: oneshot::Sender<Result<(), ReadNowError>>,
    /// Once answered: the last batch that must land before the answer counts.
    answered_after: Option<u64>,
}

pub(crate) struct Stream {
    admission: Admission,
    collectors: Collectors,
    out: Outbox,
    hello: wire::Hello,
    source: wire::Source,
    tenant: String,
    number: u64,
    progress: Progress,
    in_flight: FuturesUnordered<BoxFuture<'static, Landed>>,
    /// Tickets of batches in flight: which of them came before an answer.
    tickets: BTreeSet<u64>,
    next_ticket: u64,
    asked: Vec<(u64, Asked)>,
    refusals: Vec<wire::Refusal>,
    /// Refusals for now of each class since one was taken: the first is said, the others are counted.
    held: BTreeMap<Class, u64>,
    slow_down_ms: u32,
}

/// Serves one stream until either side ends it.
pub(crate) async fn serve(
    admission: Admission,
    collectors: Collectors,
    mut inbound: Streaming<wire::CollectorMessage>,
    out: Outbox,
) {
    let end = match hello(&mut inbound).await {
        Ok(_) if collectors.is_closed() => Err(Status::unavailable("the server stops")),
        Ok((hello, source)) => {
            let collector = source.collector.clone();
            let (mut stream, requests) = Stream::open(admission, collectors, out.clone(), hello, source);
            let end = stream.run(&mut inbound, requests).await;
            stream.collectors.disconnect(&collector, stream.number);
            match &end {
                Ok(()) => tracing::info!(collector, "collector disconnected"),
                Err(status) => tracing::warn!(collector, reason = status.message(), "collector's stream ended"),
            }
            end
        }
        Err(status) => Err(status),
    };
    if let Err(status) = end {
        let _ = out.send(Err(status)).await; // the collector may be gone already
    }
}

async fn hello(inbound: &mut Streaming<wire::CollectorMessage>) -> Result<(wire::Hello, wire::Source), Status> {
    let first = tokio::time::timeout(Duration::from_millis(HELLO_WAIT_MS_MAX), inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded(format!("no hello within {HELLO_WAIT_MS_MAX} ms")))??;
    let Some(wire::CollectorMessage { message: Some(collector_message::Message::Hello(mut hello)) }) = first else {
        return Err(Status::failed_precondition("the first message must be hello"));
    };
    let source = hello.source.take().filter(|s| (1..=128).contains(&s.collector.len()));
    let source = source.ok_or_else(|| Status::invalid_argument("hello.source.collector must have 1 to 128 bytes"))?;
    if hello.tenant.len() > 64 || hello.version.len() > 64 || hello.host.len() > 255 {
        return Err(Status::invalid_argument("hello: tenant and version have at most 64 bytes, host 255"));
    }
    Ok((hello, source))
}

impl Stream {
    fn open(
        admission: Admission,
        collectors: Collectors,
        out: Outbox,
        hello: wire::Hello,
        source: wire::Source,
    ) -> (Stream, mpsc::Receiver<Request>) {
        Counters::one(&admission.counters().streams, 1);
        let tenant = if hello.tenant.is_empty() { proto::DEFAULT_TENANT.to_owned() } else { hello.tenant.clone() };
        let (number, requests) = collectors.connect(CollectorStatus {
            collector: source.collector.clone(),
            host: hello.host.clone(),
            version: hello.version.clone(),
            tenant: tenant.clone(),
            epoch: source.epoch,
            door: Door::Grpc.as_str(),
            connected: true,
            connected_at_ms: admission.now_ms(),
            last_batch_ms: None,
            batches: 0,
            instances: BTreeSet::new(),
        });
        let stream = Stream {
            progress: Progress::default(),
            in_flight: FuturesUnordered::new(),
            tickets: BTreeSet::new(),
            next_ticket: 1,
            asked: Vec::new(),
            refusals: Vec::new(),
            held: BTreeMap::new(),
            slow_down_ms: 0,
            admission,
            collectors,
            out,
            hello,
            source,
            tenant,
            number,
        };
        (stream, requests)
    }

    async fn run(
        &mut self,
        inbound: &mut Streaming<wire::CollectorMessage>,
        mut requests: mpsc::Receiver<Request>,
    ) -> Result<(), Status> {
        tracing::info!(
            collector = self.source.collector,
            host = self.hello.host,
            version = self.hello.version,
            "collector connected"
        );
        self.welcome().await?;
        loop {
            tokio::select! {
                biased;
                Some(landed) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.landed(landed)?;
                    while let Some(Some(landed)) = self.in_flight.next().now_or_never() {
                        self.landed(landed)?;
                    }
                }
                request = requests.recv() => match request {
                    Some(request) => self.ask(request).await?,
                    None if self.collectors.is_closed() => {
                        self.drain().await?;
                        return Err(Status::unavailable("the server stops"));
                    }
                    None => {
                        Counters::one(&self.admission.counters().superseded, 1);
                        return Err(Status::aborted("a newer stream of the same collector took over"));
                    }
                },
                message = inbound.message(), if self.in_flight.len() < IN_FLIGHT_MAX => match message? {
                    Some(wire::CollectorMessage { message: Some(message) }) => self.message(message).await?,
                    Some(_) => {} // a kind of message this version does not know
                    None => return self.drain().await,
                },
            }
            self.acknowledge().await?;
        }
    }

    /// The collector has sent its last: acknowledge what is still on its way.
    async fn drain(&mut self) -> Result<(), Status> {
        while let Some(landed) = self.in_flight.next().await {
            self.landed(landed)?;
        }
        self.acknowledge().await
    }

    async fn welcome(&mut self) -> Result<(), Status> {
        let durable = self.admission.store().durable(&self.source.collector, self.source.epoch);
        self.progress = Progress::new(&durable);
        let durable =
            durable.into_iter().map(|(class, sequence)| wire::Durable { class: class as i32, sequence }).collect();
        let now_ms = self.admission.now_ms();
        let welcome = wire::Welcome { version: env!("CARGO_PKG_VERSION").to_owned(), durable, now_ms };
        self.send(server_message::Message::Welcome(welcome)).await
    }

    async fn send(&mut self, message: server_message::Message) -> Result<(), Status> {
        let gone = |_| Status::cancelled("the collector is gone");
        self.out.send(Ok(wire::ServerMessage { message: Some(message) })).await.map_err(gone)
    }

    async fn message(&mut self, message: collector_message::Message) -> Result<(), Status> {
        match message {
            collector_message::Message::Hello(_) => Err(Status::failed_precondition("hello may come only once")),
            collector_message::Message::Batch(bytes) => self.batch(bytes).await,
            collector_message::Message::Answer(answer) => {
                self.answer(answer);
                Ok(())
            }
        }
    }

    async fn batch(&mut self, bytes: Bytes) -> Result<(), Status> {
        self.admission.counters().received_bytes(Door::Grpc, bytes.len());
        let decoded = if bytes.len() <= DECODE_INLINE_BYTES_MAX {
            Batch::decode(&bytes)
        } else {
            let bytes = bytes.clone();
            let decoded = tokio::task::spawn_blocking(move || Batch::decode(&bytes)).await;
            decoded.map_err(|e| Status::internal(format!("decoding: {e}")))?
        };
        match decoded {
            Ok(batch) => self.arrived(&batch, &bytes),
            Err(error) => self.unreadable(&bytes, &error),
        }
    }

    /// Bytes that are no batch. If they at least say which batch they are, it is refused for good; else the stream ends.
    fn unreadable(&mut self, bytes: &[u8], error: &BatchError) -> Result<(), Status> {
        let reason = if matches!(error, BatchError::TooLarge { .. }) { Refusal::TooLarge } else { Refusal::Malformed };
        let refused = Refused::new(reason, error.to_string());
        match batch_header::read(bytes).filter(|header| self.is_ours(header)) {
            Some(BatchHeader { class, sequence, .. }) => {
                if self.progress.place(class, sequence) == Place::Known {
                    self.progress.repeat(class);
                    return Ok(());
                }
                let refused = self.admission.refuse(Door::Grpc, 0, refused);
                self.refuse_for_good(class, sequence, 0, refused);
                Ok(())
            }
            None => {
                let refused = self.admission.refuse(Door::Grpc, 0, refused);
                Err(Status::invalid_argument(format!("bytes that are no batch: {}", refused.detail)))
            }
        }
    }

    fn is_ours(&self, header: &BatchHeader) -> bool {
        header.collector == self.source.collector && header.epoch == self.source.epoch
    }

    fn arrived(&mut self, batch: &Batch, bytes: &[u8]) -> Result<(), Status> {
        let (class, sequence, rows) = (batch.class(), batch.sequence, batch.rows() as u64);
        if *batch.source.collector != *self.source.collector || batch.source.epoch != self.source.epoch {
            let detail =
                format!("{} came on the stream of {}/{}", describe(batch), self.source.collector, self.source.epoch);
            let refused = self.admission.refuse(Door::Grpc, rows, Refused::new(Refusal::Forbidden, detail));
            return Err(Status::permission_denied(refused.detail));
        }
        match self.progress.place(class, sequence) {
            Place::Known => {
                self.admission.counters().duplicate(Door::Grpc);
                self.progress.repeat(class);
                return Ok(());
            }
            Place::Held { until } => {
                let detail = format!("{} #{until} must come first", class_name(class));
                self.refuse_for_now(class, sequence, rows, Refused::new(Refusal::Full, detail));
                return Ok(());
            }
            Place::AfterGap { first, last } => self.note_gap(class, first, last),
            Place::Next => {}
        }
        if *batch.tenant != *self.tenant {
            let detail =
                format!("{} is of tenant {:?}, the stream of {:?}", describe(batch), batch.tenant, self.tenant);
            let refused = self.admission.refuse(Door::Grpc, rows, Refused::new(Refusal::Forbidden, detail));
            self.refuse_for_good(class, sequence, rows, refused);
            return Ok(());
        }
        self.collectors.batch(&self.source.collector, self.number, self.admission.now_ms(), instances(batch));
        match with_rows(&batch.payload, bytes, |rows| self.hand_over(class, sequence, rows)) {
            Ok(()) => {}
            Err(refused) if refused.reason.is_final() => self.refuse_for_good(class, sequence, rows, refused),
            Err(refused) => self.refuse_for_now(class, sequence, rows, refused),
        }
        Ok(())
    }

    fn hand_over(&mut self, class: Class, sequence: u64, rows: Rows<'_>) -> Result<(), Refused> {
        let (collector, epoch) = (self.source.collector.as_str(), self.source.epoch);
        let origin = Origin { collector, epoch, class, sequence };
        let landing = self.admission.admit(Door::Grpc, &self.tenant, Some(origin), rows)?;
        if let Some(refused) = self.held.remove(&class) {
            tracing::info!(collector, class = class_name(class), refused, "batches are taken again");
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.tickets.insert(ticket);
        self.progress.take(class, sequence);
        self.in_flight.push(landing.map(move |result| Landed { ticket, class, sequence, result }).boxed());
        Ok(())
    }

    fn landed(&mut self, landed: Landed) -> Result<(), Status> {
        let Landed { ticket, class, sequence, result } = landed;
        self.tickets.remove(&ticket);
        match result {
            Ok(Admitted::Stored { refused, .. }) => {
                self.progress.settle(class, sequence);
                for (reason, rows) in refused {
                    let refused = Refused::new(reason, "these rows of the batch");
                    self.say_refused(class, sequence, rows, &refused, true);
                    self.push_refusal(class, sequence, rows, &refused, true);
                }
            }
            Ok(Admitted::Duplicate) => self.progress.settle(class, sequence),
            Err(refused) => {
                // Whether it and those behind it are on disk is unknown; a new stream begins from what is.
                return Err(Status::unavailable(format!(
                    "{} #{sequence} did not reach the disk: {refused}",
                    class_name(class)
                )));
            }
        }
        self.reply_to_answered();
        Ok(())
    }

    /// Refused for good. Its number is stored with no rows, so that neither a resend nor the next batch finds a gap there.
    fn refuse_for_good(&mut self, class: Class, sequence: u64, rows: u64, refused: Refused) {
        self.say_refused(class, sequence, rows, &refused, true);
        self.push_refusal(class, sequence, rows, &refused, true);
        if class == Class::AlertEvents || with_no_rows(class, |rows| self.hand_over(class, sequence, rows)).is_err() {
            self.progress.take(class, sequence);
            self.progress.settle(class, sequence);
        }
    }

    fn refuse_for_now(&mut self, class: Class, sequence: u64, rows: u64, refused: Refused) {
        self.progress.hold(class, sequence);
        self.slow_down_ms = SLOW_DOWN_MS;
        let held = self.held.entry(class).or_default();
        *held += 1;
        if *held == 1 {
            self.say_refused(class, sequence, rows, &refused, false);
        }
        self.push_refusal(class, sequence, rows, &refused, false);
    }

    fn say_refused(&self, class: Class, sequence: u64, rows: u64, refused: &Refused, is_final: bool) {
        tracing::warn!(
            collector = self.source.collector,
            class = class_name(class),
            sequence,
            rows,
            reason = refused.reason.as_str(),
            detail = refused.detail,
            is_final,
            "refused"
        );
    }

    fn push_refusal(&mut self, class: Class, sequence: u64, rows: u64, refused: &Refused, is_final: bool) {
        self.refusals.push(wire::Refusal {
            class: class as i32,
            sequence,
            reason: refused.reason.as_str().to_owned(),
            detail: refused.detail.clone(),
            rows,
            r#final: is_final,
        });
    }

    async fn acknowledge(&mut self) -> Result<(), Status> {
        let settled = self.progress.acknowledge();
        if settled.is_empty() && self.refusals.is_empty() && self.slow_down_ms == 0 {
            return Ok(());
        }
        let ack = wire::Ack {
            durable: settled
                .into_iter()
                .map(|(class, sequence)| wire::Durable { class: class as i32, sequence })
                .collect(),
            refusals: std::mem::take(&mut self.refusals),
            slow_down_ms: std::mem::take(&mut self.slow_down_ms),
            now_ms: self.admission.now_ms(),
        };
        self.send(server_message::Message::Ack(ack)).await
    }

    /// Numbers that never came: counted, said, and kept as a row of `gaps`.
    fn note_gap(&mut self, class: Class, first: u64, last: u64) {
        let collector = &self.source.collector;
        tracing::warn!(collector, class = class_name(class), first, last, "batches are missing");
        Counters::one(&self.admission.counters().missing_batches, last - first + 1);
        let about = if self.hello.host.is_empty() { collector } else { &self.hello.host };
        Gap {
            about,
            collector,
            class: class_name(class),
            rows: None,
            reason: "sequence_gap",
            detail: &format!("batches #{first} to #{last} never arrived"),
        }
        .note(&self.admission, &self.tenant);
    }

    async fn ask(&mut self, request: Request) -> Result<(), Status> {
        self.asked.retain(|(_, asked)| !asked.reply.is_closed());
        if self.asked.len() >= REQUESTS_MAX {
            let _ = request.reply.send(Err(ReadNowError::Busy(self.source.collector.clone())));
            return Ok(());
        }
        self.asked.push((request.message.request, Asked { reply: request.reply, answered_after: None }));
        self.send(server_message::Message::ReadNow(request.message)).await
    }

    fn answer(&mut self, answer: wire::Answer) {
        let Some(index) = self.asked.iter().position(|(request, _)| *request == answer.request) else { return };
        if answer.error.is_empty() {
            self.asked[index].1.answered_after = Some(self.next_ticket);
            self.reply_to_answered();
        } else {
            let (_, asked) = self.asked.swap_remove(index);
            let _ = asked.reply.send(Err(ReadNowError::Collector(answer.error)));
        }
    }

    fn reply_to_answered(&mut self) {
        let oldest = self.tickets.first().copied().unwrap_or(u64::MAX);
        for (_, asked) in self.asked.extract_if(.., |(_, a)| a.answered_after.is_some_and(|ticket| oldest >= ticket)) {
            let _ = asked.reply.send(Ok(())); // who asked may have given up
        }
    }
}
