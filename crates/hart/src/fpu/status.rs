//! What `fcsr` holds: the accrued exception flags and the rounding modes (F chapter, "Floating-Point Control
//! and Status Register"). All operations take both as arguments.
//!
//! `csr` keeps the register itself; nothing here or in the rest of `fpu` may remember a flag or a mode.

/// The accrued exception flags, in the bit positions of `fcsr` (F chapter, "Floating-Point Control and
/// Status Register").
///
/// The operations only ever set bits. Callers should pass the accrued flags of the hart rather than an
/// empty set: once `NX` is set, the fast path need not find out whether a result was exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// Inexact: the result was rounded.
    pub const NX: Flags = Flags(1);
    /// Underflow: the result is tiny after rounding, and inexact.
    pub const UF: Flags = Flags(2);
    /// Overflow: the rounded result exceeds the largest finite number.
    pub const OF: Flags = Flags(4);
    /// Divide by zero: an exact infinity from finite operands.
    pub const DZ: Flags = Flags(8);
    /// Invalid operation: there is no defined result, or an operand is a signalling NaN.
    pub const NV: Flags = Flags(16);

    /// The flags that stand in the MXCSR of an x86-64 host: invalid, denormal (which RISC-V does not have),
    /// divide by zero, overflow, underflow and inexact, from bit 0 on (Intel SDM volume 1, "MXCSR Control and
    /// Status Register").
    #[inline]
    #[must_use]
    pub const fn of_host(status: u32) -> Flags {
        const OF_EACH: [(u32, Flags); 5] = [
            (0, Flags::NV),
            (2, Flags::DZ),
            (3, Flags::OF),
            (4, Flags::UF),
            (5, Flags::NX),
        ];
        let (mut flags, mut index) = (0, 0);
        while index < OF_EACH.len() {
            let (bit, Flags(flag)) = OF_EACH[index];
            flags |= flag * (status >> bit & 1) as u8;
            index += 1;
        }
        Flags(flags)
    }

    /// Sets the given flags; the others keep their state.
    #[inline]
    pub fn raise(&mut self, flags: Flags) {
        self.0 |= flags.0;
    }

    /// Whether all the given flags are set.
    #[inline]
    #[must_use]
    pub fn contains(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// The rounding modes, in the encoding of `rm` and `frm` (F chapter, table "Rounding mode encoding").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rounding {
    /// RNE: to nearest, ties to even.
    NearestEven = 0,
    /// RTZ: towards zero.
    TowardZero = 1,
    /// RDN: towards negative infinity.
    Down = 2,
    /// RUP: towards positive infinity.
    Up = 3,
    /// RMM: to nearest, ties away from zero.
    NearestMaxMagnitude = 4,
}

impl Rounding {
    /// Decodes `frm` or a static `rm`. `None` for the reserved values 5 and 6 and for 7 (`DYN`), which the
    /// instruction layer must resolve or refuse first.
    #[inline]
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Rounding> {
        match bits {
            0 => Some(Rounding::NearestEven),
            1 => Some(Rounding::TowardZero),
            2 => Some(Rounding::Down),
            3 => Some(Rounding::Up),
            4 => Some(Rounding::NearestMaxMagnitude),
            _ => None,
        }
    }
}
