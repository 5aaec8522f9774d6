//! The collector's road to a server without its sources: outlet, spool, sender. What a test hands to the outlet arrives as a
//! collector's rows do, also when the server was away meanwhile.

use std::{io, path::Path};

use collector::{
    Clock, Outlet,
    config::ServerConfig,
    outlet::Way,
    sender::Sender,
    source::Desk,
    spool::{Spool, SpoolOptions},
};
use proto::Labels;
use tokio_util::sync::CancellationToken;

/// What a spool holds unless told otherwise, bytes: the collector's own default.
pub const SPOOL_BYTES: u64 = 256 << 20;

/// The road; a sender works behind it until it is stopped.
pub struct Road {
    /// Where rows go in.
    pub outlet: Outlet,
    /// Where they wait.
    pub way: Way,
    shutdown: CancellationToken,
}

impl Road {
    /// A road from a spool in `folder` to the gRPC port of a server on loopback. Needs a tokio runtime.
    pub fn start(folder: &Path, grpc: u16) -> io::Result<Road> {
        Road::bounded(folder, grpc, SPOOL_BYTES)
    }

    /// The same with a spool of at most `bytes_max` on disk.
    pub fn bounded(folder: &Path, grpc: u16, bytes_max: u64) -> io::Result<Road> {
        let clock = Clock::system();
        let options = SpoolOptions {
            data_dir: folder.join("collector"),
            bytes_max,
            batch_bytes_max: proto::batch::ENCODED_BYTES_MAX,
            id: None,
            tenant: "0".into(),
            resource: Labels::empty(),
            host: "test".into(),
            boot: "".into(),
            now_ms: clock.now_ms(),
        };
        let way = Way::new(Spool::open(options).map_err(io::Error::other)?, clock.clone());
        let shutdown = CancellationToken::new();
        let sender = Sender {
            server: ServerConfig { address: format!("http://127.0.0.1:{grpc}"), tls: None },
            way: way.clone(),
            clock,
            desk: Desk::default(),
            host: "test".into(),
            tenant: "0".into(),
            shutdown: shutdown.clone(),
        };
        tokio::spawn(sender.run());
        Ok(Road { outlet: Outlet::new(way.clone()), way, shutdown })
    }

    /// Stops the sender.
    pub fn stop(self) {
        self.shutdown.cancel();
    }
}
