//! What the gateway is told, what it answers when it is ready, and how it fails.
//!
//! `cli` fills these in and `run` takes them; everything is checked here, before anything listens.

use super::destination::Destination;
#[cfg(feature = "parts")]
use super::gauges::Gauges;
use super::limits;
use cable::mac::Mac;
use link::Key;
use os::sandbox::Needs;
use os::sandbox::files::directory_of;
use smoltcp::wire::{EthernetAddress, Ipv4Cidr};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Everything that the gateway must be told.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Where VMMs connect.
    pub listen: GuestListen,
    /// Keys of VMs. A peer that has one of them may connect, and owns the MAC addresses of its guests.
    pub keys: Vec<Key>,
    /// Whether peers without a key are taken over TCP too. Over a Unix socket, which only this user can open,
    /// they are always taken.
    pub insecure: bool,
    /// Network address of the virtual segment. The gateway is the segment's host 2, DNS is also host 3,
    /// leases start at host 15.
    pub network: Ipv4Addr,
    /// Length of the network's prefix, 16 to 27.
    pub prefix_len: u8,
    /// Guests, by MAC, that always get the same address.
    pub fixed_leases: Vec<([u8; 6], Ipv4Addr)>,
    /// Host ports that lead to guests.
    pub forwards: Vec<Forward>,
    /// Resolvers for the guests' DNS questions.
    pub resolvers: Resolvers,
    /// Destinations that guests reach although they are refused without a rule. The host's loopback is at the
    /// gateway's address.
    pub allow: Vec<Destination>,
    /// Destinations that guests do not reach although they are open without a rule.
    pub deny: Vec<Destination>,
    /// Time for which clients of a forward wait for a guest that is not there, or from which nothing comes,
    /// before they are reset. It must be longer than a failover.
    pub guest_away_max: Duration,
    /// Whether to give up, before anybody is served, what is not needed. Only where nothing else runs in this
    /// process.
    pub sandbox: bool,
}

impl GatewayConfig {
    /// The usual segment, 10.0.2.0/24 as in QEMU, without port forwards.
    pub fn new(listen: GuestListen) -> Self {
        Self {
            listen,
            keys: Vec::new(),
            insecure: false,
            network: Ipv4Addr::new(10, 0, 2, 0),
            prefix_len: 24,
            fixed_leases: Vec::new(),
            forwards: Vec::new(),
            resolvers: Resolvers::Host,
            allow: Vec::new(),
            deny: Vec::new(),
            guest_away_max: limits::GUEST_AWAY_MAX,
            sandbox: false,
        }
    }

    /// Whether peers without a key are taken; an error if nobody at all would be taken.
    pub(super) fn takes_plain(&self) -> Result<bool, GatewayError> {
        let plain = self.insecure || matches!(self.listen, GuestListen::Unix(_));
        if self.keys.is_empty() && !plain {
            return Err(GatewayError::NoKey);
        }
        if self.keys.len() > limits::KEYS_MAX {
            return Err(GatewayError::TooManyKeys);
        }
        Ok(plain)
    }

    /// The addresses of the segment, checked.
    pub(super) fn addresses(&self) -> Result<Addresses, GatewayError> {
        let bad = |reason| GatewayError::Network {
            network: self.network,
            prefix_len: self.prefix_len,
            reason,
        };
        if !(16..=27).contains(&self.prefix_len) {
            return Err(bad("the prefix must be 16 to 27 bits long"));
        }
        let cidr = Ipv4Cidr::new(self.network, self.prefix_len);
        if cidr.network().address() != self.network {
            return Err(bad("the address has bits below the prefix"));
        }
        if self.network.is_loopback() || self.network.is_multicast() || self.network.octets()[0] == 0 {
            return Err(bad("guests cannot use such addresses"));
        }
        let host = |number: u32| Ipv4Addr::from_bits(self.network.to_bits() + number);
        let addresses = Addresses {
            cidr,
            gateway: host(2),
            dns: host(3),
            first_lease: host(15),
        };
        let targets = self.forwards.iter().filter_map(|forward| match &forward.guest {
            Target::Address(address) => Some(*address),
            Target::First | Target::Vm(_) | Target::Mac(_) => None,
        });
        for address in self
            .fixed_leases
            .iter()
            .map(|&(_, address)| address)
            .chain(targets)
        {
            if !addresses.is_guest(address) {
                return Err(GatewayError::GuestAddress {
                    address,
                    network: self.network,
                    prefix_len: self.prefix_len,
                });
            }
        }
        let kept = self.kept_leases(&addresses);
        if kept.len() > limits::GUESTS_MAX || !kept.iter().all(|&(_, address)| addresses.is_guest(address)) {
            return Err(bad("too many fixed leases and forwards to VMs with a name"));
        }
        Ok(addresses)
    }

