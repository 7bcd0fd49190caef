//! What lies around the processes of a simulated world: the links between them, the disk that they share with
//! the caches above it, and the arbiter. For the simulator (`sim`), which has things happen to them.
//!
//! Map, from below: `names` are words that all use, `operation` what a request does to a disk's content;
//! `network`, `arbiter` and `storage` (with `cache` and `layer`) are what processes talk to. Nothing here
//! knows a node, a guest or a schedule: whoever asks is told when the answer comes, and what it is then. All
//! that is drawn comes from a stream that is handed in.
#![forbid(unsafe_code)]

pub mod arbiter;
pub mod cache;
mod layer;
pub mod names;
pub mod network;
pub mod operation;
pub mod storage;
