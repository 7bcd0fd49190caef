//! `Change`: what is told when one thing of how this side is off changes (crate `health`). Nothing of it
//! comes into the log, and no replica decides anything by it.

use serde::{Deserialize, Serialize};

/// A thing of which a side's health consists. Disks have events of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AspectWord {
    /// The network ports of the VM.
    Network,
    /// The arbiter, when it is only looked at.
    Arbiter,
    /// The processor time that the guest's thread gets.
    Processor,
}

/// One thing is otherwise than before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The thing.
    pub what: AspectWord,
    /// Is it as it should be from now on?
    pub well: bool,
    /// What has changed, in a sentence for people.
    pub sentence: String,
    /// Since when it was not as it should be, in nanoseconds of CLOCK_BOOTTIME.
    pub since_ns: u64,
    /// Milliseconds for which it was not; 0 while it lasts.
    pub lasted_ms: f64,
}
