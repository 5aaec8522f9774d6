//! `tidewatch up`: server and collector in one process, on this host, without config. What is found is said, and what is missing
//! with the statement that grants it. The collector sends over the server's own gRPC port, as one on another host would.

use std::{net::SocketAddr, path::Path};

use collector::{
    Clock as CollectorClock,
    config::{Config as CollectorConfig, Destination, HostConfig, SPOOL_BYTES_DEFAULT, ServerConfig},
    databases::discover::{Discovered, Surroundings, discover},
};
use proto::{DEFAULT_TENANT, Labels};

/// Where data goes unless the command line says otherwise: beside where the user stands.
pub const DATA_DIR_DEFAULT: &str = "tidewatch-data";

/// Looks for databases on this host.
pub async fn look_around() -> Vec<Discovered> {
    discover(&Surroundings::of_process()).await
}

/// What was found, in words.
pub fn describe(found: &[Discovered]) -> String {
    let mut out = String::new();
    if found.is_empty() {
        out.push_str("found no database by sockets, ports or processes; watching this host alone\n");
        out.push_str("  name one outright: TIDEWATCH_PG=postgresql://user:password@host:port/database\n");
        out.push_str("                     TIDEWATCH_MYSQL=mysql://user:password@host:port\n");
    }
    for one in found {
        let (config, engine) = (&one.config, one.config.engine.as_str());
        let name = config.display_name();
        match &one.identity {
            Some(identity) => {
                let engine = identity.engine.as_str();
                out.push_str(&format!("found {engine} {} at {name}, as user {}\n", identity.version_text, config.user));
            }
            None => out.push_str(&format!("found {engine} at {name}, but it did not let us in\n")),
        }
        for problem in &one.problems {
            let why = problem.outcome.as_ref().err().map_or("", String::as_str);
            out.push_str(&format!("  missing: {}: {why}\n", problem.what));
            if let Some(remedy) = &problem.remedy {
                out.push_str(&format!("  remedy:  {remedy}\n"));
            }
        }
    }
    out
}

/// The embedded collector: this host and every database found, sent to our own port. One that did not let us in is watched
/// too: its state shows, and it is taken in once the right is there.
pub fn collector_config(found: Vec<Discovered>, data_dir: &Path, grpc: SocketAddr) -> CollectorConfig {
    CollectorConfig {
        destination: Destination::Grpc(ServerConfig { address: format!("http://{}", loopback(grpc)), tls: None }),
        id: None,
        tenant: DEFAULT_TENANT.into(),
        labels: Labels::empty(),
        data_dir: data_dir.join("collector"),
        spool_bytes_max: SPOOL_BYTES_DEFAULT,
        host: Some(HostConfig::default()),
        databases: found.into_iter().map(|one| one.config).collect(),
        logs: Vec::new(),
        journals: Vec::new(),
        scrapes: Vec::new(),
    }
}

/// An address that listens everywhere is reached over loopback.
fn loopback(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let ip =
            if address.is_ipv6() { std::net::Ipv6Addr::LOCALHOST.into() } else { std::net::Ipv4Addr::LOCALHOST.into() };
        address.set_ip(ip);
    }
    address
}

/// The collector's clock from the program's.
pub fn collector_clock(clock: fn() -> i64) -> CollectorClock {
    CollectorClock::new(clock)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_collector_reaches_a_server_that_listens_everywhere() {
        for (listen, reached) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
            ("127.0.0.1:3", "127.0.0.1:3"),
            ("10.0.0.1:4", "10.0.0.1:4"),
        ] {
            assert_eq!(loopback(listen.parse().unwrap()).to_string(), reached);
        }
    }

    #[test]
    fn nothing_found_says_how_to_name_one() {
        assert!(describe(&[]).contains("TIDEWATCH_PG="));
    }
}
