//! The log: what an entry is, and how entries become bytes in a file and on a channel alike.
//!
//! From below: `parcel` is bytes with room before them, `bytes` reads and writes numbers, `entry` is one
//! item, `codec` makes frames of entries, `header` says what machine they are of, `logfile` reads a whole
//! file. Knows neither a guest nor a peer.

pub mod bytes;
pub mod codec;
pub mod entry;
pub mod header;
pub mod logfile;
pub mod parcel;
