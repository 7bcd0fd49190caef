//! What is judged of this host's ports, by the kernel's tables of sockets: nothing is opened for that.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use crate::limits::PORTS_ENOUGH;
use crate::line::Line;

/// Judges the ports at which processes wait to be backups. `taken`: those of the host's address at which
/// somebody listens.
#[must_use]
pub fn judge(ports: &RangeInclusive<u16>, taken: &BTreeSet<u16>) -> Line {
    let (first, last) = (ports.start(), ports.end());
    let all = ports.clone().count();
    let free = ports.clone().filter(|port| !taken.contains(port)).count();
    let sentence = format!("{free} of the {all} ports from {first} to {last} are free");
    if free == 0 {
        return Line::no(
            "ports",
            format!("{sentence}, so this host can take no backup; set others in `[pair]` of agent.toml"),
        );
    }
    if free < PORTS_ENOUGH.min(all) {
        return Line::warn("ports", format!("{sentence}; set more in `[pair]` of agent.toml"));
    }
    Line::ok("ports", sentence)
}

/// The ports of `address` at which somebody waits, by the texts of `/proc/net/tcp`, `tcp6`, `udp` and `udp6`.
#[must_use]
pub fn taken(tables: &[String], address: IpAddr) -> BTreeSet<u16> {
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    lines.filter_map(|line| waiting(line, address)).collect()
}

/// The port of this line's socket, if it waits at `address` or at every address: TCP that listens, UDP
/// without another end.
fn waiting(line: &str, address: IpAddr) -> Option<u16> {
    /// State of a TCP socket that listens.
    const LISTENS: &str = "0A";
    /// State of a UDP socket without another end.
    const UNCONNECTED: &str = "07";
    let mut words = line.split_whitespace();
    let (at, port) = words.nth(1)?.split_once(':')?;
    let state = words.nth(1)?;
    if ![LISTENS, UNCONNECTED].contains(&state) {
        return None;
    }
    let own = parse(at)?;
    (own.is_unspecified() || own == address).then(|| u16::from_str_radix(port, 16).ok())?
}

/// An address as the kernel writes it: 32 bits at a time, each as a number of this processor.
fn parse(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for start in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(four).into());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(sixteen).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Verdict;

    #[test]
    fn a_port_is_taken_where_a_socket_waits_at_the_hosts_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let datagrams = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let (tcp, udp) = (listener.local_addr().unwrap(), datagrams.local_addr().unwrap());
        let tables = ["tcp", "tcp6", "udp", "udp6"];
        let tables =
            tables.map(|name| std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default());
        let here = taken(&tables, tcp.ip());
        assert!(
            here.contains(&tcp.port()) && here.contains(&udp.port()),
            "{here:?}"
        );
        assert!(!taken(&tables[..1], [127, 9, 9, 9].into()).contains(&tcp.port()));
    }

    #[test]
    fn a_host_without_ports_takes_no_backup() {
        let ports = 7800..=7819;
        let with = |taken: RangeInclusive<u16>| judge(&ports, &taken.collect()).verdict;
        assert_eq!(with(7800..=7809), Verdict::Ok);
        assert_eq!(with(7800..=7810), Verdict::Warn);
        assert_eq!(with(7700..=7900), Verdict::No);
        assert_eq!(judge(&(7800..=7801), &BTreeSet::new()).verdict, Verdict::Ok);
    }
}
