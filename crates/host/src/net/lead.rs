//! Where a network port of a VM leads at present, as far as this host knows.

use replica::Time;

/// Whether frames of the guest would get anywhere, as far as can be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lead {
    /// Nothing is plugged in, or nobody can tell.
    #[default]
    Unknown,
    /// They would have at this time.
    Somewhere(Time),
    /// They would not.
    Nowhere,
}
