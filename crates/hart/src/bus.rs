//! The seam between the harts and everything that is not RAM.
//!
//! An engine calls [`Bus`] for every physical address outside RAM, with the exact step of the instruction.
//! The bus never sees RAM accesses and never sees a hart's registers.

use crate::{Ram, Step};

/// Width of one access to the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Half,
    /// 32 bits.
    Word,
    /// 64 bits.
    Double,
}

impl Width {
    /// The number of bytes: 1, 2, 4 or 8.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Width::Byte => 1,
            Width::Half => 2,
            Width::Word => 4,
            Width::Double => 8,
        }
    }

    /// The bits of a value of this width.
    #[must_use]
    pub const fn mask(self) -> u64 {
        match self {
            Width::Byte => 0xff,
            Width::Half => 0xffff,
            Width::Word => 0xffff_ffff,
            Width::Double => u64::MAX,
        }
    }
}

/// One load or store outside RAM. Always naturally aligned: a misaligned one faults before it gets here.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Physical address.
    pub address: u64,
    /// How wide the access is.
    pub width: Width,
    /// The step of the instruction: the number of steps completed before it.
    pub now: Step,
    /// The number of the hart that makes the access.
    pub hart: usize,
}

/// Nothing answers at this address, or not at this width: an access fault for the hart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusError;

/// Interrupt lines into one hart, as bits of `mip` that hardware drives: MSIP (3), MTIP (7), SEIP (9),
/// MEIP (11). STIP from Sstc is the hart's own (it compares `stimecmp` with [`Bus::time`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines(pub u64);

/// Everything outside RAM, as the harts see it.
pub trait Bus {
    /// Does a load. The value is zero-extended to 64 bits.
    ///
    /// # Errors
    /// [`BusError`] becomes a load (or fetch) access fault.
    fn load(&mut self, ram: &mut Ram, access: Access) -> Result<u64, BusError>;

    /// Does a store of the low bits of `value`.
    ///
    /// # Errors
    /// [`BusError`] becomes a store/AMO access fault.
    fn store(&mut self, ram: &mut Ram, access: Access, value: u64) -> Result<(), BusError>;

    /// Does anything answer loads or stores at this physical address? Asked for the first byte of a cache
    /// block, by the instructions that manage one without a load or store; it changes nothing.
    fn answers(&self, address: u64) -> bool;

    /// The value of `mtime` at step `now`: a function of the last `Clock` input, of the steps since, and of
    /// what the guest has stored to `mtime`. It changes otherwise only in [`Bus::store`].
    fn time(&self, now: Step) -> u64;

    /// The interrupt lines into `hart` at step `now`.
    fn lines(&self, hart: usize, now: Step) -> Lines;

    /// Asked after a load or store: must the engine return with [`crate::Reason::Attention`] before the next
    /// instruction? True when a device has an effect for the outside, changed another hart's lines, or
    /// moved a timer. The engine re-reads its own [`Bus::lines`] after every access anyway.
    fn attention(&self) -> bool;
}
