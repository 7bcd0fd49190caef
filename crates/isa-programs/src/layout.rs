//! Where everything lies in the guest's memory, and the form of a program's record.
//!
//! This is the agreement between the generator, which writes an image on the host, and the runtime, which
//! reads it in the guest. Neither knows anything of the other that does not stand here.

use crate::encode::number;

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
/// Bytes of the code's pages.
pub const CODE_BYTES: u64 = 4 * PAGE;
/// A page of `ecall`s: where exceptions delegated to S-mode go.
pub const STUB: u64 = RAM + 0x1_4000;
/// Pages that the program under test computes with.
pub const DATA: u64 = RAM + 0x1_8000;
/// How many pages of data there are.
pub const DATA_PAGES: u64 = 8;
/// Pages for page tables. They lie some way from the data, so that stray accesses miss them.
pub const TABLES: u64 = RAM + 0x2_8000;
/// How many pages there are for page tables.
pub const TABLE_PAGES: u64 = 8;
/// Pages that data pages are filled from, the same in all images.
pub const TEMPLATES: u64 = RAM + 0x4_0000;
/// How many template pages there are.
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
    number::MIDELEG,
    number::MENVCFG,
    number::STIMECMP,
    number::MIE,
    number::MIP,
    number::MEDELEG,
    number::MCOUNTEREN,
    number::MCOUNTINHIBIT,
    number::MCYCLE,
    number::MINSTRET,
    number::MCAUSE,
    number::MTVAL,
    number::STVEC,
    number::SCOUNTEREN,
    number::SENVCFG,
    number::SSCRATCH,
    number::SEPC,
    number::SCAUSE,
    number::STVAL,
    number::FCSR,
    number::PMPADDR0,
    number::pmpaddr(1),
    number::pmpaddr(2),
    number::pmpaddr(3),
    number::pmpaddr(4),
    number::pmpaddr(5),
    number::pmpaddr(6),
    number::pmpaddr(7),
    number::pmpaddr(8),
    number::pmpaddr(9),
    number::pmpaddr(10),
    number::pmpaddr(11),
    number::pmpaddr(12),
    number::pmpaddr(13),
    number::pmpaddr(14),
    number::pmpaddr(15),
    number::PMPCFG0,
    number::PMPCFG2,
    number::SATP,
];

/// CSRs that the runtime hashes at the end of a program. The rest is hashed at each trap, or changes with
/// time.
pub const HASHED: [u32; 38] = [
    number::SSTATUS,
    number::SIE,
    number::STVEC,
    number::SCOUNTEREN,
    number::SENVCFG,
    number::SSCRATCH,
    number::SEPC,
    number::SCAUSE,
    number::STVAL,
    number::SATP,
    number::MISA,
    number::MEDELEG,
    number::MIDELEG,
    number::MIE,
    number::MCOUNTEREN,
    number::MENVCFG,
    number::MCOUNTINHIBIT,
    number::STIMECMP,
    number::PMPCFG0,
    number::PMPCFG2,
    number::PMPADDR0,
    number::pmpaddr(1),
    number::pmpaddr(2),
    number::pmpaddr(3),
    number::pmpaddr(4),
    number::pmpaddr(5),
    number::pmpaddr(6),
    number::pmpaddr(7),
    number::pmpaddr(8),
    number::pmpaddr(9),
    number::pmpaddr(10),
    number::pmpaddr(11),
    number::pmpaddr(12),
    number::pmpaddr(13),
    number::pmpaddr(14),
    number::pmpaddr(15),
    number::MHARTID,
    number::FCSR,
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
    /// Virtual address of [`super::CODE`] in U-mode.
    pub const USER_BASE: usize = 4;
    /// Byte offset in [`super::CODE`] at which the program ends.
    pub const END: usize = 5;
    /// Bits of `mstatus` for the way back from an `ecall`: MPP, and MPRV.
    pub const HOME: usize = 6;
    /// Bits of `mstatus` to clear when a trap is left.
    pub const CLEAR: usize = 7;
    /// Bits of `mstatus` to set when a trap is left, after those to clear.
    pub const SET: usize = 8;
    /// Virtual address of the program's first instruction.
    pub const START: usize = 9;
    /// Traps after which the program is over.
    pub const TRAPS_MAX: usize = 10;
    /// Data pages not to hash at the end, as a bit mask: M-mode may not read them.
    pub const UNREADABLE: usize = 11;
    /// Number of (address, value) pairs to write.
    pub const POKES: usize = 12;
    /// The value of `mstatus` with which the program starts.
    pub const STATUS: usize = 13;
    /// Values of [`super::LOADED`].
    pub const CSRS: usize = 14;
    /// Integer registers; `x0` is not used.
    pub const X: usize = CSRS + LOADED.len();
    /// Floating-point registers.
    pub const F: usize = X + 32;
    /// Numbers of the template pages for the data pages.
    pub const PAGES: usize = F + 32;
    /// The (address, value) pairs, and behind them the code.
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
