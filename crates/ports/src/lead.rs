//! `Lead`: where a network port of a VM leads at present, as far as this host knows. Ports say it, and
//! `cables` tells the node, whose side of a pair asks the arbiter later if its ports lead nowhere.
//!
//! It is a guess about what lies outside, so nothing that must be right may depend on it.

use replica::Time;

/// Whether frames of the guest would get anywhere, as far as can be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lead {
    /// Nothing is plugged in, or nobody can tell.
    #[default]
    Unknown,
    /// Frames would have got somewhere at this time, when it was seen last.
    Somewhere(Time),
    /// Frames would get nowhere.
    Nowhere,
}

impl Lead {
    /// What two ports are worth together: nothing if one leads nowhere, since of two replicas the one with
    /// all its cables in is the better one; else the older of what was seen.
    #[must_use]
    pub fn and(self, other: Lead) -> Lead {
        match (self, other) {
            (Lead::Nowhere, _) | (_, Lead::Nowhere) => Lead::Nowhere,
            (Lead::Unknown, lead) | (lead, Lead::Unknown) => lead,
            (Lead::Somewhere(one), Lead::Somewhere(other)) => Lead::Somewhere(one.min(other)),
        }
    }
}
