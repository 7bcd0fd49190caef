//! What `lockstep disk-server` takes: its configuration.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub struct DiskServerArgs {
    /// What is offered and where, in TOML
    ///
    /// `listen` is the address where it listens for VMs, with `key` or `insecure = true`, and `nbd` the
    /// address or `unix:SOCKET` for NBD programs; `state` is the directory of its own state. Each
    /// `[[export]]` has a `name`, the `vm` whose disk it is, and the `path` of a file or block device;
    /// `read_only` and `description` may be added.
    #[arg(value_name = "CONFIG")]
    pub config: PathBuf,
    /// Make the state of a new server, and end
    ///
    /// A server without its state would know of no epochs, so it does not start, for instance where a mount
    /// is missing.
    #[arg(long)]
    pub init: bool,
    /// Print where it listens as one line of JSON
    #[arg(long)]
    pub json: bool,
}
