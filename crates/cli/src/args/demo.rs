//! What `lockstep demo` takes.

use clap::{Args, ValueEnum};

use crate::values;

/// What the demo does to the pair.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kill {
    /// SIGKILL the primary
    Primary,
    /// SIGKILL the backup
    Backup,
    /// SIGSTOP the primary for three timeouts, then SIGCONT
    Stall,
    /// Nothing is killed
    None,
}

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
    /// How long to load the guest at least, in seconds, 2 to 86400
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
    /// Have the killed process be found out by the timeout alone, as a dead host is
    #[arg(long)]
    pub timeout_only: bool,
    /// Keep the demo's directory, and tell where it is
    ///
    /// It has the events and words of all processes.
    #[arg(long)]
    pub keep: bool,
    /// Print the figures as one line of JSON
    #[arg(long)]
    pub json: bool,
}
