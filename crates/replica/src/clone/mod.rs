//! Clones: how a process becomes the backup of a guest that runs (FT 3.1-a to -c), and what lies between the
//! first greeting and the entry of the log from which on it is a member of the pair.
//!
//! `source` is the owner's side, which lives beside the role that runs the guest; the other side is a role of
//! its own (roles/apprentice.rs). `catch_up` says how fast the guest may run until the apprentice is close
//! enough, and `standing` for how long it may stand until its pages have left. The VM never depends on a
//! clone: whatever fails here, the guest runs on as before.

pub mod catch_up;
pub mod source;
pub(crate) mod standing;
