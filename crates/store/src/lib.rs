//! The state of a site that its agents share: which hosts are there, which VMs there are and where, and what
//! people want of them.
//!
//! A [`Store`] keeps values under keys and compares before it sets. There are two: a [`Directory`] that the
//! hosts share, and [`Etcd`]. A VM's own process never asks one. Who may go live is not decided here but by
//! the arbiter: everything in a store may be late, and a store may be away for days without a VM noticing.
#![forbid(unsafe_code)]

mod directory;
mod error;
mod key;
pub mod limits;
mod over_etcd;
mod state;
mod store;

pub use directory::Directory;
pub use error::{Doubt, StoreError};
pub use key::{BadKey, Key, Prefix};
pub use over_etcd::Etcd;
pub use state::{Expected, Revision, Stored};
pub use store::{Change, Presence, Seen, Store, Watch};
