//! Every bound, pause and patience of this crate.

use replica::Span;

/// A process looks so often how it is off. An idle guest's thread wakes for it.
pub const HEALTH_LOOK_EVERY: Span = Span::from_ms(500);
/// Ports that lead nowhere are told when they have done so for so long: a gateway that is started again, and
/// a takeover, take less.
pub const NET_DOWN_AFTER: Span = Span::from_ms(1_000);
/// A side that is not live probes its disks so often.
pub const DISK_PROBE_EVERY: Span = Span::from_ms(5_000);
/// The arbiter is looked at so often, by the live side and by its backup.
pub const ARBITER_LOOK_EVERY: Span = Span::from_ms(10_000);
/// An arbiter that has not answered a look for so long is away.
pub const ARBITER_AWAY_AFTER: Span = Span::from_ms(5_000);
/// The share of the processor time that the guest's thread wants is measured over so long.
pub const LOAD_WINDOW: Span = Span::from_ms(1_000);
/// A thread that gets less than this share of the processor time that it wants, in thousandths, is held up.
pub const LOAD_PERMILLE_MIN: u64 = 800;
/// A thread that wants less than this share of a processor, in thousandths, cannot be said to be held up: a
/// few waits of a hundred microseconds would decide.
pub const LOAD_WANTED_PERMILLE_MIN: u64 = 100;
/// So many windows in a row must say the same before it is told: a burst is no news.
pub const LOAD_WINDOWS: u32 = 3;
