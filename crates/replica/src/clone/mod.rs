//! Clones: how a process becomes the backup of a guest that runs (FT 3.1-a to -c), and what lies between the
//! first greeting and the entry of the log from which on it is a member of the pair.
//!
//! `source` is the owner's side, which lives beside the role that runs the guest; the other side is a role of
//! its own (roles/apprentice.rs). `allowance` says how many pages may be copied so that the guest keeps its
//! speed, `standing` how fast it may run, and for how long it may stand, until its pages have left, and
//! `catch_up` how fast it may run until the apprentice is close enough. The VM never depends on a clone:
//! whatever fails here, the guest runs on as before.

pub mod allowance;
pub mod catch_up;
pub mod source;
pub(crate) mod standing;