    /// The fixed leases, and after them one for each VM that a forward names: the free addresses that follow
    /// the first lease, in the order of the forwards.
    pub(super) fn kept_leases(&self, addresses: &Addresses) -> Vec<([u8; 6], Ipv4Addr)> {
        let mut kept = self.fixed_leases.clone();
        let mut next = addresses.first_lease.to_bits() + 1;
        for forward in &self.forwards {
            let Some(Mac(mac)) = forward.guest.mac() else {
                continue;
            };
            if kept.iter().any(|&(other, _)| other == mac) {
                continue;
            }
            let is_taken = |address| {
                kept.iter().any(|&(_, other)| other == address)
                    || self
                        .forwards
                        .iter()
                        .any(|other| other.guest == Target::Address(address))
            };
            while is_taken(Ipv4Addr::from_bits(next)) {
                next += 1;
            }
            kept.push((mac, Ipv4Addr::from_bits(next)));
            next += 1;
        }
        kept
    }

    /// The address to which a forward leads.
    pub(super) fn address_of(&self, forward: &Forward, addresses: &Addresses) -> Ipv4Addr {
        if let Target::Address(address) = forward.guest {
            return address;
        }
        let kept = self.kept_leases(addresses);
        let own = forward
            .guest
            .mac()
            .and_then(|Mac(mac)| kept.iter().find(|&&(other, _)| other == mac));
        own.map_or(addresses.first_lease, |&(_, address)| address)
    }

    /// The files, ports and sockets that a gateway needs after its start; the sandbox takes away the rest.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::of_any_process();
        needs.sockets.anybody = true;
        if let GuestListen::Unix(path) = &self.listen {
            needs.files.socket(path);
        }
        if self.resolvers == Resolvers::Host {
            needs.files.read(RESOLV_CONF);
            // If the file is replaced, the new one is another file, which landlock does not know. Where the
            // name leads to a directory of its own that directory is allowed; /etc is not.
            let target = Path::new(RESOLV_CONF).canonicalize();
            if let Some(directory) = target.ok().map(|path| directory_of(&path))
                && directory != Path::new("/etc")
            {
                needs.files.read(directory);
            }
        }
        needs
    }
}

/// The addresses that follow from the network.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub cidr: Ipv4Cidr,
    pub gateway: Ipv4Addr,
    pub dns: Ipv4Addr,
    pub first_lease: Ipv4Addr,
}

impl Addresses {
    /// Whether a guest may have this address.
    pub fn is_guest(&self, address: Ipv4Addr) -> bool {
        self.cidr.contains_addr(&address)
            && !self.is_own(address)
            && address != self.cidr.address()
            && Some(address) != self.cidr.broadcast()
    }

    /// Whether the gateway itself answers at this address.
    pub fn is_own(&self, address: Ipv4Addr) -> bool {
        address == self.gateway || address == self.dns
    }

    /// The address and port of a place of the world for guests: the host's loopback is at the gateway's
    /// address.
    pub fn as_guests_see(&self, place: SocketAddrV4) -> SocketAddrV4 {
        if *place.ip() == Ipv4Addr::LOCALHOST {
            SocketAddrV4::new(self.gateway, place.port())
        } else {
            place
        }
    }

    /// The gateway's MAC: 52:55 and the IP address, as in QEMU's user network.
    pub fn mac(&self) -> EthernetAddress {
        let [a, b, c, d] = self.gateway.octets();
        EthernetAddress([0x52, 0x55, a, b, c, d])
    }
}

/// Where VMMs connect to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestListen {
    /// A TCP address, usually on loopback. Port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket. A socket file that nobody serves any more is replaced.
    Unix(PathBuf),
}

impl fmt::Display for GuestListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Which resolvers answer the guests' questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolvers {
    /// The resolvers of the host's `/etc/resolv.conf`, which is read again when it changes.
    Host,
    /// These resolvers, in this order.
    Fixed(Vec<SocketAddr>),
}

/// Transport of a port forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP connections.
    Tcp,
    /// UDP datagrams.
    Udp,
}

/// The guest to which a forward leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The guest with the first lease.
    First,
    /// The guest with this address.
    Address(Ipv4Addr),
    /// The guest of the VM with this name, for which the gateway keeps an address.
    Vm(String),
    /// The guest with this Ethernet address, for which the gateway keeps an address.
    Mac(Mac),
}

