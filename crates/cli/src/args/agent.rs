//! What the commands take that concern an agent: `agent init`, `agent token`, `agent join` and `agent run`;
//! and `doctor`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use arbiter::Place;
use clap::{Args, Subcommand, ValueHint};

use crate::values;

/// Where an agent's file is, if nobody says otherwise.
pub const CONFIG_DEFAULT: &str = "/etc/lockstep/agent.toml";

#[derive(Subcommand)]
pub enum AgentCommand {
    /// Make this host one of a site: write its agent.toml, and what the site has in common if it is the first
    ///
    /// The hosts of a site share a directory, in which it is kept what people want of the VMs, and who owns
    /// each; etcd can have either instead. They know each other by the site's key, which is made on the first
    /// host. Other hosts get it by `agent join`, or as a copy of the file before their `init`.
    Init(InitArgs),
    /// Print a token by which one host may join the site
    ///
    /// The agent of this host gives it, and knows it until it ends. Whoever has the token can be a host of
    /// the site: give it to nobody else, and by a way that others cannot read.
    Token(TokenArgs),
    /// Make this host one of a site that has an agent, which is called with a token
    ///
    /// The agent gives what this host must know, the site's key among it. The token says which site is meant,
    /// so nobody else learns or tells anything. Nothing is written unless this host can be one of the site.
    Join(JoinArgs),
    /// Run this host's agent, until SIGTERM
    ///
    /// The agent starts the VMs of the site that belong here, keeps each of them protected, and answers the
    /// commands of this host. VMs go on without it, and the next one finds them.
    Run(AgentRunArgs),
}

#[derive(Args)]
pub struct TokenArgs {
    /// How long the token is good, such as 15m or 24h at most
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = caller::patience)]
    pub valid: Duration,
}

#[derive(Args)]
pub struct JoinArgs {
    /// Where the agent of a host of the site is called: HOST or HOST:PORT; the port is 7701 if none is given
    #[arg(value_name = "HOST")]
    pub agent: String,
    /// What `lockstep agent token` has printed there; `-` reads it from standard input
    #[arg(long, value_name = "TOKEN")]
    pub token: String,
    /// The address at which the other hosts reach this one [default: that from which HOST was reached]
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// What a host's own file says of the host itself.
#[derive(Args)]
pub struct PlaceArgs {
    /// Name of this host in the site [default: the host's own name]
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// The part of the site that fails as a whole with this host, such as a rack
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,
    /// Directory for what must outlive a boot [default: /var/lib/lockstep]
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub state_dir: Option<PathBuf>,
    /// Directory for sockets, below which the processes' own are kept [default: the user's]
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub run_dir: Option<PathBuf>,
}

#[derive(Args)]
pub struct InitArgs {
    /// The address at which the other hosts reach this one
    #[arg(long, value_name = "IP")]
    pub address: IpAddr,
    /// A directory that all hosts of the site share, under the same path
    ///
    /// It may be left out if `--etcd` and `--arbiter` say where the two things are that are kept in it.
    #[arg(long, value_name = "DIR", required_unless_present_all = ["etcd", "arbiter"])]
    pub shared: Option<PathBuf>,
    /// Keep what people want in etcd instead of the shared directory; may be given several times
    ///
    /// Who owns a VM is still decided in the shared directory, unless `--arbiter` names another place.
    #[arg(long, value_name = "URL")]
    pub etcd: Vec<String>,
    /// Decide who owns a VM at this place instead of in the shared directory, such as etcd://10.0.0.1:2379
    ///
    /// All hosts reach it by the same words (ARBITERS of lockstep-run(1)).
    #[arg(long, value_name = "PLACE", value_hint = ValueHint::DirPath,
        value_parser = values::value(values::arbiter))]
    pub arbiter: Option<Place>,
    #[command(flatten)]
    pub place: PlaceArgs,
}

#[derive(Args)]
pub struct DoctorArgs {
    /// Look at the other hosts of the site too, as they are seen from this one
    #[arg(long)]
    pub peers: bool,
    /// Print one line of JSON for each finding
    #[arg(long)]
    pub json: bool,
    /// What the agent is to know; without this file the host is of no site
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,
}

#[derive(Args)]
pub struct AgentRunArgs {
    /// What the agent is to know
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,
    /// End when this process, which has started this one, ends: for programs that start agents
    #[arg(long, value_name = "PID", hide = true)]
    pub ends_with: Option<u32>,
    /// Have all processes that it starts end with it, and write what happens into files in DIR: for programs
    /// that try agents
    #[arg(long, value_name = "DIR", hide = true)]
    pub trial: Option<PathBuf>,
}
