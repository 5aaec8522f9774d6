//! A private cluster of Galera: nodes of MariaDB with Debian's galera-4 on loopback. All begin with a copy of the same data,
//! so no node has to be sent any; one that was away fetches what it missed from the others.

use std::path::Path;

use crate::{MariaDb, postgres::StartError, process::free_port};

/// Where Debian puts the library.
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";

/// A running cluster.
pub struct Galera {
    /// Its name.
    pub name: String,
    /// Its nodes; `node1` is the first.
    pub nodes: Vec<MariaDb>,
    group_ports: Vec<u16>,
    ist_ports: Vec<u16>,
}

impl Galera {
    /// Starts `count` nodes; returns when each takes part.
    pub async fn start(name: &str, count: usize) -> Result<Galera, StartError> {
        if !Path::new(PROVIDER).exists() {
            return Err(StartError::NotInstalled("galera-4".into()));
        }
        let first = MariaDb::installed(&[])?;
        let mut nodes = Vec::new();
        for _ in 1..count {
            nodes.push(first.copied()?);
        }
        nodes.insert(0, first);
        let mut cluster = Galera { name: name.to_owned(), nodes, group_ports: Vec::new(), ist_ports: Vec::new() };
        for _ in 0..count {
            cluster.group_ports.push(free_port()?);
            cluster.ist_ports.push(free_port()?);
        }
        for index in 0..count {
            cluster.run(index, index == 0).await?;
        }
        Ok(cluster)
    }

    /// Starts a node; `first`: it is a cluster of its own until others join.
    pub async fn run(&mut self, index: usize, first: bool) -> Result<(), StartError> {
        let (group, ist) = (self.group_ports[index], self.ist_ports[index]);
        let others: Vec<String> = self
            .group_ports
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != index && !first)
            .map(|(_, port)| format!("127.0.0.1:{port}"))
            .collect();
        let port = self.nodes[index].port();
        self.nodes[index].set_options(vec![
            "--wsrep-on=ON".into(),
            format!("--wsrep-provider={PROVIDER}"),
            format!("--wsrep-cluster-name={}", self.name),
            format!("--wsrep-cluster-address=gcomm://{}", others.join(",")),
            format!("--wsrep-node-name=node{}", index + 1),
            format!("--wsrep-node-address=127.0.0.1:{group}"),
            format!("--wsrep-node-incoming-address=127.0.0.1:{port}"),
            "--wsrep-sst-method=rsync".into(),
            "--binlog-format=ROW".into(),
            "--innodb-autoinc-lock-mode=2".into(),
            format!(
                "--wsrep-provider-options=base_port={group};gmcast.listen_addr=tcp://127.0.0.1:{group};\
                 ist.recv_addr=127.0.0.1:{ist};gcache.size=16M;pc.recovery=FALSE;evs.keepalive_period=PT1S;\
                 evs.suspect_timeout=PT3S;evs.inactive_timeout=PT6S"
            ),
        ]);
        self.nodes[index].run().await
    }

    /// The address under which the others know a node.
    pub fn address(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.nodes[index].port())
    }
}