/// One host port that leads to a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Address and port on the host. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The guest.
    pub guest: Target,
    /// Port of the guest.
    pub guest_port: u16,
}

/// A port forward that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a port forward: write [tcp:|udp:][ADDRESS:]PORT-[GUEST]:PORT, for example \
     127.0.0.1:2222-:22; GUEST is the VM's name, or its IPv4 or Ethernet address"
)]
pub struct ForwardError(String);

impl FromStr for Forward {
    type Err = ForwardError;

    /// Reads `[tcp:|udp:][ADDRESS:]PORT-[GUEST]:PORT`, where GUEST is a VM's name, an IPv4 address or an
    /// Ethernet address. Without an address it listens on loopback only.
    fn from_str(text: &str) -> Result<Self, ForwardError> {
        let bad = || ForwardError(text.to_owned());
        let (protocol, rest) = match text.split_once(':') {
            Some(("tcp", rest)) => (Protocol::Tcp, rest),
            Some(("udp", rest)) => (Protocol::Udp, rest),
            _ => (Protocol::Tcp, text),
        };
        let (host, guest) = rest.split_once('-').ok_or_else(bad)?;
        let host = host.strip_prefix(':').unwrap_or(host);
        let listen = match host.parse::<u16>() {
            Ok(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            Err(_) => host.parse().map_err(|_| bad())?,
        };
        let (guest, guest_port) = guest.rsplit_once(':').unwrap_or(("", guest));
        let guest = Target::read(guest).ok_or_else(bad)?;
        let guest_port = guest_port
            .parse()
            .ok()
            .filter(|&port| port != 0)
            .ok_or_else(bad)?;
        Ok(Self {
            protocol,
            listen,
            guest,
            guest_port,
        })
    }
}

impl Target {
    /// Reads the guest of a forward, which may be left out.
    fn read(text: &str) -> Option<Target> {
        let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() {
            Some(Target::First)
        } else if let Ok(address) = text.parse() {
            Some(Target::Address(address))
        } else if let Ok(mac) = text.parse() {
            Some(Target::Mac(mac))
        } else {
            // A number with dots is a mistyped address rather than a name.
            let is_name = text.bytes().all(is_of_a_name) && text.bytes().any(|b| b.is_ascii_alphabetic());
            is_name.then(|| Target::Vm(text.to_owned()))
        }
    }

    /// The Ethernet address by which the guest is known, if it is known by one.
    fn mac(&self) -> Option<Mac> {
        match self {
            Target::First | Target::Address(_) => None,
            Target::Vm(name) => Some(Mac::of_vm(name, 0)),
            Target::Mac(mac) => Some(*mac),
        }
    }
}

/// What is known once the gateway listens on all its sockets.
#[derive(Debug, Clone)]
pub struct GatewayReady {
    /// Where VMMs connect, with the port that was chosen.
    pub listen: GuestListen,
    /// Addresses of the forwards, in the order of the configuration, with the ports that were chosen.
    pub forwards: Vec<SocketAddr>,
    /// Where each of these forwards leads: the guest's address and port.
    pub guests: Vec<SocketAddrV4>,
    /// Counts of how much of everything is in use.
    #[cfg(feature = "parts")]
    pub gauges: Arc<Gauges>,
    /// A handle that ends the gateway.
    pub stop: GatewayStop,
}

/// Ends a running gateway from any thread.
#[derive(Clone)]
pub struct GatewayStop {
    pub(super) waker: Arc<mio::Waker>,
    pub(super) stopped: Arc<AtomicBool>,
}

impl GatewayStop {
    /// Makes `run` return. Connections are cut. A second call does nothing, nor does a call after the end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // The call fails only if the loop is gone, which is what was asked for.
        let _ = self.waker.wake();
    }
}

impl fmt::Debug for GatewayStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayStop")
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

