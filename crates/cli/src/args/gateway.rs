//! What `lockstep gateway` takes: where VMs connect, what is forwarded into guests, and what guests reach.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ::gateway::{Destination, Forward};
use clap::Args;

use super::process::SandboxArgs;
use crate::values;

#[derive(Args)]
pub struct GatewayArgs {
    /// Where VMs connect: HOST:PORT or the path of a socket
    ///
    /// A path has a slash in it, or `unix:` before it.
    #[arg(long, value_name = "WHERE", default_value = "127.0.0.1:7700")]
    pub listen: String,
    /// Take VMs that have this key; may be given several times
    ///
    /// The key of a pair, or one of the gateway's own: 64 hex digits, as `openssl rand -hex 32` makes them.
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// Take VMs without a key over TCP
    ///
    /// Anybody who reaches the port can then read what such a VM's guest gets, and answer for it.
    #[arg(long)]
    pub insecure: bool,
    /// Use a key file although other users can read or change it
    #[arg(long, hide_short_help = true)]
    pub allow_open_key: bool,
    /// Forward a port of the host into a guest, as in 8080-:80 or udp:0.0.0.0:53-:53; may be given several
    /// times
    ///
    /// The whole form is `[tcp:|udp:][ADDRESS:]PORT-[GUEST]:PORT`. ADDRESS is the host's, and loopback if
    /// left out. GUEST is a VM's name or a guest's address, and may be left out if there is one VM.
    #[arg(long, value_name = "PORT-:PORT", value_parser = values::value(values::forward))]
    pub forward: Vec<Forward>,
    /// Let guests reach this, as in 127.0.0.1:80; may be given several times
    ///
    /// `ADDRESS[/PREFIX][:PORT]` of what is refused without a rule: the host's loopback, which guests reach
    /// at the gateway's address, 169.254.0.0/16, and the gateway's own ports.
    #[arg(long, value_name = "DESTINATION", value_parser = values::value(values::destination))]
    pub allow: Vec<Destination>,
    /// Refuse this to guests, as in 10.0.0.0/8; may be given several times
    ///
    /// `ADDRESS[/PREFIX][:PORT]`; of several rules the most specific decides.
    #[arg(long, value_name = "DESTINATION", value_parser = values::value(values::destination))]
    pub deny: Vec<Destination>,
    /// Reset a forward's clients once their guest is away for so long
    ///
    /// It must be longer than a failover takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = values::value(values::guest_away_s))]
    pub guest_away_s: u64,
    /// The guests' subnet
    #[arg(long, value_name = "SUBNET", default_value = "10.0.2.0/24",
        value_parser = values::value(values::subnet))]
    pub subnet: (Ipv4Addr, u8),
    /// Resolver that answers the guests' questions; may be given several times [default: the host's]
    #[arg(long, value_name = "ADDRESS", value_parser = values::value(values::resolver))]
    pub dns: Vec<IpAddr>,
    /// Print where it listens as one line of JSON, also on a terminal
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}
