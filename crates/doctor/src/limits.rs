//! Every bound of the crate, with its meaning. All files take theirs from here (docs/style.md L1).

use std::time::Duration;

/// A guest with the least memory that an operating system boots in needs about so much of the host, in bytes.
pub const MEMORY_MIN: u64 = 256 << 20;
/// Time lost to other guests of the same computer that is worth a word, in thousandths.
pub const STEAL_PERMILLE_MAX: u64 = 20;
/// An agent has connections to people, agents and processes; so many files may be open at least.
pub const FILES_MIN: u64 = 1_024;
/// Happenings and last words of processes need so much room, in bytes.
pub const ROOM_MIN: u64 = 64 << 20;
/// Room that will do for long, in bytes.
pub const ROOM_ENOUGH: u64 = 1 << 30;
/// Fewer free ports than this may be too few when hosts fail.
pub const PORTS_ENOUGH: usize = 10;
/// The agent of this host has this long to answer, in which it asks the others.
pub const AGENT_PATIENCE: Duration = Duration::from_secs(15);
/// Another host has this long to answer on a port.
pub const ECHO_PATIENCE: Duration = Duration::from_millis(800);
/// A datagram is sent so many times before it is taken for lost.
pub const DATAGRAMS_MAX: usize = 3;
/// Bytes of the longest datagram that is tried.
pub const DATAGRAM_BYTES_MAX: usize = 8_900;
/// Round trip from which on it is felt, in microseconds: each answer of a protected VM waits as long.
pub const ROUND_TRIP_US_MAX: u64 = 1_000;
/// Clocks that differ by more make happenings of two hosts hard to read, in milliseconds.
pub const CLOCKS_MS_MAX: u64 = 1_000;
/// Names that a finding lists at most.
pub const NAMES_MAX: usize = 8;
