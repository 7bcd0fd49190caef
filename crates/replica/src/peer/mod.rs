//! The other replica: what is said to it, how a pair begins, and what its words and its silence mean.
//!
//! What is said is in the crate `messages`. From below: `handshake` is a talk by which a pair is formed,
//! `forming` what a primary decides between two of them, `channel` sends the log and its acknowledgements,
//! `detect` suspects, `pulse` sends heartbeats, `lag`, `rest`, `mean` and `pace` keep the primary within
//! reach of its backup, and `follower` is a backup with all of these, as its primary sees it.
//!
//! Nothing here knows a guest or decides what follows from a suspicion: that is the roles' business.

pub mod channel;
pub mod detect;
pub mod follower;
pub mod forming;
pub mod handshake;
pub mod lag;
pub mod mean;
pub mod pace;
pub mod pulse;
pub mod rest;

pub use messages::{heartbeat, joining, message};
