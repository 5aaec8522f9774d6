//! Network devices (`/proc/net/dev`, `/sys/class/net`), protocol counters (`/proc/net/{netstat,snmp,snmp6}`), sockets.

use std::io;

use super::{Kind, Page, Roots};

const RECEIVE: [&str; 8] = ["bytes", "packets", "errs", "drop", "fifo", "frame", "compressed", "multicast"];
const TRANSMIT: [&str; 8] = ["bytes", "packets", "errs", "drop", "fifo", "colls", "carrier", "compressed"];

/// Reads `net/dev`.
pub fn read_devices(roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    parse_devices(&roots.proc_text("net/dev")?, page);
    Ok(())
}

fn parse_devices(text: &str, page: &mut Page<'_>) {
    for line in text.lines().skip(2) {
        let Some((device, numbers)) = line.split_once(':') else { continue };
        let labels = [("device", device.trim())];
        let mut numbers = numbers.split_ascii_whitespace().map(|w| w.parse::<f64>().unwrap_or(0.0));
        for (direction, names) in [("receive", RECEIVE), ("transmit", TRANSMIT)] {
            for (name, value) in names.iter().zip(numbers.by_ref()) {
                page.add(Kind::Counter, &format!("node_network_{direction}_{name}_total"), &labels, value);
            }
        }
    }
}

/// Reads `class/net`: state, MTU, speed.
pub fn read_class(roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    for entry in std::fs::read_dir(roots.sys_dir.join("class/net"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let labels = [("device", name.as_str())];
        let text = |file: &str| std::fs::read_to_string(entry.path().join(file)).ok();
        let number = |file: &str| text(file)?.trim().parse::<f64>().ok();
        if let Some(state) = text("operstate") {
            page.add(Kind::Gauge, "node_network_up", &labels, f64::from(u8::from(state.trim() == "up")));
        }
        if let Some(mtu) = number("mtu") {
            page.add(Kind::Gauge, "node_network_mtu_bytes", &labels, mtu);
        }
        if let Some(megabits) = number("speed").filter(|s| *s >= 0.0) {
            page.add(Kind::Gauge, "node_network_speed_bytes", &labels, megabits * 1e6 / 8.0);
        }
    }
    Ok(())
}

/// Reads `net/netstat`, `net/snmp`, `net/snmp6`.
pub fn read_protocols(roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    for file in ["net/netstat", "net/snmp"] {
        parse_pairs(&roots.proc_text(file)?, page);
    }
    if let Ok(text) = roots.proc_text("net/snmp6") {
        parse_snmp6(&text, page);
    }
    Ok(())
}

/// The counters node_exporter takes by default.
fn is_wanted(protocol: &str, name: &str) -> bool {
    match protocol {
        _ if matches!(name, "InErrors" | "InErrs") => true,
        "Ip" => name == "Forwarding",
        "Ip6" | "IpExt" => matches!(name, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(name, "InMsgs" | "OutMsgs"),
        "TcpExt" => {
            name.starts_with("Listen")
                || name.starts_with("Syncookies")
                || matches!(name, "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue" | "TCPRcvQDrop")
        }
        "Tcp" => matches!(
            name,
            "ActiveOpens" | "InSegs" | "OutSegs" | "OutRsts" | "PassiveOpens" | "RetransSegs" | "CurrEstab"
        ),
        "Udp" | "Udp6" => {
            matches!(name, "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors")
        }
        _ => false,
    }
}

fn add_protocol(protocol: &str, name: &str, word: &str, page: &mut Page<'_>) {
    if is_wanted(protocol, name)
        && let Ok(value) = word.parse()
    {
        page.add(Kind::Unknown, &format!("node_netstat_{protocol}_{name}"), &[], value);
    }
}

/// Two lines a protocol: names, then numbers.
fn parse_pairs(text: &str, page: &mut Page<'_>) {
    let mut lines = text.lines();
    while let (Some(names), Some(numbers)) = (lines.next(), lines.next()) {
        let Some((protocol, names)) = names.split_once(':') else { continue };
        let numbers = numbers.split_once(':').map_or("", |(_, n)| n);
        for (name, word) in names.split_ascii_whitespace().zip(numbers.split_ascii_whitespace()) {
            add_protocol(protocol, name, word, page);
        }
    }
}

fn parse_snmp6(text: &str, page: &mut Page<'_>) {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if let (Some(key), Some(word)) = (words.next(), words.next())
            && let Some(six) = key.find('6')
        {
            let (protocol, name) = key.split_at(six + 1);
            add_protocol(protocol, name, word, page);
        }
    }
}

/// Reads `net/sockstat`.
pub fn read_sockets(roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    parse_sockets(&roots.proc_text("net/sockstat")?, page);
    Ok(())
}

/// `TCP: inuse 5 orphan 0 …`
fn parse_sockets(text: &str, page: &mut Page<'_>) {
    for line in text.lines() {
        let Some((protocol, rest)) = line.split_once(':') else { continue };
        let mut words = rest.split_ascii_whitespace();
        while let (Some(name), Some(word)) = (words.next(), words.next()) {
            if let Ok(value) = word.parse() {
                page.add(Kind::Gauge, &format!("node_sockstat_{protocol}_{name}"), &[], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::shown;

    #[test]
    fn devices_have_both_directions() {
        let text = "Inter-| Receive\n face |bytes\n  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let got = shown(|page| parse_devices(text, page));
        assert!(got.contains(r#"node_network_receive_multicast_total{device="eth0"} 8"#), "{got}");
        assert!(got.contains(r#"node_network_transmit_bytes_total{device="eth0"} 9"#), "{got}");
        assert!(got.contains(r#"node_network_transmit_compressed_total{device="eth0"} 16"#), "{got}");
    }

    #[test]
    fn protocol_counters_of_the_default_list() {
        let text =
            "Tcp: RtoMin RetransSegs CurrEstab\nTcp: 200 7 3\nTcpExt: SyncookiesSent EmbryonicRsts\nTcpExt: 1 2\n";
        let got = shown(|page| {
            parse_pairs(text, page);
            parse_snmp6("Ip6InOctets 5\nIp6InDelivers 6\nUdp6NoPorts 1\n", page);
        });
        assert_eq!(
            got,
            "node_netstat_Ip6_InOctets 5\nnode_netstat_TcpExt_SyncookiesSent 1\nnode_netstat_Tcp_CurrEstab 3\n\
             node_netstat_Tcp_RetransSegs 7\nnode_netstat_Udp6_NoPorts 1\n"
        );
    }

    #[test]
    fn sockets() {
        let got = shown(|page| parse_sockets("sockets: used 9\nTCP: inuse 5 mem 2\n", page));
        assert_eq!(got, "node_sockstat_TCP_inuse 5\nnode_sockstat_TCP_mem 2\nnode_sockstat_sockets_used 9\n");
    }
}
