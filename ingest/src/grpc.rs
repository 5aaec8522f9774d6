//! The gRPC service: accepts streams and gives each its task.

use proto::{
    batch::ENCODED_BYTES_MAX,
    wire::{self, ingest_server},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{Admission, Collectors, stream};

/// Largest message read from the wire, bytes: past the largest batch, so that one too large is refused by its number instead of
/// breaking the stream; past this the stream breaks.
pub const MESSAGE_BYTES_MAX: usize = 2 * ENCODED_BYTES_MAX;
/// Messages that may wait for a collector that does not read; then its batches are no longer read either.
const OUTBOX_MESSAGES_MAX: usize = 64;

/// The service behind the collectors' port.
#[derive(Clone)]
pub struct IngestService {
    admission: Admission,
    collectors: Collectors,
}

/// The service, ready for a tonic server.
pub fn service(admission: Admission, collectors: Collectors) -> ingest_server::IngestServer<IngestService> {
    ingest_server::IngestServer::new(IngestService { admission, collectors })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
}

#[tonic::async_trait]
impl ingest_server::Ingest for IngestService {
    type StreamStream = ReceiverStream<Result<wire::ServerMessage, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<wire::CollectorMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (out, messages) = mpsc::channel(OUTBOX_MESSAGES_MAX);
        tokio::spawn(stream::serve(self.admission.clone(), self.collectors.clone(), request.into_inner(), out));
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}
