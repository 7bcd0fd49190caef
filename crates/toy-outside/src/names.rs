//! Names: of processes, of the hosts that they run on, and the epoch that a world begins with.
//!
//! These are words that every file of the world uses, so this file uses none of them. A name says who
//! somebody is and never what he is at present: that is his role.

use std::fmt;

use replica::Epoch;

/// The epoch that the handshake of the first pair gave to its primary.
pub const FIRST: Epoch = Epoch(1);

/// The name of a process: its number in the order in which the processes of a world were started, from 0. A
/// process keeps its name for its whole life, whatever its role becomes, and no later process gets it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId(usize);

impl ProcessId {
    /// The process that is born as the primary of the first pair.
    pub const A: ProcessId = ProcessId(0);
    /// The process that is born as the backup of the first pair.
    pub const B: ProcessId = ProcessId(1);
    /// The two processes that every world begins with. Faults that are drawn happen to these.
    pub const PAIR: [ProcessId; 2] = [ProcessId::A, ProcessId::B];

    /// The process that was started after `number` others.
    #[must_use]
    pub const fn nth(number: usize) -> ProcessId {
        ProcessId(number)
    }

    /// How many processes were started before this one.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// A letter for each of the first 26 processes, then A1 to Z1, A2 and so on.
impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = char::from(b'A' + (self.0 % 26) as u8);
        match self.0 / 26 {
            0 => write!(f, "{letter}"),
            round => write!(f, "{letter}{round}"),
        }
    }
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of a host, on which processes run: its place among the hosts of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub usize);

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_has_a_name_of_its_own() {
        let names = [0, 1, 25, 26, 27, 52].map(|number| ProcessId::nth(number).to_string());
        assert_eq!(names, ["A", "B", "Z", "A1", "B1", "A2"]);
    }
}
