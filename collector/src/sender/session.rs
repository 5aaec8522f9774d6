//! One connection: hello and welcome, batches up, acknowledgements and requests down.

use std::time::Duration;

use proto::{
    Class,
    wire::{self, collector_message, ingest_client::IngestClient, server_message},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{SendError, Sender};
use crate::source::What;

/// Batches of one class sent ahead of their acknowledgements.
pub const WINDOW_BATCHES: usize = 8;
/// Messages handed to the connection and not yet written: bounds memory while the network is slow.
const OUTBOUND_MAX: usize = 4;
/// Requests being read or answered at one time.
const REQUESTS_MAX: usize = 16;
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that acknowledges nothing for this long though batches are on their way is given up.
const ACK_TIMEOUT: Duration = Duration::from_secs(60);
/// Wait after the server had no room and gave no hint how long.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause a server can ask for.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Classes that requests are answered with.
const ANSWER_CLASSES: [Class; 4] = [Class::Activity, Class::StatementStats, Class::Statements, Class::Plans];

/// An open stream.
pub struct Session {
    outbound: mpsc::Sender<wire::CollectorMessage>,
    inbound: Streaming<wire::ServerMessage>,
    server_version: String,
    answers: mpsc::Receiver<wire::Answer>,
    answers_in: mpsc::Sender<wire::Answer>,
    requests_open: usize,
    held: Vec<Held>,
}

/// An answer that waits until the rows it speaks of are durable.
struct Held {
    answer: wire::Answer,
    after: Vec<(Class, u64)>,
}

fn up(message: collector_message::Message) -> wire::CollectorMessage {
    wire::CollectorMessage { message: Some(message) }
}

/// Says hello and waits for the welcome.
pub async fn open(sender: &Sender, mut client: IngestClient<Channel>) -> Result<Session, SendError> {
    let (outbound, messages) = mpsc::channel(OUTBOUND_MAX);
    let source = sender.way.spool.lock().source();
    let hello = wire::Hello {
        source: Some(wire::Source { collector: source.collector.to_string(), epoch: source.epoch }),
        version: env!("CARGO_PKG_VERSION").into(),
        tenant: sender.tenant.to_string(),
        host: sender.host.to_string(),
    };
    outbound
        .send(up(collector_message::Message::Hello(hello)))
        .await
        .map_err(|_| SendError::Protocol("the stream closed before hello"))?;
    let opened = timeout(WELCOME_TIMEOUT, async {
        let mut inbound = client.stream(ReceiverStream::new(messages)).await?.into_inner();
        let first = inbound.message().await?;
        Ok::<_, SendError>((inbound, first))
    });
    let (inbound, first) = opened.await.map_err(|_| SendError::Protocol("no welcome within 10 s"))??;
    let Some(wire::ServerMessage { message: Some(server_message::Message::Welcome(welcome)) }) = first else {
        return Err(SendError::Protocol("the server's first message is not a welcome"));
    };
    sender.measure_skew(welcome.now_ms);
    let durable: Vec<_> = welcome.durable.iter().map(|d| (d.class(), d.sequence)).collect();
    if !sender.way.spool.lock().connected(&durable)? {
        sender.way.spool.lock().renew_epoch(sender.clock.now_ms())?;
        return Err(SendError::Protocol("the server knows sequences this spool never gave out: a new epoch begins"));
    }
    let (answers_in, answers) = mpsc::channel(REQUESTS_MAX);
    let server_version = welcome.version;
    Ok(Session { outbound, inbound, server_version, answers, answers_in, requests_open: 0, held: Vec::new() })
}

impl Session {
    /// What the server calls itself.
    pub fn server_version(&self) -> &str {
        &self.server_version
    }

    /// Sends and listens until the connection ends; `Ok` when shutdown ended it.
    pub async fn run(mut self, sender: &Sender) -> Result<(), SendError> {
        let mut more = true;
        let mut paused_until: Option<Instant> = None;
        let mut ack_deadline = Instant::now() + ACK_TIMEOUT;
        loop {
            let outbound = self.outbound.clone();
            tokio::select! {
                () = sender.shutdown.cancelled() => return Ok(()),
                message = self.inbound.message() => {
                    let Some(message) = message? else { return Err(SendError::Protocol("the server closed the stream")) };
                    match message.message {
                        Some(server_message::Message::Ack(ack)) => {
                            sender.measure_skew(ack.now_ms);
                            if let Some(pause) = take_ack(sender, &ack)? {
                                paused_until = Some(Instant::now() + pause.min(PAUSE_MAX));
                            }
                            ack_deadline = Instant::now() + ACK_TIMEOUT;
                            more = true;
                        }
                        Some(server_message::Message::ReadNow(request)) => self.read_now(sender, request),
                        Some(server_message::Message::Welcome(_)) | None => {
                            return Err(SendError::Protocol("a message that has no place here"));
                        }
                    }
                    self.release_answers(sender).await?;
                }
                Some(answer) = self.answers.recv() => {
                    self.requests_open -= 1;
                    let after = {
                        let spool = sender.way.spool.lock();
                        ANSWER_CLASSES.map(|class| (class, spool.last_sequence(class))).to_vec()
                    };
                    self.held.push(Held { answer, after });
                    self.release_answers(sender).await?;
                }
                permit = outbound.reserve(), if more && paused_until.is_none() => {
                    let permit = permit.map_err(|_| SendError::Protocol("the stream closed"))?;
                    let mut spool = sender.way.spool.lock();
                    let idle = spool.in_flight() == 0;
                    match spool.next_unsent(WINDOW_BATCHES, sender.clock.now_ms())? {
                        Some(batch) => {
                            if idle {
                                ack_deadline = Instant::now() + ACK_TIMEOUT;
                            }
                            permit.send(up(collector_message::Message::Batch(batch.bytes.into())));
                        }
                        None => more = false,
                    }
                }
                () = sender.way.appended.notified() => more = true,
                () = sleep_until(paused_until.unwrap_or(ack_deadline)), if paused_until.is_some() => paused_until = None,
                () = sleep_until(ack_deadline) => {
                    if sender.way.spool.lock().in_flight() > 0 && paused_until.is_none() {
                        return Err(SendError::Protocol("nothing was acknowledged for 60 s"));
                    }
                    ack_deadline = Instant::now() + ACK_TIMEOUT;
                }
            }
        }
    }

    fn read_now(&mut self, sender: &Sender, request: wire::ReadNow) {
        let answers = self.answers_in.clone();
        let id = request.request;
        if self.requests_open >= REQUESTS_MAX {
            let error = format!("{REQUESTS_MAX} requests are being read already");
            self.held.push(Held { answer: wire::Answer { request: id, error }, after: Vec::new() });
            return;
        }
        self.requests_open += 1;
        let desk = sender.desk.clone();
        tokio::spawn(async move {
            let unknown = request.what.iter().find(|w| What::from_word(w).is_none());
            let result = match unknown {
                Some(word) => Err(format!("{word:?} can't be read; known: activity, statements, plan")),
                None => {
                    let what = request.what.iter().filter_map(|w| What::from_word(w)).collect();
                    let fingerprint = Some(request.fingerprint.as_str()).filter(|f| !f.is_empty()).map(Into::into);
                    desk.ask(&request.instance, what, fingerprint).await
                }
            };
            let error = result.err().unwrap_or_default();
            let _ = answers.send(wire::Answer { request: id, error }).await; // the session may have ended meanwhile
        });
    }

    /// Sends the answers whose rows are durable.
    async fn release_answers(&mut self, sender: &Sender) -> Result<(), SendError> {
        let held = std::mem::take(&mut self.held);
        for one in held {
            let ready = {
                let spool = sender.way.spool.lock();
                one.after.iter().all(|&(class, sequence)| spool.durable(class) >= sequence)
            };
            if ready {
                let message = up(collector_message::Message::Answer(one.answer));
                self.outbound.send(message).await.map_err(|_| SendError::Protocol("the stream closed"))?;
            } else {
                self.held.push(one);
            }
        }
        Ok(())
    }
}

/// Takes an acknowledgement in; returns how long to pause, if so.
fn take_ack(sender: &Sender, ack: &wire::Ack) -> Result<Option<Duration>, SendError> {
    let mut spool = sender.way.spool.lock();
    let mut pause = Duration::from_millis(u64::from(ack.slow_down_ms));
    for refusal in &ack.refusals {
        let class = refusal.class();
        if refusal.r#final {
            let now_ms = sender.clock.now_ms();
            spool.refused(class, refusal.sequence, refusal.rows, &refusal.reason, &refusal.detail, now_ms)?;
        } else {
            tracing::warn!(reason = refusal.reason, detail = refusal.detail, "server has no room; sending again later");
            spool.send_again(class);
            pause = pause.max(NO_ROOM_PAUSE);
        }
    }
    for durable in &ack.durable {
        spool.acknowledged(durable.class(), durable.sequence)?;
    }
    Ok((!pause.is_zero()).then_some(pause))
}
