//! Asks the system's name servers for records of type SRV, which the C library can't: RFC 1035 messages, RFC 2782 records.
//!
//! Servers are those of `/etc/resolv.conf`, one after another; by UDP, and by TCP where the answer was cut. Names are taken as
//! they are written, without search domains. `question` and `answer` are functions of bytes.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// Where the system keeps its name servers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// Servers asked at most, as the C library does, and how long each may take.
const SERVERS_MAX: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(2);
/// Longest name and label (RFC 1035, section 2.3.4), and pointers followed in one name.
const NAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: usize = 63;
const POINTERS_MAX: usize = 32;
const HEADER_BYTES: usize = 12;
const TYPE_SRV: u16 = 33;
const CLASS_IN: u16 = 1;
/// Bits of the flags: an answer; it was cut; the code.
const IS_ANSWER: u16 = 0x8000;
const IS_CUT: u16 = 0x0200;
const CODE: u16 = 0x000f;
const NO_SUCH_NAME: u16 = 3;

/// A service's place: host and port.
pub type Place = (String, u16);

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Where the service is; nowhere if empty.
    Places(Vec<Place>),
    /// It did not fit: to be asked again by TCP.
    Cut,
}

/// The places of a service, in the order of their hosts and ports.
pub async fn services(name: &str) -> Result<Vec<Place>, String> {
    let text = std::fs::read_to_string(RESOLV_CONF).map_err(|e| format!("{RESOLV_CONF}: {e}"))?;
    let servers = servers(&text);
    let mut trouble = format!("{RESOLV_CONF} names no server");
    for server in servers {
        let id = fastrand::u16(..);
        let question = question(id, name)?;
        match timeout(TIMEOUT, ask(server, id, &question)).await {
            Ok(Ok(mut places)) => {
                places.sort();
                places.dedup();
                return Ok(places);
            }
            Ok(Err(e)) => trouble = format!("{name}: name server {}: {e}", server.ip()),
            Err(_) => {
                trouble = format!("{name}: name server {}: no answer within {} s", server.ip(), TIMEOUT.as_secs())
            }
        }
    }
    Err(trouble)
}

/// The name servers of a resolv.conf.
pub fn servers(text: &str) -> Vec<SocketAddr> {
    let one = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|w| *w == "nameserver").and(words.next())?;
        Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, PORT))
    };
    text.lines().filter_map(one).take(SERVERS_MAX).collect()
}

async fn ask(server: SocketAddr, id: u16, question: &[u8]) -> Result<Vec<Place>, String> {
    let said = |e: io::Error| e.to_string();
    let here: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(here).await.map_err(said)?;
    socket.connect(server).await.map_err(said)?;
    socket.send(question).await.map_err(said)?;
    let mut bytes = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut bytes).await.map_err(said)?;
        // another id: an answer to a question asked before
        if bytes.get(..2) != Some(&id.to_be_bytes()) || length < HEADER_BYTES {
            continue;
        }
        match answer(&bytes[..length], question)? {
            Answer::Places(places) => return Ok(places),
            Answer::Cut => break,
        }
    }
    let mut stream = TcpStream::connect(server).await.map_err(said)?;
    let mut framed = (question.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(question);
    stream.write_all(&framed).await.map_err(said)?;
    let length = usize::from(stream.read_u16().await.map_err(said)?);
    let whole = bytes.get_mut(..length).ok_or("an answer of no length")?;
    stream.read_exact(whole).await.map_err(said)?;
    match answer(whole, question)? {
        Answer::Places(places) => Ok(places),
        Answer::Cut => Err("the answer was cut though it came by TCP".into()),
    }
}

/// The message that asks for a service.
pub fn question(id: u16, name: &str) -> Result<Vec<u8>, String> {
    let mut out = id.to_be_bytes().to_vec();
    for number in [0x0100, 1, 0, 0, 0_u16] {
        out.extend(number.to_be_bytes());
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    for label in name.split('.') {
        if !(1..=LABEL_BYTES_MAX).contains(&label.len()) || name.len() > NAME_BYTES_MAX - 2 {
            return Err(format!("{name:?} is no name: parts of 1 to {LABEL_BYTES_MAX} bytes with dots between are"));
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend(TYPE_SRV.to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    Ok(out)
}

/// What a message answers to a question.
pub fn answer(bytes: &[u8], question: &[u8]) -> Result<Answer, String> {
    let cut = || "the answer ends too early".to_owned();
    let number = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]])).ok_or_else(cut);
    let (flags, questions, answers) = (number(2)?, number(4)?, number(6)?);
    if flags & IS_ANSWER == 0 || questions != 1 {
        return Err("what came is no answer".into());
    }
    let body = question.get(HEADER_BYTES..).unwrap_or_default();
    let asked = bytes.get(HEADER_BYTES..HEADER_BYTES + body.len()).ok_or_else(cut)?;
    if !asked.eq_ignore_ascii_case(body) {
        return Err("the answer is to another question".into());
    }
    match flags & CODE {
        0 => {}
        NO_SUCH_NAME => return Err("no such name".into()),
        code => return Err(format!("it refuses with code {code}")),
    }
    if flags & IS_CUT != 0 {
        return Ok(Answer::Cut);
    }
    let (mut at, mut places) = (HEADER_BYTES + body.len(), Vec::new());
    for _ in 0..answers {
        at = name_at(bytes, at).ok_or_else(cut)?.1;
        let (kind, class, length) = (number(at)?, number(at + 2)?, usize::from(number(at + 8)?));
        let data = at + 10;
        if kind == TYPE_SRV && class == CLASS_IN {
            let (host, _) = name_at(bytes, data + 6).ok_or_else(cut)?;
            // a target of "." says that the service is decidedly not there
            if !host.is_empty() {
                places.push((host, number(data + 4)?));
            }
        }
        at = data + length;
    }
    if at > bytes.len() { Err(cut()) } else { Ok(Answer::Places(places)) }
}

