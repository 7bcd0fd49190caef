//! What cloud-init in a guest is given: `user-data` and `meta-data`, as texts and as the disk on which
//! cloud-init looks for them (its data source *NoCloud*).
//!
//! `cli` reads the texts from the operator's files ([`CloudInit::read`]), or takes them from the host whose
//! VM it is to be the backup of ([`CloudInit::new`]), and gives the disk's bytes ([`CloudInit::disk`]) to
//! `host`. Both halves of a pair make the disk of the same texts and of the VM's name, so nothing else may go
//! into it: no time, no random number, nothing of the host.
//!
//! Source: cloud-init's documentation, "NoCloud" and "User-data formats".
#![forbid(unsafe_code)]

mod disk;
mod limits;
mod texts;

pub use limits::{DISK_LEN, META_DATA_LEN_MAX, USER_DATA_LEN_MAX};
pub use texts::{CloudInit, CloudInitError};
