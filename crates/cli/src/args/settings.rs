//! What the commands take that change the settings of a VM: `set` and `edit`.

use clap::Args;
use replica::VmName;

use super::site::{CommentArgs, DryRunArgs};
use crate::values;

#[derive(Args)]
pub struct SetArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    /// Settings as in `VM.toml`, and `protect`, which is true or false
    ///
    /// Nothing behind the `=` takes the setting out of the file. A list, such as `disk`, is given element by
    /// element.
    #[arg(required = true, value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    #[command(flatten)]
    pub comment: CommentArgs,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

#[derive(Args)]
pub struct EditArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    #[command(flatten)]
    pub comment: CommentArgs,
}
