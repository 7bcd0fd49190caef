//! What `lockstep demo` takes.

use ::demo::{DirectoryKind, Kill};
use clap::Args;

use crate::values;

#[derive(Args)]
pub struct DemoArgs {
    /// What to do to the pair
    #[arg(long, value_name = "WHAT", value_enum, default_value = "primary")]
    pub kill: Kill,
    /// How many times to do it, 1 to 1000
    ///
    /// After each time, the last one included, a process that knows nothing of the VM is made its backup
    /// while the guest runs and the clients write on, as `lockstep backup --listen` and `lockstep protect` do
    /// it. The kills are spread evenly over the time of the load, which goes on for longer if the copies take
    /// longer.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = values::value(values::demo_kills))]
    pub kills: u64,
    /// Seconds of load at least, 2 to 86400
    #[arg(long, value_name = "N", default_value_t = 10,
        value_parser = values::value(values::demo_seconds))]
    pub seconds: u64,
    /// Harts of the guest, 1 to 8
    #[arg(long, value_name = "N", default_value_t = 1, visible_aliases = ["cpus", "smp"],
        value_parser = values::value(values::harts))]
    pub harts: usize,
    /// Client connections, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = values::value(values::demo_clients))]
    pub clients: u64,
    /// Silence in ms after which a side is suspected, at least 100
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = values::value(values::timeout_ms))]
    pub timeout_ms: u64,
    /// Have a death be found out by the timeout alone
    ///
    /// So the death of a host is found out.
    #[arg(long)]
    pub timeout_only: bool,
    /// Kill hosts of a site whose agents protect the VM
    ///
    /// There are three hosts, each of them an agent with the processes that it starts. Two die in turn, and
    /// the first comes back. The VM is protected by itself whenever there is another host; a host that is
    /// alone says why. In the end the VM is handed over once. One client writes all the time, on one
    /// connection.
    #[arg(long, conflicts_with_all = ["kill", "kills", "clients"])]
    pub cluster: bool,
    /// Where the hosts keep what people want [default: etcd if it is installed, else shared]
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        requires = "cluster",
        hide_short_help = true
    )]
    pub directory: Option<DirectoryKind>,
    /// Have each host be a network namespace, of which the link is cut when it dies
    ///
    /// Root needs nothing for that; for another user the kernel must let users make namespaces.
    #[arg(long, requires = "cluster", hide_short_help = true)]
    pub netns: bool,
    /// The network namespace of the demo itself is made already
    #[arg(long, hide = true, requires = "netns")]
    pub is_within: bool,
    /// Keep the demo's directory, and tell where it is
    ///
    /// It has the events and words of all processes.
    #[arg(long)]
    pub keep: bool,
    /// Print the figures as one line of JSON
    #[arg(long)]
    pub json: bool,
}
