//! The commands that go to this host's agent, which knows all VMs of the site: what they ask it, how they
//! wait for what they have begun, and what they print. A VM that no agent looks after is asked itself
//! (`vm_verbs`).

mod changes;
mod client;
mod passage;
mod probe;
mod settings;
mod testing;
mod text;
mod verbs;
mod waiting;
mod watch;

pub use client::{Site, named_socket};
pub use settings::{edit, set};
pub use testing::test;
pub use verbs::{
    cancel, check, create, delete, drain, events, hosts, move_vm, operations, power, protection, release,
    start, status, stop, swap, undrain, wait,
};
pub use watch::watch;
