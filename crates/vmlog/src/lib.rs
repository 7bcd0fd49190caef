//! The log: what an entry is, and how entries become bytes in a file and on a channel alike.
//!
//! From below: `parcel` is bytes with room before them, `bytes` reads and writes numbers, `entry` is one
//! item, `entry_bytes` has its bytes, `codec` makes frames of entries, `header` says what machine they are
//! of, `logfile` reads a whole file, `snapshot` begins another kind of file. Recorder, replayer, channel and
//! handshake use them.
//!
//! Nothing here knows a guest or a peer, and nothing panics, whatever bytes it is given to decode.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions
)]

pub mod bytes;
pub mod codec;
pub mod entry;
pub mod entry_bytes;
pub mod header;
pub mod limits;
pub mod logfile;
pub mod parcel;
pub mod snapshot;
