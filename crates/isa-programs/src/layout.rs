//! Where everything lies in the guest's memory, and the form of a program's record: what the generator
//! writes and the runtime reads.

/// Start of RAM on the `virt` board; the runtime starts here.
pub const RAM: u64 = 0x8000_0000;
/// RAM that both machines have.
pub const RAM_BYTES: u64 = 64 << 20;
/// Behind RAM; nothing answers there.
pub const NOWHERE: u64 = 0x9000_0000;
/// The runtime's variables and saved registers.
pub const SAVED: u64 = RAM + 0x8000;
/// Pages of the code of the program under test.
pub const CODE: u64 = RAM + 0x1_0000;
/// Bytes of it.
pub const CODE_BYTES: u64 = 4 * PAGE;
/// A page of `ecall`s: where exceptions delegated to S-mode go.
pub const STUB: u64 = RAM + 0x1_4000;
/// Pages that the program under test computes with.
pub const DATA: u64 = RAM + 0x1_8000;
/// How many.
pub const DATA_PAGES: u64 = 8;
/// Page tables. Some way from the data, so that stray accesses miss them.
pub const TABLES: u64 = RAM + 0x2_8000;
/// How many pages.
pub const TABLE_PAGES: u64 = 8;
/// Pages that data pages are filled from, the same in all images.
pub const TEMPLATES: u64 = RAM + 0x4_0000;
/// How many.
pub const TEMPLATE_PAGES: u64 = 16;
/// Number of programs, verbosity; then the records, one after the other.
pub const HEADER: u64 = RAM + 0x5_0000;
/// The first record.
pub const RECORDS: u64 = HEADER + 16;
/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// CSRs that the runtime sets from the record, in this order. `mstatus` is set last, by hand. Before them
/// `satp`, `menvcfg`, `mip`, `mie` and `stimecmp` have been made neutral.
pub const LOADED: [u32; 39] = [
    0x303, 0x30a, 0x14d, 0x304, 0x344, 0x302, 0x306, 0x320, 0xb00, 0xb02, 0x342, 0x343, 0x105, 0x106, 0x10a,
    0x140, 0x141, 0x142, 0x143, 0x003, 0x3b0, 0x3b1, 0x3b2, 0x3b3, 0x3b4, 0x3b5, 0x3b6, 0x3b7, 0x3b8, 0x3b9,
    0x3ba, 0x3bb, 0x3bc, 0x3bd, 0x3be, 0x3bf, 0x3a0, 0x3a2, 0x180,
];

/// CSRs that the runtime hashes at the end of a program. The rest is hashed at each trap, or changes with
/// time.
pub const HASHED: [u32; 38] = [
    0x100, 0x104, 0x105, 0x106, 0x10a, 0x140, 0x141, 0x142, 0x143, 0x180, 0x301, 0x302, 0x303, 0x304, 0x306,
    0x30a, 0x320, 0x14d, 0x3a0, 0x3a2, 0x3b0, 0x3b1, 0x3b2, 0x3b3, 0x3b4, 0x3b5, 0x3b6, 0x3b7, 0x3b8, 0x3b9,
    0x3ba, 0x3bb, 0x3bc, 0x3bd, 0x3be, 0x3bf, 0xf14, 0x003,
];

/// Word offsets in a record.
pub mod record {
    use super::{DATA_PAGES, LOADED};

    /// Bytes of the whole record.
    pub const BYTES: usize = 0;
    /// Byte offset in [`super::CODE`] where the code goes; a multiple of 8.
    pub const CODE_AT: usize = 1;
    /// Bytes of code; a multiple of 8.
    pub const CODE_BYTES: usize = 2;
    /// Virtual address of [`super::CODE`] in the program's own privilege mode.
    pub const CODE_BASE: usize = 3;
    /// The same in U-mode.
    pub const USER_BASE: usize = 4;
    /// Byte offset in [`super::CODE`] at which the program ends.
    pub const END: usize = 5;
    /// Bits of `mstatus` for the way back from an `ecall`: MPP, and MPRV.
    pub const HOME: usize = 6;
    /// Bits of `mstatus` to clear when a trap is left ...
    pub const CLEAR: usize = 7;
    /// ... and to set.
    pub const SET: usize = 8;
    /// Where the program starts.
    pub const START: usize = 9;
    /// Traps after which the program is over.
    pub const TRAPS_MAX: usize = 10;
    /// Data pages not to hash at the end, as a bit mask: M-mode may not read them.
    pub const UNREADABLE: usize = 11;
    /// Number of (address, value) pairs to write.
    pub const POKES: usize = 12;
    /// `mstatus`.
    pub const STATUS: usize = 13;
    /// Values of [`super::LOADED`].
    pub const CSRS: usize = 14;
    /// Integer registers; `x0` is not used.
    pub const X: usize = CSRS + LOADED.len();
    /// Floating-point registers.
    pub const F: usize = X + 32;
    /// Numbers of the template pages for the data pages.
    pub const PAGES: usize = F + 32;
    /// The pairs, and behind them the code.
    pub const REST: usize = PAGES + DATA_PAGES as usize;
    const _: () = assert!(REST * 8 < 2048, "fields must be in reach of a load's immediate");
}

/// Byte offsets from [`SAVED`].
pub mod saved {
    /// Integer registers of the program.
    pub const X: i32 = 0;
    /// Floating-point registers, and behind them `fcsr`.
    pub const F: i32 = 256;
    /// The running hash.
    pub const HASH: i32 = 520;
    /// Highest offset in the code at which a trap was taken.
    pub const HIGH: i32 = 528;
    /// Traps so far.
    pub const TRAPS: i32 = 536;
    /// Instructions the program has executed, as `mcycle` counts them.
    pub const COUNT: i32 = 544;
    /// `mcycle` when the program was last entered.
    pub const ENTERED: i32 = 552;
    /// Address of the current record.
    pub const RECORD: i32 = 560;
    /// Programs left.
    pub const LEFT: i32 = 568;
    /// Print each trap and all registers, not only the hash.
    pub const VERBOSE: i32 = 576;
}
