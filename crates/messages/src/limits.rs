//! Bounds of what one replica says to the other. What exceeds one is refused by whoever decodes it.

pub use vmlog::limits::*;

/// Largest message to a peer. A longer one is refused.
pub const MESSAGE_BYTES_MAX: usize = FRAME_BYTES_MAX + 1024;
/// Longest settings of a VM in a greeting, in bytes. Longer ones are refused.
pub const SETTINGS_BYTES_MAX: usize = 64 << 10;
/// Most images of a VM that a message may name. A message with more is refused.
pub const IMAGES_MAX: u64 = 8;
/// Most wishes for entropy without an answer at a cut. A message with more is refused.
pub const ENTROPY_WISHES_MAX: u64 = 64;
