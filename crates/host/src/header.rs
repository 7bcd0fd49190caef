//! What this program says of a machine that it computes: the header of its log and of its snapshots, by which
//! another program knows whether it computes the same.
//!
//! Nothing here knows the operator's words.

use machine::Config;
use replica::Header;

/// Properties of this host's CPU that change results (`Header::features`). There are none: floating point is
/// computed with IEEE operations only.
pub const FEATURES: u64 = 0;

/// The name of this program with its version and the guest's instruction set, for people. Whether two
/// programs compute the same guest says [`machine::MODEL`].
#[must_use]
pub fn program() -> String {
    format!("lockstep {} {}", env!("CARGO_PKG_VERSION"), hart::isa::string())
}

/// The header that names this machine. It takes a while: all images are hashed for it.
#[must_use]
pub fn header(config: &Config) -> Header {
    Header::new(config, &program(), FEATURES)
}
