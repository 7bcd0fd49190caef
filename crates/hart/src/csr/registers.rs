//! The control and status registers that are storage, and their bits (privileged manual, "Machine-Level ISA",
//! "Supervisor-Level ISA").
//!
//! A hart holds one [`Csrs`]. Traps, the MMU and floating-point instructions use its fields directly; what an
//! instruction that names a CSR may read and write of them is in `access`. Generated code reads and writes
//! some of the fields in place, at the offsets that [`plain`] gives and by the constants around it.

use std::mem::offset_of;

use super::envcfg::{self, ADUE, STCE};
use super::number;
use crate::{Visit, Visitor, op::BlockKind, privilege::Privilege};

/// Bits of `mstatus` and `sstatus`.
pub mod status {
    pub const SIE: u64 = 1 << 1;
    pub const MIE: u64 = 1 << 3;
    pub const SPIE: u64 = 1 << 5;
    pub const MPIE: u64 = 1 << 7;
    pub const SPP: u64 = 1 << 8;
    pub const MPP_SHIFT: u32 = 11;
    pub const MPP: u64 = 3 << MPP_SHIFT;
    pub const FS: u64 = 3 << 13;
    pub const MPRV: u64 = 1 << 17;
    pub const SUM: u64 = 1 << 18;
    pub const MXR: u64 = 1 << 19;
    pub const TVM: u64 = 1 << 20;
    pub const TW: u64 = 1 << 21;
    pub const TSR: u64 = 1 << 22;
    /// UXL = SXL = 2: 64 bits, fixed.
    pub const UXL_SXL: u64 = 2 << 32 | 2 << 34;
    pub const UXL: u64 = 3 << 32;
    pub const SD: u64 = 1 << 63;
}

use status::{FS, MIE, MPIE, MPP, MPP_SHIFT, MPRV, MXR, SD, SIE, SPIE, SPP, SUM, TSR, TVM, TW, UXL, UXL_SXL};

/// Interrupt bits of `mip` and `mie`.
pub mod interrupt {
    pub const SSI: u64 = 1 << 1;
    pub const MSI: u64 = 1 << 3;
    pub const STI: u64 = 1 << 5;
    pub const MTI: u64 = 1 << 7;
    pub const SEI: u64 = 1 << 9;
    pub const MEI: u64 = 1 << 11;
    /// The interrupts that can be delegated to supervisor mode.
    pub const SUPERVISOR: u64 = SSI | STI | SEI;
    /// The interrupts whose bits in `mip` the board drives.
    pub const LINES: u64 = MSI | MTI | SEI | MEI;
    /// All interrupts that exist.
    pub const ALL: u64 = SUPERVISOR | MSI | MTI | MEI;
}

/// The distance of `fcsr` from the beginning of the CSRs, in bytes.
pub const FCSR: usize = offset_of!(Csrs, fcsr);

/// The bits of `sstatus` that can be written.
pub(super) const SSTATUS_WRITE: u64 = SIE | SPIE | SPP | FS | SUM | MXR;
/// The bits of `mstatus` that can be written.
pub(super) const MSTATUS_WRITE: u64 = SSTATUS_WRITE | MIE | MPIE | MPP | MPRV | TVM | TW | TSR;
/// The bits of an address that `mepc` and `sepc` hold: addresses of instructions are even.
pub const PC_MASK: u64 = !1;
/// The bits of `satp` that are the page number of the root page table.
const SATP_PPN: u64 = (1 << 44) - 1;

/// The registers that are storage, by the manual's names; every other one is computed.
///
/// The order in memory is that of the fields, as generated code finds `mstatus` at offset 0.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Csrs {
    /// `mstatus` without SD, which is computed from FS.
    pub mstatus: u64,
    pub medeleg: u64,
    pub mideleg: u64,
    pub mie: u64,
    /// The bits of `mip` that software has set: SSIP, SEIP, and STIP without Sstc.
    pub mip: u64,
    pub mtvec: u64,
    pub mepc: u64,
    pub mcause: u64,
    pub mtval: u64,
    pub(super) mscratch: u64,
    pub(super) mcounteren: u64,
    pub(super) mcountinhibit: u64,
    pub(super) menvcfg: u64,
    pub stvec: u64,
    pub sepc: u64,
    pub scause: u64,
    pub stval: u64,
    pub(super) sscratch: u64,
    pub(super) scounteren: u64,
    pub(super) senvcfg: u64,
    pub satp: u64,
    pub stimecmp: u64,
    /// `fflags` in bits 4:0, `frm` in bits 7:5.
    pub fcsr: u64,
    /// `mcycle` minus the steps that the hart has attempted; while it is inhibited, `mcycle` itself.
    pub(super) cycle: u64,
    /// `minstret` minus the steps that did not end in an exception; while it is inhibited, `minstret` itself.
    pub(super) instret: u64,
}

impl Csrs {
    /// The values after reset. ADUE is set, as QEMU has it: a device tree that names Svadu without Svade says
    /// that A and D are always updated by hardware.
    pub fn new() -> Csrs {
        Csrs {
            mstatus: UXL_SXL,
            menvcfg: ADUE,
            stimecmp: u64::MAX,
            ..Csrs::default()
        }
    }