/// The name that begins at a place, and where what follows it begins.
fn name_at(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut name, mut at, mut end, mut pointers) = (String::new(), start, None, 0);
    loop {
        let length = usize::from(*bytes.get(at)?);
        match length >> 6 {
            0 if length == 0 => return Some((name, end.unwrap_or(at + 1))),
            0 => {
                let label = bytes.get(at + 1..at + 1 + length)?;
                if name.len() + length > NAME_BYTES_MAX || !label.iter().all(|b| b.is_ascii_graphic()) {
                    return None;
                }
                if !name.is_empty() {
                    name.push('.');
                }
                name.extend(label.iter().map(|b| char::from(*b)));
                at += 1 + length;
            }
            3 => {
                pointers += 1;
                if pointers > POINTERS_MAX {
                    return None;
                }
                end.get_or_insert(at + 2);
                at = ((length & 0x3f) << 8) | usize::from(*bytes.get(at + 1)?);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// An answer with one SRV record whose host ends in a pointer into the question.
    fn answered(flags: u16, port: u16, host: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let question = question(7, "_metrics._tcp.example").unwrap();
        let mut out = 7u16.to_be_bytes().to_vec();
        for number in [flags, 1, 1, 0, 0] {
            out.extend(number.to_be_bytes());
        }
        out.extend(&question[HEADER_BYTES..]);
        out.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 6 + host.len() as u8, 0, 1, 0, 1]);
        out.extend(port.to_be_bytes());
        out.extend(host);
        (out, question)
    }

    #[test]
    fn an_answer_is_read_with_its_pointers() {
        let host = [3, b'd', b'b', b'1', 0xc0, 26]; // "example" stands at byte 26
        let (bytes, question) = answered(0x8180, 9187, &host);
        assert_eq!(answer(&bytes, &question), Ok(Answer::Places(vec![("db1.example".into(), 9187)])));
        let (bytes, question) = answered(0x8180, 9187, &[0]);
        assert_eq!(answer(&bytes, &question), Ok(Answer::Places(Vec::new())));
        let (bytes, question) = answered(0x8380, 9187, &host);
        assert_eq!(answer(&bytes, &question), Ok(Answer::Cut));
    }

    #[test]
    fn what_is_no_answer_is_said() {
        let host = [3, b'd', b'b', b'1', 0];
        let (good, question) = answered(0x8180, 1, &host);
        for (flags, want) in [(0x8183, "no such name"), (0x8182, "code 2"), (0x0100, "no answer")] {
            assert!(answer(&answered(flags, 1, &host).0, &question).unwrap_err().contains(want));
        }
        let (endless, _) = answered(0x8180, 1, &[0xc0, 57]); // points at itself
        for bytes in [&good[..good.len() - 2], &good[..5], &endless] {
            assert!(answer(bytes, &question).unwrap_err().contains("too early"), "{bytes:?}");
        }
        let other = super::question(7, "_other._tcp.example").unwrap();
        assert!(answer(&good, &other).is_err());
        for name in ["", "a..b", &"x".repeat(64), &"abc.".repeat(80)] {
            assert!(super::question(1, name).unwrap_err().contains("is no name"), "{name}");
        }
        let text = "# a\nnameserver 10.0.0.1\nsearch x\nnameserver ::1\n nameserver 1.1.1.1\nnameserver 8.8.8.8\n";
        let found: Vec<String> = servers(text).iter().map(|s| s.ip().to_string()).collect();
        assert_eq!(found, ["10.0.0.1", "::1", "1.1.1.1"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall(bytes in proptest::collection::vec(any::<u8>(), 0..80), at in 0..70_usize, byte: u8) {
            let (mut good, question) = answered(0x8180, 1, &[3, b'd', b'b', b'1', 0xc0, 26]);
            let _ = answer(&bytes, &question);
            let at = at % good.len();
            good[at] = byte;
            let _ = answer(&good, &question);
        }
    }
}
