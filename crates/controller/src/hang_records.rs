//! The parts of a VM's place (`records`) by which the next controller knows whether its guest may hang, and
//! when it was reset for that.

use plan::{HostName, Reset, Wall};
use serde::{Deserialize, Serialize};

/// That a VM's guest has answered a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredRecord {
    /// Where it was probed, as `HOST:PORT`.
    pub probe: String,
    /// When it answered first since it began to boot, in nanoseconds since 1970.
    pub at_wall_ns: u64,
}

/// That a VM's guest is reset since it hangs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetRecord {
    /// When that was noted, in nanoseconds since 1970.
    pub at_wall_ns: u64,
    /// The host whose agent has noted it, and gives the order.
    pub by: String,
    /// Has the process taken the order?
    pub done: bool,
}

impl ResetRecord {
    /// The same for the planner.
    #[must_use]
    pub fn reset(&self) -> Reset {
        Reset {
            at: Wall(self.at_wall_ns),
            by: HostName::new(self.by.clone()),
            is_done: self.done,
        }
    }
}
