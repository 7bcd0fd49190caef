//! What the commands take that concern an agent: `agent init` and `agent run`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Where an agent's file is, if nobody says otherwise.
pub const CONFIG_DEFAULT: &str = "/etc/lockstep/agent.toml";

#[derive(Subcommand)]
pub enum AgentCommand {
    /// Make this host one of a site: write its agent.toml, and what the site has in common if it is the first
    ///
    /// The hosts of a site share a directory, in which it is kept what people want of the VMs, and who owns
    /// each. They know each other by the site's key: make it on the first host, and copy the file to the
    /// others before their `init`.
    Init(InitArgs),
    /// Run this host's agent, until SIGTERM
    ///
    /// The agent starts the VMs of the site that belong here, keeps each of them protected, and answers the
    /// commands of this host. VMs go on without it, and the next one finds them.
    Run(AgentRunArgs),
}

#[derive(Args)]
pub struct InitArgs {
    /// The address at which the other hosts reach this one
    #[arg(long, value_name = "IP")]
    pub address: IpAddr,
    /// A directory that all hosts of the site share, under the same path
    #[arg(long, value_name = "DIR")]
    pub shared: PathBuf,
    /// Name of this host in the site [default: the host's own name]
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Keep what people want in etcd instead of the shared directory; may be given several times
    ///
    /// Who owns a VM is still decided in the shared directory.
    #[arg(long, value_name = "URL")]
    pub etcd: Vec<String>,
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
