//! Against a real tonic server in this process that loses connections, repeats acknowledgements and refuses.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, path::PathBuf};

use futures::StreamExt;
use parking_lot::Mutex;
use proto::{
    Batch, Class, EventsBuilder, Labels, Payload, Table, Value,
    wire::{self, collector_message, ingest_server, server_message},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::{
    outlet::Outlet,
    source::What,
    spool::{Spool, SpoolOptions},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// What the server's clock says.
const SERVER_MS: i64 = 61_000;

/// What the server has taken, and how it misbehaves.
#[derive(Default)]
struct Peer {
    durable: BTreeMap<Class, u64>,
    rows: Vec<(Class, i64)>,
    hellos: u32,
    received: u32,
    lose_every: u32,
    answers: Vec<wire::Answer>,
    ask: Option<wire::ReadNow>,
    refuse_once: Option<(Class, u64, bool)>,
}

#[derive(Clone, Default)]
struct Door(Arc<Mutex<Peer>>);

#[tonic::async_trait]
impl ingest_server::Ingest for Door {
    type StreamStream = ReceiverStream<Result<wire::ServerMessage, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<wire::CollectorMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (out, messages) = mpsc::channel(16);
        let door = self.clone();
        tokio::spawn(async move {
            let mut inbound = request.into_inner();
            while let Some(Ok(message)) = inbound.next().await {
                for reply in door.take(message.message.unwrap()) {
                    let Some(reply) = reply else { return }; // the connection is lost
                    let _ = out.send(Ok(wire::ServerMessage { message: Some(reply) })).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

fn durable_of(peer: &Peer) -> Vec<wire::Durable> {
    peer.durable.iter().map(|(&class, &sequence)| wire::Durable { class: class as i32, sequence }).collect()
}

impl Door {
    /// Replies to a message; `None` among them: the connection is lost there.
    fn take(&self, message: collector_message::Message) -> Vec<Option<server_message::Message>> {
        let mut peer = self.0.lock();
        match message {
            collector_message::Message::Hello(hello) => {
                assert_eq!((hello.host.as_str(), hello.tenant.as_str()), ("h", "0"));
                peer.hellos += 1;
                let welcome = wire::Welcome { version: "test".into(), durable: durable_of(&peer), now_ms: SERVER_MS };
                let mut replies = vec![Some(server_message::Message::Welcome(welcome))];
                replies.extend(peer.ask.take().map(|ask| Some(server_message::Message::ReadNow(ask))));
                replies
            }
            collector_message::Message::Batch(bytes) => {
                let batch = Batch::decode(&bytes).unwrap();
                let (class, sequence) = (batch.class(), batch.sequence);
                peer.received += 1;
                if let Some((_, _, is_final)) = peer.refuse_once.take_if(|(c, s, _)| (*c, *s) == (class, sequence)) {
                    if is_final {
                        peer.durable.insert(class, sequence);
                    }
                    let reason = if is_final { "too_old" } else { "full" };
                    let refusal = wire::Refusal {
                        class: class as i32,
                        sequence,
                        reason: reason.into(),
                        detail: String::new(),
                        rows: batch.rows() as u64,
                        r#final: is_final,
                    };
                    let ack = wire::Ack { durable: vec![], refusals: vec![refusal], slow_down_ms: 1, now_ms: 0 };
                    return vec![Some(server_message::Message::Ack(ack))];
                }
                let durable = peer.durable.entry(class).or_insert(0);
                if sequence > *durable + 1 {
                    return Vec::new(); // behind one that was refused: it must come again in order
                }
                if sequence > *durable {
                    *durable = sequence;
                    let Payload::Events(events) = batch.payload else { panic!("these tests send events") };
                    peer.rows.extend((0..events.rows()).map(|row| (class, events.ts_ms(row))));
                }
                let received = peer.received;
                if peer.lose_every > 0 && received.is_multiple_of(peer.lose_every) {
                    return vec![None]; // taken, and never acknowledged
                }
                let ack =
                    wire::Ack { durable: durable_of(&peer), refusals: vec![], slow_down_ms: 0, now_ms: SERVER_MS };
                let ack = Some(server_message::Message::Ack(ack));
                vec![ack.clone(), ack] // told twice
            }
            collector_message::Message::Answer(answer) => {
                peer.answers.push(answer);
                Vec::new()
            }
        }
    }
}

struct Set {
    door: Door,
    way: Way,
    outlet: Outlet,
    desk: Desk,
    shutdown: CancellationToken,
    _directory: tempfile::TempDir,
}

fn open(data_dir: PathBuf) -> Spool {
    let options = SpoolOptions {
        data_dir,
        bytes_max: 64 << 20,
        batch_bytes_max: proto::batch::ENCODED_BYTES_MAX,
        id: Some("c1".into()),
        tenant: "0".into(),
        resource: Labels::empty(),
        host: "h".into(),
        boot: "b".into(),
        now_ms: 1000,
    };
    Spool::open(options).unwrap()
}

async fn set(change: impl FnOnce(&mut Peer)) -> Set {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let door = Door::default();
    change(&mut door.0.lock());
    let service = ingest_server::IngestServer::new(door.clone());
    tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::new(|| 1000);
    let way = Way::new(open(directory.path().into()), clock.clone());
    let (desk, shutdown) = (Desk::default(), CancellationToken::new());
    let sender = Sender {
        server: ServerConfig { address, tls: None },
        way: way.clone(),
        clock,
        desk: desk.clone(),
        host: "h".into(),
        tenant: "0".into(),
        shutdown: shutdown.clone(),
    };
    tokio::spawn(sender.run());
    Set { door, outlet: Outlet::new(way.clone()), way, desk, shutdown, _directory: directory }
}

fn send(outlet: &Outlet, table: Table, ts_ms: i64) {
    let mut builder = EventsBuilder::new(table);
    builder.row("db", ts_ms, [("pid", Value::from(ts_ms))]);
    outlet.send_events(builder.build());
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await; // poll interval
    }
}

fn rows_of(door: &Door, class: Class) -> Vec<i64> {
    door.0.lock().rows.iter().filter(|(c, _)| *c == class).map(|(_, ts)| *ts).collect()
}

#[test]
fn waits_grow_to_a_bound_and_are_spread() {
    assert_eq!(backoff(1, 1.0), BACKOFF_MIN);
    assert_eq!(backoff(1, 0.0), BACKOFF_MIN / 2);
    assert_eq!(backoff(3, 1.0), BACKOFF_MIN * 4);
    assert_eq!(backoff(40, 1.0), BACKOFF_MAX);
}

#[tokio::test]
async fn every_row_arrives_once_through_lost_connections_and_repeated_acknowledgements() {
    let set = set(|peer| peer.lose_every = 13).await;
    for ts in 1..=60 {
        send(&set.outlet, Table::Logs, ts);
        send(&set.outlet, Table::Activity, ts);
    }
    until("drained", || set.way.spool.lock().is_drained()).await;
    for class in [Class::Logs, Class::Activity] {
        assert_eq!(rows_of(&set.door, class), (1..=60).collect::<Vec<i64>>(), "{class:?}");
    }
    assert!(set.door.0.lock().hellos > 3, "connections were lost");
    assert_eq!(set.way.skew.ahead_ms(), Some(1_000 - SERVER_MS), "the server's clock is a minute ahead");
    set.shutdown.cancel();
}

#[tokio::test]
async fn a_full_server_gets_the_batch_again_and_in_order() {
    let set = set(|peer| peer.refuse_once = Some((Class::Logs, 3, false))).await;
    (1..=10).for_each(|ts| send(&set.outlet, Table::Logs, ts));
    until("drained", || set.way.spool.lock().is_drained()).await;
    assert_eq!(rows_of(&set.door, Class::Logs), (1..=10).collect::<Vec<i64>>());
    assert_eq!(set.door.0.lock().hellos, 1, "on the same connection");
}

#[tokio::test]
async fn a_final_refusal_is_forgotten_and_becomes_a_gap() {
    let set = set(|peer| peer.refuse_once = Some((Class::Logs, 2, true))).await;
    (1..=3).for_each(|ts| send(&set.outlet, Table::Logs, ts));
    until("gap", || !rows_of(&set.door, Class::Gaps).is_empty()).await;
    until("drained", || set.way.spool.lock().is_drained()).await;
    assert_eq!(rows_of(&set.door, Class::Logs), [1, 3]);
    let counters = set.way.spool.lock().counters();
    assert_eq!(counters.by_class[&Class::Logs].refused_rows, 1);
}

#[tokio::test]
async fn a_request_is_answered_after_its_rows_are_durable() {
    let ask = |request, instance: &str| wire::ReadNow {
        request,
        instance: instance.into(),
        what: vec!["activity".into()],
        fingerprint: String::new(),
    };
    let set = set(|peer| peer.ask = Some(ask(7, "db"))).await;
    let mut requests = set.desk.open("db");
    let request = requests.recv().await.unwrap();
    assert_eq!(request.what, [What::Activity]);
    send(&set.outlet, Table::Activity, 42);
    request.reply.send(Ok(())).unwrap();
    until("answer", || !set.door.0.lock().answers.is_empty()).await;
    let peer = set.door.0.lock();
    assert_eq!(peer.answers, [wire::Answer { request: 7, error: String::new() }]);
    assert_eq!(peer.rows, [(Class::Activity, 42)]);
}

#[tokio::test]
async fn a_request_for_an_unknown_instance_says_so() {
    let set = set(|peer| {
        peer.ask = Some(wire::ReadNow { request: 9, instance: "x".into(), what: vec![], fingerprint: String::new() });
    })
    .await;
    until("answer", || !set.door.0.lock().answers.is_empty()).await;
    assert!(set.door.0.lock().answers[0].error.contains("not watched here"));
}
