//! Every bound of the crate, with what happens when it is reached. All files of the crate take theirs from
//! here; nothing may grow without one (L1 of docs/style.md).

use std::time::Duration;

/// Servers that a client may know. More are refused with the settings.
pub const ENDPOINTS_MAX: usize = 16;
/// Addresses that a server's name may have. Of more, the first ones are used.
pub const ADDRESSES_MAX: usize = 16;
/// Bytes of an answer that are read. A longer one is an error, [`crate::EtcdError::TooLarge`].
pub const ANSWER_LEN_MAX: u64 = 64 << 20;
/// Bytes of one line of a watch that are read. A longer one is an error, [`crate::EtcdError::TooLarge`].
pub const LINE_LEN_MAX: u64 = 16 << 20;
/// Bytes of a certificate's or key's file that are read. A longer one is refused with the settings.
pub const PEM_LEN_MAX: u64 = 1 << 20;
/// How long a call may take if the settings say nothing else.
pub const DEADLINE_USUAL: Duration = Duration::from_secs(2);
/// Shortest deadline that the settings may ask for. A shorter one is refused.
pub const DEADLINE_MIN: Duration = Duration::from_millis(10);
/// How long a watch may hear nothing. After that its connection counts as dead, and the caller makes another
/// watch: servers of version 3.4 say only every ten minutes that a quiet watch lives.
pub const WATCH_QUIET_MAX: Duration = Duration::from_secs(20);
/// Shortest time to live of a lease. Servers grant no shorter one with their usual settings.
pub const LEASE_TTL_MIN: Duration = Duration::from_secs(2);
/// Longest time to live of a lease that may be asked for.
pub const LEASE_TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Characters of a server's own words that an error repeats.
pub const WORDS_LEN_MAX: usize = 300;
