//! What two replicas say to each other, and its bytes.
//!
//! From below: `time` has the two types of host time, `vm_name` the name by which both call a VM, `joining`
//! the words with which a replica joins another, `message` all words over the link, `heartbeat` the datagrams
//! beside it. The handshake and the roles of `replica` make them and take them in; a link carries them.
//!
//! Nothing here knows a guest, a role or a link, and nothing panics, whatever bytes it is given to decode.
#![forbid(unsafe_code)]

pub mod heartbeat;
pub mod joining;
pub mod limits;
pub mod message;
pub mod time;
pub mod vm_name;
