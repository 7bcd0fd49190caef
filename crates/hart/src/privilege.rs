//! Privilege modes (privileged manual, "Privilege Levels"): who a hart acts as. `hart` has the present one,
//! `trap` changes it, and CSRs, PMP and MMU ask for it. Only the numbers and their order stand here: what a
//! mode may do is for those who ask.

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
    /// The mode that the low two bits encode; `None` for 2, which is reserved.
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