/// Why the gateway could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// An address is taken, or is not one of this host.
    #[error("cannot listen on {address} for {purpose}; {}", way_out(source))]
    Listen {
        /// The address that was asked for.
        address: String,
        /// Who was to connect there: "VMs", or "the clients of a forward".
        purpose: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The gateway would take peers whom nobody knows.
    #[error(
        "no key: give `--key FILE`, the pair's or one of its own (`openssl rand -hex 32`), or listen on a \
         Unix socket; `--insecure` lets anybody in who can reach the port"
    )]
    NoKey,
    /// There are more keys than there is room for.
    #[error("too many keys; give at most {}", limits::KEYS_MAX)]
    TooManyKeys,
    /// The segment's network makes no sense.
    #[error("cannot use {network}/{prefix_len} as the guests' network: {reason}")]
    Network {
        /// The network asked for.
        network: Ipv4Addr,
        /// Length of the network's prefix.
        prefix_len: u8,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A forward or a fixed lease names an address that no guest can have.
    #[error(
        "{address} is no address for a guest of the network {network}/{prefix_len}; give another one in the \
         forward, or another `--subnet`"
    )]
    GuestAddress {
        /// The address asked for.
        address: Ipv4Addr,
        /// The network it should be in.
        network: Ipv4Addr,
        /// Length of the network's prefix.
        prefix_len: u8,
    },
    /// The system refuses to tell about readiness.
    #[error("cannot wait for network events")]
    Poll(#[source] io::Error),
    /// The sandbox would take away something that the gateway needs.
    #[error(transparent)]
    OutOfReach(#[from] os::sandbox::OutOfReach),
}

/// What to do about an address at which nobody can listen.
fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "choose another address, or stop the program that uses it",
        io::ErrorKind::AddrNotAvailable => "give an address of this host, or 0.0.0.0 for all of them",
        io::ErrorKind::NotFound => "make the socket's directory first",
        _ => "choose another address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read_in_all_their_forms() {
        let forward = |text: &str| text.parse::<Forward>().unwrap();
        let short = forward("2222-:22");
        assert_eq!(short.listen, "127.0.0.1:2222".parse().unwrap());
        assert_eq!(
            (short.protocol, short.guest, short.guest_port),
            (Protocol::Tcp, Target::First, 22)
        );
        let long = forward("udp:[::]:53-10.0.2.20:5353");
        assert_eq!(long.listen, "[::]:53".parse().unwrap());
        assert_eq!(long.guest, Target::Address(Ipv4Addr::new(10, 0, 2, 20)));
        let by_mac = forward("2222-52:54:00:4c:53:01:22");
        assert_eq!(by_mac.guest, Target::Mac(Mac([0x52, 0x54, 0, 0x4c, 0x53, 1])));
        for name in ["web", "db-2.example"] {
            let by_name = forward(&format!("0.0.0.0:80-{name}:8080"));
            assert_eq!(
                (by_name.guest, by_name.guest_port),
                (Target::Vm(name.to_owned()), 8080)
            );
        }
        assert_eq!(forward("tcp::8080-80"), forward("8080-:80"));
        for bad in [
            "",
            "22",
            "x-:22",
            "22-:0",
            "22-:99999",
            "22-10.0.2.300:22",
            "22-a b:22",
        ] {
            assert!(bad.parse::<Forward>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_vm_that_forwards_name_has_one_address_which_is_nobody_elses() {
        let mut config = GatewayConfig::new(GuestListen::Unix("x".into()));
        let host = |number| Ipv4Addr::new(10, 0, 2, number);
        config.fixed_leases.push(([9; 6], host(17)));
        let forwards = [
            "80-web:80",
            "22-:22",
            "53-10.0.2.16:53",
            "443-web:443",
            "81-db:80",
        ];
        config.forwards = forwards.map(|text| text.parse().unwrap()).into();
        let addresses = config.addresses().unwrap();
        let leads_to = |forward| config.address_of(forward, &addresses);
        let targets: Vec<_> = config.forwards.iter().map(leads_to).collect();
        assert_eq!(targets, [18, 15, 16, 18, 19].map(host));
        // In a small network there is not room for many of them.
        config.network = Ipv4Addr::new(10, 0, 2, 0);
        config.prefix_len = 27;
        config.forwards = (0..20)
            .map(|number| format!("80-vm{number}:80").parse().unwrap())
            .collect();
        config.fixed_leases.clear();
        assert!(matches!(config.addresses(), Err(GatewayError::Network { .. })));
    }

    #[test]
    fn networks_that_cannot_work_are_refused() {
        let mut config = GatewayConfig::new(GuestListen::Unix("x".into()));
        assert_eq!(config.addresses().unwrap().gateway, Ipv4Addr::new(10, 0, 2, 2));
        config.forwards.push("22-10.0.2.2:22".parse().unwrap());
        assert!(matches!(
            config.addresses(),
            Err(GatewayError::GuestAddress { .. })
        ));
        config.forwards.clear();
        for (network, prefix_len) in [
            ([10, 0, 2, 1], 24),
            ([10, 0, 2, 0], 30),
            ([127, 0, 0, 0], 24),
            ([0, 0, 0, 0], 16),
        ] {
            config.network = network.into();
            config.prefix_len = prefix_len;
            assert!(matches!(config.addresses(), Err(GatewayError::Network { .. })));
        }
    }
}
