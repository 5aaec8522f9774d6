//! Feeding: every server gets the same bytes at the same time, and its CPU is read from the kernel.

use anyhow::Result;
use futures::future::try_join_all;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    fleet::{Fleet, Rhythm},
    server::Server,
    wire::Body,
};

/// Scrapes that are made ahead of the sending.
const AHEAD_MAX: usize = 2;

/// What feeding cost one server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fed {
    /// CPU, seconds.
    pub cpu_s: f64,
    /// Wall clock from the first byte to the last answer, the waits for others left out, seconds.
    pub wall_s: f64,
    /// Bytes on the wire.
    pub bytes: u64,
}

/// Makes the scrapes of a fleet on a thread of its own, a few ahead.
pub fn scrapes(mut fleet: Fleet, rhythm: Rhythm) -> mpsc::Receiver<Vec<Body>> {
    let (sender, receiver) = mpsc::channel(AHEAD_MAX);
    tokio::task::spawn_blocking(move || {
        for _ in 0..rhythm.scrapes {
            if sender.blocking_send(fleet.next(&rhythm)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Sends all scrapes of a fleet to all servers, scrape by scrape; the answer has a place for each server.
pub async fn feed(servers: &[Server], fleet: Fleet, rhythm: Rhythm) -> Result<Vec<Fed>> {
    let mut fed = vec![Fed::default(); servers.len()];
    let before = servers.iter().map(Server::cpu_s).collect::<Result<Vec<_>>>()?;
    let mut scrapes = scrapes(fleet, rhythm);
    while let Some(requests) = scrapes.recv().await {
        let bytes: u64 = requests.iter().map(|r| r.bytes.len() as u64).sum();
        let requests = &requests;
        let sends = servers.iter().map(|server| async move {
            let begin = Instant::now();
            server.write(requests).await?;
            Ok::<_, anyhow::Error>(begin.elapsed().as_secs_f64())
        });
        for (fed, wall_s) in fed.iter_mut().zip(try_join_all(sends).await?) {
            fed.wall_s += wall_s;
            fed.bytes += bytes;
        }
    }
    for ((fed, server), before) in fed.iter_mut().zip(servers).zip(before) {
        fed.cpu_s = server.cpu_s()? - before;
    }
    Ok(fed)
}