    /// Does `stimecmp` drive STIP?
    pub fn has_sstc(&self) -> bool {
        self.menvcfg & STCE != 0
    }

    /// Does the page-table walker set A and D (Svadu)? Else it raises page faults (Svade).
    pub fn has_svadu(&self) -> bool {
        self.menvcfg & ADUE != 0
    }

    /// May cache-block instructions of a kind be executed in this mode?
    pub fn permits(&self, privilege: Privilege, kind: BlockKind) -> bool {
        envcfg::permits(self.menvcfg, self.senvcfg, privilege, kind)
    }

    /// Are the floating-point registers off?
    #[inline(always)]
    pub fn float_off(&self) -> bool {
        self.mstatus & FS == 0
    }

    /// Is `mstatus.FS` Dirty?
    pub fn is_float_dirty(&self) -> bool {
        self.mstatus & FS == FS
    }

    /// Is the dynamic rounding mode RNE?
    pub fn is_float_plain(&self) -> bool {
        self.fcsr & 0xe0 == 0
    }

    /// Notes that floating-point state has changed.
    #[inline(always)]
    pub fn float_dirty(&mut self) {
        self.mstatus |= FS;
    }

    /// The levels of page tables that `satp` selects; 0: there is no translation.
    pub fn satp_levels(&self) -> u32 {
        match self.satp >> 60 {
            8 => 3,
            9 => 4,
            _ => 0,
        }
    }

    /// The physical page number of the root page table.
    pub fn satp_root(&self) -> u64 {
        self.satp & SATP_PPN
    }

    /// The bits of `sstatus` that cannot be written, but for SD.
    pub fn status_constants(&self) -> u64 {
        self.mstatus & UXL
    }

    /// The value of `mstatus`.
    pub(super) fn status(&self) -> u64 {
        self.mstatus | if self.mstatus & FS == FS { SD } else { 0 }
    }
}

impl Visit for Csrs {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            mstatus,
            medeleg,
            mideleg,
            mie,
            mip,
            mtvec,
            mepc,
            mcause,
            mtval,
            mscratch,
            mcounteren,
            mcountinhibit,
            menvcfg,
            stvec,
            sepc,
            scause,
            stval,
            sscratch,
            scounteren,
            senvcfg,
            satp,
            stimecmp,
            fcsr,
            cycle,
            instret,
        } = self;
        v.u64("mstatus", mstatus);
        v.u64("medeleg", medeleg);
        v.u64("mideleg", mideleg);
        v.u64("mie", mie);
        v.u64("mip", mip);
        v.u64("mtvec", mtvec);
        v.u64("mepc", mepc);
        v.u64("mcause", mcause);
        v.u64("mtval", mtval);
        v.u64("mscratch", mscratch);
        v.u64("mcounteren", mcounteren);
        v.u64("mcountinhibit", mcountinhibit);
        v.u64("menvcfg", menvcfg);
        v.u64("stvec", stvec);
        v.u64("sepc", sepc);
        v.u64("scause", scause);
        v.u64("stval", stval);
        v.u64("sscratch", sscratch);
        v.u64("scounteren", scounteren);
        v.u64("senvcfg", senvcfg);
        v.u64("satp", satp);
        v.u64("stimecmp", stimecmp);
        v.u64("fcsr", fcsr);
        v.u64("cycle", cycle);
        v.u64("instret", instret);
        let mpp_reserved = Privilege::from_bits(*mstatus >> MPP_SHIFT).is_none();
        if mpp_reserved || *mstatus & !MSTATUS_WRITE != UXL_SXL {
            v.reject("mstatus holds an impossible value");
        }
        if *mideleg & !interrupt::SUPERVISOR != 0 || *mie & !interrupt::ALL != 0 {
            v.reject("an interrupt that does not exist is enabled or delegated");
        }
    }
}

/// For a CSR of supervisor mode that only holds what is written to it: its offset in [`Csrs`], and the bits
/// that it holds.
pub fn plain(address: u32) -> Option<(usize, u64)> {
    Some(match address {
        number::SSCRATCH => (offset_of!(Csrs, sscratch), u64::MAX),
        number::SEPC => (offset_of!(Csrs, sepc), PC_MASK),
        number::SCAUSE => (offset_of!(Csrs, scause), u64::MAX),
        number::STVAL => (offset_of!(Csrs, stval), u64::MAX),
        _ => return None,
    })
}

/// The bits of `sstatus` that can be written, for generated code, which has them in `mstatus` at offset 0.
pub const STATUS_BITS: i32 = SSTATUS_WRITE as i32;
/// The bits of [`STATUS_BITS`], besides [`SIE`], whose change generated code leaves to the interpreter: they
/// change the address space.
pub const STATUS_GRAVE: i32 = (SUM | MXR) as i32;
/// How far the sum of FS and its lower bit, as it stands in `mstatus`, is shifted left to give SD: the sum
/// carries into the bit above FS only if FS is Dirty.
pub const DIRTY_TO_SD: u8 = 48;
const _: () = assert!(offset_of!(Csrs, mstatus) == 0 && SSTATUS_WRITE < 1 << 31);
const _: () = assert!((FS + (FS & FS >> 1)) << DIRTY_TO_SD == SD);
