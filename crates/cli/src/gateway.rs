//! `lockstep gateway`: the guests' network without root, as a process of its own.
//!
//! Turns the flags into a configuration, runs the gateway on this thread, and tells programs the ports that
//! were chosen.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use gateway::{
    self, Forward, GatewayConfig, GatewayError, GatewayReady, GuestListen, Protocol, Resolvers, Target,
};
use link::KeyFile;
use ports::Endpoint;

use crate::args::GatewayArgs;
use crate::{usage, values};

/// The port of DNS.
const DNS_PORT: u16 = 53;

/// Serves until the process is ended.
pub fn run(args: &GatewayArgs) -> Result<()> {
    args.sandbox.begin()?;
    let listen = match values::endpoint(&args.listen).map_err(usage::mark)? {
        Endpoint::Tcp(address) => GuestListen::Tcp(address),
        Endpoint::Unix(path) => GuestListen::Unix(path),
    };
    let mut config = GatewayConfig::new(listen);
    config.sandbox = !args.sandbox.no_sandbox;
    (config.network, config.prefix_len) = args.subnet;
    config.forwards.clone_from(&args.forward);
    config.keys = args
        .key
        .iter()
        .map(|path| {
            let though_open = args.allow_open_key;
            let path = path.clone();
            KeyFile { path, though_open }.load()
        })
        .collect::<Result<_, _>>()?;
    config.insecure = args.insecure;
    config.guest_away_max = Duration::from_secs(args.guest_away_s);
    config.allow = args.allow.clone();
    config.deny = args.deny.clone();
    if !args.dns.is_empty() {
        let resolvers = args.dns.iter().map(|&address| SocketAddr::new(address, DNS_PORT));
        config.resolvers = Resolvers::Fixed(resolvers.collect());
    }
    let for_people = !args.json && std::io::stdout().is_terminal();
    let forwards = config.forwards.clone();
    gateway::run(config, |ready| {
        if for_people {
            tell_people(&ready, &forwards);
        } else {
            show(&ready);
        }
    })
    .map_err(|error| match error {
        GatewayError::NoKey
        | GatewayError::TooManyKeys
        | GatewayError::Network { .. }
        | GatewayError::GuestAddress { .. } => usage::mark(error),
        _ => error.into(),
    })
}

/// Prints one line of JSON, so that a program that asked for port 0 learns the ports.
fn show(ready: &GatewayReady) {
    say!(
        "{}",
        serde_json::json!({
            "listen": ready.listen.to_string(),
            "forwards": ready.forwards.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "guests": ready.guests.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    );
}

/// Says in sentences where it listens, and where each forward leads.
fn tell_people(ready: &GatewayReady, forwards: &[Forward]) {
    say!("lockstep: VMs connect to {}", ready.listen);
    for ((forward, address), leads_to) in forwards.iter().zip(&ready.forwards).zip(&ready.guests) {
        let ip = leads_to.ip();
        let protocol = match forward.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let guest = match &forward.guest {
            Target::First => format!("the first guest, {ip}"),
            Target::Address(_) => format!("the guest at {ip}"),
            Target::Vm(name) => format!("the VM {name}, {ip}"),
            Target::Mac(mac) => format!("the guest whose Ethernet address is {mac}, {ip}"),
        };
        say!(
            "lockstep: {protocol} {address} leads to port {} of {guest}",
            forward.guest_port
        );
    }
}
