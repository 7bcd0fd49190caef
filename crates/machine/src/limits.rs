//! Every named maximum of copying and checking a machine's memory, and what happens when it is reached.
//!
//! `pages`, `machine/clone` and `snapshot` use these limits. Those of the devices are in `virtio/limits`.

pub use hart::limits::FROZEN_RESERVE;

/// Pages that are no longer dirty, and that each digest hashes all the same, in turn: so a write that nobody
/// noticed is found some digests later. They cost a tenth of a millisecond.
pub const SCRUB_PAGES: usize = 256;

/// Pages that one call looks at for each page that it may copy or hash. Reached: the call returns, and the
/// next one goes on behind them.
pub const LOOKS_PER_PAGE: usize = 64;

/// Bytes of the longest state, which is everything but RAM. Eight virtio devices with everything in flight
/// are below that, as each disk has at most 34 MiB of data and 2 MiB of buffers' places. Exceeded: the state
/// is refused.
pub const STATE_BYTES_MAX: u64 = 512 << 20;
