//! Every named maximum of how much of RAM is written at a time, and what happens when it is reached.
//!
//! `ram` and the engine use these limits while a guest is cloned ([`Ram::freeze`](crate::Ram::freeze)): they
//! bound what must be kept of the pages that the guest writes.

/// Pages that one step writes at most for the first time in a round, apart from DMA: the two pages of a store
/// that crosses from one to the other, the two pages with their page-table entries, and the two with those of
/// an instruction that crosses (it is fetched from two pages). Six, and two to spare.
pub const STEP_PAGES_MAX: usize = 8;

/// Pages of a pool of kept copies that ordinary steps leave free: what a device may write in one step, or by
/// one input. Most is written when a driver gives a network device buffers for all the frames that it holds:
/// 256 frames of up to four pages. Exceeded: the pool overflows ([`Ram::has_overflowed`]).
///
/// [`Ram::has_overflowed`]: crate::Ram::has_overflowed
pub const FROZEN_RESERVE: usize = 1024;
