//! The rehearsal of an installation: what Debian's packages would do to a system when they are installed,
//! done to a file tree in memory.
//!
//! `image` makes appliances without root and without running anything of the guest, so no maintainer script
//! runs. It fills a [`Tree`] with the files of the packages and asks [`rehearse`] here: users and groups are
//! made (`accounts`, `sysusers`), directories and owners set (`tmpfiles`), and the maintainer scripts are
//! read and walked through as a shell would at a first installation (`script`). What cannot be known
//! beforehand is returned as [`Undone`], so that people are told. No program may be started here, nothing of
//! this machine may be changed, and no name of a package may have a meaning.
#![forbid(unsafe_code)]

mod accounts;
mod installation;
mod script;
mod sysusers;
mod tmpfiles;
mod tree;

pub use installation::{Owned, Package, Unreadable, rehearse};
pub use script::{Scripts, Undone};
pub use tree::{Node, Owner, Tree};
