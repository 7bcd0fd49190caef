//! What lies between the hosts of the demo: loopback addresses, one for each host, or network namespaces, one
//! for each host, on a bridge. With namespaces the link of a host can be cut, so that nobody hears of its
//! death.
//!
//! The namespaces hang on processes (`cat`) that end with the demo, and so does all that is in them.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// Number of the address of what no host has: the gateway, and the store's server.
const MIDDLE: u8 = 254;
/// First bytes of the hosts' addresses where each is a namespace. Nobody else sees them.
const SUBNET: [u8; 3] = [10, 77, 0];
/// What a host's link is called on its own side.
const OWN_END: &str = "eth0";
/// The bridge.
const BRIDGE: &str = "site";

/// What lies between the hosts.
pub enum Network {
    /// The first three bytes of the hosts' loopback addresses.
    Loopback([u8; 3]),
    /// The hosts' namespaces, in the order of the hosts.
    Namespaces(Vec<Namespace>),
}

/// A namespace of one host.
pub struct Namespace {
    /// It is in the namespace, and keeps it.
    holder: Child,
    /// Name of the link on the side of the bridge.
    link: String,
}

/// Starts this program again, as the same process, in a network namespace of its own. Returns only if that
/// cannot be.
pub fn enter() -> Result<()> {
    let ways: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];
    let mut why = String::new();
    for flags in ways {
        let tried = Command::new("unshare").args(flags).arg("true").output();
        let tried = tried.context("`--netns` needs the program `unshare` (Debian: util-linux)")?;
        if tried.status.success() {
            let own = std::env::current_exe().context("cannot find this program's own file")?;
            let error = Command::new("unshare")
                .args(flags)
                .arg(own)
                .args(std::env::args_os().skip(1))
                .arg("--is-within")
                .exec();
            return Err(error).context("cannot start `unshare`");
        }
        why = String::from_utf8_lossy(&tried.stderr).trim().to_owned();
    }
    bail!(
        "this kernel does not let users make namespaces ({why}); without `--netns` hosts are processes only"
    )
}

impl Network {
    /// Loopback addresses that no other demo has which runs now.
    pub fn loopback() -> Network {
        let process = std::process::id();
        // The first number is no usual one, and the other two differ for so many processes in a row.
        let byte = |number: u32| u8::try_from(number).unwrap_or(1);
        Network::Loopback([127, byte(process % 199 + 20), byte(process / 199 % 253 + 1)])
    }

    /// A namespace for each of these hosts, and a bridge in that of the demo.
    pub fn namespaces(hosts: &[&str]) -> Result<Network> {
        ip(&[], "link set lo up")?;
        ip(&[], &format!("link add {BRIDGE} type bridge"))?;
        let middle = address(SUBNET, MIDDLE);
        ip(&[], &format!("address add {middle}/24 dev {BRIDGE}"))?;
        ip(&[], &format!("link set {BRIDGE} up"))?;
        let made = hosts.iter().zip(1..).map(|(host, number)| {
            let namespace = Namespace::make(host)?;
            namespace.connect(address(SUBNET, number))?;
            Ok(namespace)
        });
        Ok(Network::Namespaces(made.collect::<Result<_>>()?))
    }

    /// The address of a host, by its index.
    pub fn address(&self, host: usize) -> Ipv4Addr {
        self.numbered(u8::try_from(host + 1).unwrap_or(u8::MAX))
    }

    /// The address of what no host has.
    pub fn middle(&self) -> Ipv4Addr {
        self.numbered(MIDDLE)
    }

    fn numbered(&self, number: u8) -> Ipv4Addr {
        match self {
            Network::Loopback(first) => address(*first, number),
            Network::Namespaces(_) => address(SUBNET, number),
        }
    }

    /// Does the network see more of a host's death than that its processes are gone?
    pub fn has_links(&self) -> bool {
        matches!(self, Network::Namespaces(_))
    }

    /// What leads a program into a host. Empty: nothing needs to.
    pub fn lead_in(&self, host: usize) -> Vec<String> {
        match self.namespace(host) {
            Some(namespace) => namespace.lead_in(),
            None => Vec::new(),
        }
    }

    /// Takes a host's link down, or up again.
    pub fn set_link(&self, host: usize, is_up: bool) -> Result<()> {
        let state = if is_up { "up" } else { "down" };
        match self.namespace(host) {
            Some(namespace) => ip(&[], &format!("link set {} {state}", namespace.link)),
            None => Ok(()),
        }
    }

    fn namespace(&self, host: usize) -> Option<&Namespace> {
        match self {
            Network::Loopback(_) => None,
            Network::Namespaces(all) => all.get(host),
        }
    }
}

impl Namespace {
    fn make(host: &str) -> Result<Namespace> {
        let mut holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the demo, which then closes the pipe.
            .process_group(0)
            .spawn()
            .context("cannot start `unshare`")?;
        let (input, output) = (holder.stdin.as_mut(), holder.stdout.as_mut());
        let (input, output) = input.zip(output).context("no pipes")?;
        // What it says again it says from within the namespace.
        let answered = input.write_all(b"\n").and_then(|()| output.read_exact(&mut [0]));
        let namespace = Namespace {
            holder,
            link: format!("to-{host}"),
        };
        answered.context("cannot make a network namespace")?;
        Ok(namespace)
    }

    fn connect(&self, address: Ipv4Addr) -> Result<()> {
        let (link, holder) = (&self.link, self.holder.id());
        let within = self.lead_in();
        ip(
            &[],
            &format!("link add {link} type veth peer name {OWN_END} netns {holder}"),
        )?;
        ip(&[], &format!("link set {link} master {BRIDGE} up"))?;
        ip(&within, &format!("address add {address}/24 dev {OWN_END}"))?;
        ip(&within, &format!("link set {OWN_END} up"))?;
        ip(&within, "link set lo up")
    }

    fn lead_in(&self) -> Vec<String> {
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        vec!["nsenter".into(), namespace]
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn address([a, b, c]: [u8; 3], number: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, number)
}

/// Runs `ip` with these words, by way of `lead_in`.
fn ip(lead_in: &[String], words: &str) -> Result<()> {
    let all = lead_in
        .iter()
        .map(String::as_str)
        .chain(["ip"])
        .chain(words.split(' '));
    let all: Vec<&str> = all.collect();
    let [program, arguments @ ..] = all.as_slice() else {
        return Ok(());
    };
    let run = Command::new(program).args(arguments).output();
    let run =
        run.context("`--netns` needs the programs `ip` and `nsenter` (Debian: iproute2, util-linux)")?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr);
        bail!("`ip {words}` has failed: {}", said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_on_loopback_have_addresses_of_their_own_and_no_links() {
        let network = Network::loopback();
        let all = [
            network.address(0),
            network.address(1),
            network.address(2),
            network.middle(),
        ];
        assert!(all.iter().all(Ipv4Addr::is_loopback));
        assert!((1..4).all(|index| all[index] != all[index - 1]));
        assert!(!network.has_links() && network.lead_in(0).is_empty());
        network.set_link(0, false).unwrap();
    }
}
