//! A name server for one name, for programs that are started so that they ask it: on port 53 of a loopback address of its own,
//! since the C library asks no other port, and in a mount namespace in which `/etc/resolv.conf` names it. Needs root.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::Command,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{net::UdpSocket, task::JoinHandle};

/// Longest question over UDP.
const QUESTION_BYTES_MAX: usize = 512;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_SRV: u16 = 33;
/// Flags of an answer: recursion was wanted and is there; with "no such name", with "server failure".
const ANSWERED: u16 = 0x8180;
const NO_SUCH_NAME: u16 = 0x8183;
const SERVER_FAILURE: u16 = 0x8182;

/// What the name stands for.
#[derive(Clone, Default)]
struct Known {
    addresses: Vec<IpAddr>,
    /// Host and port of services.
    services: Vec<(String, u16)>,
    /// It answers that it can't.
    fails: bool,
}

/// Answers until dropped.
pub struct NameServer {
    address: Ipv4Addr,
    known: Arc<Mutex<Known>>,
    answering: JoinHandle<()>,
}

impl NameServer {
    /// Answers for `name`, which stands for nothing yet.
    pub async fn start(name: &str) -> io::Result<NameServer> {
        // the process id makes it its own among others that run now
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let address = Ipv4Addr::new(127, 53, high, low.max(1));
        let socket = UdpSocket::bind((address, 53)).await?;
        let known: Arc<Mutex<Known>> = Arc::default();
        let (told, name) = (known.clone(), name.to_owned());
        let answering = tokio::spawn(async move {
            let mut question = [0; QUESTION_BYTES_MAX];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let known = told.lock().clone();
                if let Some(answer) = answer(&question[..length], &name, &known) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Ok(NameServer { address, known, answering })
    }

    /// The addresses of the name from now on.
    pub fn set(&self, addresses: &[IpAddr]) {
        self.known.lock().addresses = addresses.to_vec();
    }

    /// Whether it answers "server failure" from now on.
    pub fn set_failing(&self, fails: bool) {
        self.known.lock().fails = fails;
    }

    /// The services of the name from now on: host and port. The host "." is nowhere.
    pub fn set_services(&self, services: &[(&str, u16)]) {
        self.known.lock().services = services.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect();
    }

    /// The beginning of a command whose program asks this server; `folder` keeps its `resolv.conf`.
    pub fn asked_by(&self, folder: &Path) -> io::Result<Command> {
        let file = folder.join("resolv.conf");
        fs::write(&file, format!("nameserver {}\noptions timeout:1 attempts:1\n", self.address))?;
        let script = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", file.display());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
        Ok(command)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// The answer to a question of RFC 1035, section 4; `None`: it is none.
fn answer(question: &[u8], name: &str, known: &Known) -> Option<Vec<u8>> {
    let header_bytes = 12;
    let (mut asked, mut at) = (Vec::new(), header_bytes);
    while *question.get(at)? != 0 {
        let length = usize::from(question[at]);
        asked.push(String::from_utf8_lossy(question.get(at + 1..at + 1 + length)?).into_owned());
        at += 1 + length;
    }
    let end = at + 5;
    let kind = u16::from_be_bytes([*question.get(at + 1)?, *question.get(at + 2)?]);
    let is_ours = asked.join(".") == name;
    let records: Vec<Vec<u8>> = match kind {
        _ if !is_ours || known.fails => Vec::new(),
        TYPE_SRV => known.services.iter().map(|(host, port)| service(host, *port)).collect(),
        TYPE_A | TYPE_AAAA => {
            let octets = |address: &IpAddr| match address {
                IpAddr::V4(a) if kind == TYPE_A => Some(a.octets().to_vec()),
                IpAddr::V6(a) if kind == TYPE_AAAA => Some(a.octets().to_vec()),
                _ => None,
            };
            known.addresses.iter().filter_map(octets).collect()
        }
        _ => Vec::new(),
    };
    let mut out = question.get(..2)?.to_vec();
    let flags = match is_ours {
        _ if known.fails => SERVER_FAILURE,
        true => ANSWERED,
        false => NO_SUCH_NAME,
    };
    for number in [flags, 1, records.len() as u16, 0, 0] {
        out.extend(number.to_be_bytes());
    }
    out.extend_from_slice(question.get(header_bytes..end)?);
    for record in records {
        out.extend([0xc0, header_bytes as u8]); // the name stands in the question
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 1, 0, record.len() as u8]); // class IN, for one second
        out.extend(record);
    }
    Some(out)
}

/// Priority, weight, port and host of RFC 2782.
fn service(host: &str, port: u16) -> Vec<u8> {
    let mut out = vec![0, 1, 0, 1];
    out.extend(port.to_be_bytes());
    for label in host.split('.').filter(|label| !label.is_empty()) {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}
