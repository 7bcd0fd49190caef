//! Privilege modes (privileged manual, "Privilege Levels"): who a hart acts as.

/// A privilege mode, with the manual's encoding. Modes are ordered: who is greater may do more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Privilege {
    /// User mode.
    User = 0,
    /// Supervisor mode.
    Supervisor = 1,
    /// Machine mode.
    #[default]
    Machine = 3,
}

impl Privilege {
    /// From the two-bit encoding, of which only the low two bits are looked at; 2 is reserved.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Privilege> {
        match bits & 3 {
            0 => Some(Privilege::User),
            1 => Some(Privilege::Supervisor),
            3 => Some(Privilege::Machine),
            _ => None,
        }
    }
}
