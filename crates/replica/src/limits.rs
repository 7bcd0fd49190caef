//! Every bound of the crate, with what happens when it is reached. Nothing here grows without one (L1).

use crate::Span;

/// Steps between two digests unless the options say otherwise.
pub const DIGEST_EVERY_DEFAULT: u64 = 20_000_000;

/// Shortest failure-detection timeout; a shorter one is refused at the handshake.
pub const TIMEOUT_MIN: Span = Span::from_ms(100);
/// Failure-detection timeout unless configured.
pub const TIMEOUT_DEFAULT: Span = Span::from_ms(500);
/// Longest one: a lease must end in foreseeable time.
pub const TIMEOUT_MAX: Span = Span::from_ms(60_000);
