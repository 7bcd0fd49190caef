//! Control and status registers: which exist, who may touch them, and what reading and writing does
//! (privileged manual, chapters "Control and Status Registers", "Machine-Level ISA", "Supervisor-Level
//! ISA", and "Sstc").
//!
//! Counters are functions of guest state, never of the host: `cycle` is the number of steps this hart has
//! attempted, `instret` the number of those that did not end in an exception, `time` the board's `mtime`;
//! each as of before the reading instruction. The bits of `mip` that hardware drives are not stored: they
//! are read from [`Bus::lines`] and, for STIP with Sstc, from [`Bus::time`].

mod envcfg;

use std::mem::offset_of;

use crate::{Bus, Hart, Step, Visit, Visitor, op::BlockKind, pmp, trap::Privilege};
use envcfg::{ADUE, STCE};

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
mod interrupt {
    pub const SSI: u64 = 1 << 1;
    pub const MSI: u64 = 1 << 3;
    pub const STI: u64 = 1 << 5;
    pub const MTI: u64 = 1 << 7;
    pub const SEI: u64 = 1 << 9;
    pub const MEI: u64 = 1 << 11;
    /// Those that can be delegated.
    pub const SUPERVISOR: u64 = SSI | STI | SEI;
    /// Those that the board drives.
    pub const LINES: u64 = MSI | MTI | SEI | MEI;
    pub const ALL: u64 = SUPERVISOR | MSI | MTI | MEI;
}

const SSTATUS_WRITE: u64 = SIE | SPIE | SPP | FS | SUM | MXR;
const MSTATUS_WRITE: u64 = SSTATUS_WRITE | MIE | MPIE | MPP | MPRV | TVM | TW | TSR;
/// `medeleg`: every exception but `ecall` from M (11), and those that do not exist here.
const DELEGABLE: u64 = 0xb3ff;
/// CY, TM, IR: the counters that exist.
const COUNTERS: u64 = 7;
const TM: u64 = 2;
/// Return addresses are even.
pub const PC_MASK: u64 = !1;
/// RV64 with A, B, C, D, F, I, M, S, U. Read-only.
const MISA: u64 = 2 << 62 | 0x14_112f;
const SATP_PPN: u64 = (1 << 44) - 1;

/// The registers that are storage; the rest is computed.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(crate) struct Csrs {
    /// Without SD, which is computed.
    pub mstatus: u64,
    pub medeleg: u64,
    pub mideleg: u64,
    pub mie: u64,
    /// The bits that software has set: SSIP, SEIP, and STIP without Sstc.
    pub mip: u64,
    pub mtvec: u64,
    pub mepc: u64,
    pub mcause: u64,
    pub mtval: u64,
    mscratch: u64,
    mcounteren: u64,
    mcountinhibit: u64,
    menvcfg: u64,
    pub stvec: u64,
    pub sepc: u64,
    pub scause: u64,
    pub stval: u64,
    sscratch: u64,
    scounteren: u64,
    senvcfg: u64,
    pub satp: u64,
    pub stimecmp: u64,
    /// `fflags` in bits 4:0, `frm` in bits 7:5.
    pub fcsr: u64,
    /// `mcycle` minus the steps; the whole value while inhibited. `minstret` likewise.
    cycle: u64,
    instret: u64,
}

impl Csrs {
    /// Values after reset. ADUE is set, as QEMU has it: a device tree that names Svadu without Svade says
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

    /// Is NX accrued and the dynamic rounding mode RNE?
    pub fn is_float_plain(&self) -> bool {
        self.fcsr & 0xe1 == 1
    }

    /// Notes that floating-point state has changed.
    #[inline(always)]
    pub fn float_dirty(&mut self) {
        self.mstatus |= FS;
    }

    /// The bits of `sstatus` that cannot be written, but for SD.
    pub fn status_constants(&self) -> u64 {
        self.mstatus & UXL
    }

    fn status(&self) -> u64 {
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

/// The value of `mip` at `now`.
pub(crate) fn pending(hart: &Hart, bus: &dyn Bus, now: Step) -> u64 {
    let lines = bus.lines(hart.id, now).0 & interrupt::LINES;
    let software = hart.csr.mip;
    if !hart.csr.has_sstc() {
        return software | lines;
    }
    let due = bus.time(now) >= hart.csr.stimecmp;
    software & !interrupt::STI | lines | if due { interrupt::STI } else { 0 }
}

/// What the engine must do after a CSR write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Go on.
    Nothing,
    /// Interrupts or address spaces may have changed.
    Check,
    /// Besides, the hart's own timer may have moved: the machine must look.
    Attention,
}

/// May the hart access CSR `address` at all, and write it if `write`?
pub(crate) fn permitted(hart: &Hart, address: u32, write: bool) -> bool {
    let privilege = hart.privilege;
    if u64::from(address >> 8 & 3) > privilege as u64 || (write && address >> 10 == 3) {
        return false;
    }
    let csr = &hart.csr;
    match address {
        0x001..=0x003 => !csr.float_off(),
        0x180 => privilege == Privilege::Machine || csr.mstatus & TVM == 0,
        0x14d => privilege == Privilege::Machine || (csr.mcounteren & TM != 0 && csr.has_sstc()),
        0xc00..=0xc1f => {
            let bit = 1 << (address & 31);
            (privilege == Privilege::Machine || csr.mcounteren & bit != 0)
                && (privilege > Privilege::User || csr.scounteren & bit != 0)
        }
        _ => true,
    }
}

/// Where in [`Csrs`] a register of supervisor mode is that holds what is written to it, after masking, and has no effect; and
/// the mask.
pub(crate) fn plain(address: u32) -> Option<(usize, u64)> {
    Some(match address {
        0x140 => (offset_of!(Csrs, sscratch), u64::MAX),
        0x141 => (offset_of!(Csrs, sepc), PC_MASK),
        0x142 => (offset_of!(Csrs, scause), u64::MAX),
        0x143 => (offset_of!(Csrs, stval), u64::MAX),
        _ => return None,
    })
}

/// `sstatus` as generated code has it in `mstatus`, whose offset among the CSRs is 0: the bits that can be written, and
/// those of them whose change the engine must know of, besides [`SIE`].
pub(crate) const STATUS_BITS: i32 = SSTATUS_WRITE as i32;
/// See [`STATUS_BITS`].
pub(crate) const STATUS_GRAVE: i32 = (SUM | MXR) as i32;
/// How far below SD lies the bit that is set by adding the lowest bit of FS to a Dirty one.
pub(crate) const DIRTY_TO_SD: u8 = 48;
const _: () = assert!(offset_of!(Csrs, mstatus) == 0 && SSTATUS_WRITE < 1 << 31);
const _: () = assert!((FS + (FS & FS >> 1)) << DIRTY_TO_SD == SD);

/// The value of a CSR before the instruction at step `now`; `None` if there is no such CSR.
/// `hart.steps` must be exact.
pub(crate) fn read(hart: &Hart, bus: &dyn Bus, now: Step, address: u32) -> Option<u64> {
    let csr = &hart.csr;
    Some(match address {
        0x001 => csr.fcsr & 0x1f,
        0x002 => csr.fcsr >> 5,
        0x003 => csr.fcsr,
        0x100 => csr.status() & (SSTATUS_WRITE | UXL | SD),
        0x104 => csr.mie & csr.mideleg,
        0x105 => csr.stvec,
        0x106 => csr.scounteren,
        0x10a => csr.senvcfg,
        0x140 => csr.sscratch,
        0x141 => csr.sepc & PC_MASK,
        0x142 => csr.scause,
        0x143 => csr.stval,
        0x144 => pending(hart, bus, now) & csr.mideleg,
        0x14d => csr.stimecmp,
        0x180 => csr.satp,
        0x300 => csr.status(),
        0x301 => MISA,
        0x302 => csr.medeleg,
        0x303 => csr.mideleg,
        0x304 => csr.mie,
        0x305 => csr.mtvec,
        0x306 => csr.mcounteren,
        0x30a => csr.menvcfg,
        0x320 => csr.mcountinhibit,
        0x340 => csr.mscratch,
        0x341 => csr.mepc & PC_MASK,
        0x342 => csr.mcause,
        0x343 => csr.mtval,
        0x344 => pending(hart, bus, now),
        0x3a0 => hart.pmp.read_configuration(0),
        0x3a2 => hart.pmp.read_configuration(8),
        0x3b0..=0x3bf => hart.pmp.read_address((address & 15) as usize),
        0xb00 | 0xc00 => counter(csr.cycle, hart.steps, csr.mcountinhibit & 1 != 0),
        0xc01 => bus.time(now),
        0xb02 | 0xc02 => counter(
            csr.instret,
            hart.steps.wrapping_sub(hart.exceptions),
            csr.mcountinhibit & 4 != 0,
        ),
        // Performance counters and their events: there, and always zero.
        0x323..=0x33f | 0xb03..=0xb1f | 0xc03..=0xc1f => 0,
        // mvendorid, marchid, mimpid, mconfigptr: not given.
        0xf11..=0xf13 | 0xf15 => 0,
        0xf14 => hart.id as u64,
        _ => return None,
    })
}

fn counter(base: u64, count: u64, inhibited: bool) -> u64 {
    if inhibited { base } else { base.wrapping_add(count) }
}

/// Writes a CSR; `None` if there is no such CSR. What WARL fields do not take, they ignore.
pub(crate) fn write(hart: &mut Hart, address: u32, value: u64) -> Option<After> {
    let csr = &mut hart.csr;
    let mut after = After::Nothing;
    match address {
        0x001 => set_float(csr, csr.fcsr & !0x1f | value & 0x1f),
        0x002 => set_float(csr, csr.fcsr & 0x1f | (value & 7) << 5),
        0x003 => set_float(csr, value & 0xff),
        0x105 => set_vector(&mut csr.stvec, value),
        0x106 => csr.scounteren = value & COUNTERS,
        0x10a => csr.senvcfg = envcfg::supervisor(csr.senvcfg, value),
        0x140 => csr.sscratch = value,
        0x141 => csr.sepc = value & PC_MASK,
        0x142 => csr.scause = value,
        0x143 => csr.stval = value,
        0x302 => csr.medeleg = value & DELEGABLE,
        0x305 => set_vector(&mut csr.mtvec, value),
        0x306 => csr.mcounteren = value & COUNTERS,
        0x320 => set_inhibit(hart, value),
        0x340 => csr.mscratch = value,
        0x341 => csr.mepc = value & PC_MASK,
        0x342 => csr.mcause = value,
        0x343 => csr.mtval = value,
        // A counter reads as written in the next instruction.
        0xb00 => {
            let count = if csr.mcountinhibit & 1 != 0 {
                0
            } else {
                hart.steps.wrapping_add(1)
            };
            csr.cycle = value.wrapping_sub(count);
        }
        0xb02 => {
            let retired = hart.steps.wrapping_sub(hart.exceptions).wrapping_add(1);
            csr.instret = value.wrapping_sub(if csr.mcountinhibit & 4 != 0 { 0 } else { retired });
        }
        0x301 | 0x323..=0x33f | 0xb03..=0xb1f => {}
        _ => after = write_checked(hart, address, value)?,
    }
    Some(after)
}

/// The registers after whose change interrupts and address spaces must be looked at again.
fn write_checked(hart: &mut Hart, address: u32, value: u64) -> Option<After> {
    let csr = &mut hart.csr;
    match address {
        0x100 => csr.mstatus = csr.mstatus & !SSTATUS_WRITE | value & SSTATUS_WRITE,
        0x104 => csr.mie = csr.mie & !csr.mideleg | value & csr.mideleg,
        0x144 => {
            let mask = csr.mideleg & interrupt::SSI;
            csr.mip = csr.mip & !mask | value & mask;
        }
        0x14d => {
            csr.stimecmp = value;
            return Some(After::Attention);
        }
        0x180 => set_satp(csr, value),
        0x300 => {
            let old_mpp = csr.mstatus & MPP;
            let next = csr.mstatus & !MSTATUS_WRITE | value & MSTATUS_WRITE;
            let reserved = Privilege::from_bits(next >> MPP_SHIFT).is_none();
            csr.mstatus = if reserved { next & !MPP | old_mpp } else { next };
        }
        0x303 => csr.mideleg = value & interrupt::SUPERVISOR,
        0x304 => csr.mie = value & interrupt::ALL,
        0x30a => {
            csr.menvcfg = envcfg::machine(csr.menvcfg, value);
            return Some(After::Attention);
        }
        0x344 => {
            let timer = if csr.has_sstc() { 0 } else { interrupt::STI };
            let mask = interrupt::SSI | interrupt::SEI | timer;
            csr.mip = csr.mip & !mask | value & mask;
        }
        0x3a0 => hart.pmp.write_configuration(0, value),
        0x3a2 => hart.pmp.write_configuration(8, value),
        0x3b0..=0x3bf => hart.pmp.write_address((address & 15) as usize, value),
        _ => return None,
    }
    Some(After::Check)
}

fn set_float(csr: &mut Csrs, value: u64) {
    csr.fcsr = value;
    csr.float_dirty();
}

/// Reserved modes are not taken.
fn set_vector(vector: &mut u64, value: u64) {
    if value & 3 < 2 {
        *vector = value;
    }
}

/// A write with an unsupported MODE has no effect (privileged manual, "Supervisor Address Translation and
/// Protection Register"). Bare takes any PPN and ASID.
fn set_satp(csr: &mut Csrs, value: u64) {
    if matches!(value >> 60, 0 | 8 | 9) {
        csr.satp = value;
    }
}

fn set_inhibit(hart: &mut Hart, value: u64) {
    let csr = &mut hart.csr;
    let next = value & 5;
    let changed = csr.mcountinhibit ^ next;
    // The counts as of after this instruction; a register that stops counting this one's end keeps it.
    let steps = hart.steps.wrapping_add(1);
    let retired = steps.wrapping_sub(hart.exceptions);
    for (bit, base, count) in [(1, &mut csr.cycle, steps), (4, &mut csr.instret, retired)] {
        if changed & bit != 0 {
            *base = if next & bit != 0 {
                base.wrapping_add(count)
            } else {
                base.wrapping_sub(count)
            };
        }
    }
    csr.mcountinhibit = next;
}

/// The bits of `old` that a read-modify-write of `address` starts from: for `mip` the software-written
/// SEIP, without the external line (privileged manual, "Machine Interrupt Registers").
pub(crate) fn modified(hart: &Hart, address: u32, old: u64) -> u64 {
    if address == 0x344 {
        old & !interrupt::SEI | hart.csr.mip & interrupt::SEI
    } else {
        old
    }
}

/// Kind of address translation that `satp` selects.
pub(crate) fn satp_levels(satp: u64) -> u32 {
    match satp >> 60 {
        8 => 3,
        9 => 4,
        _ => 0,
    }
}

/// Physical page number of the root page table.
pub(crate) fn satp_root(satp: u64) -> u64 {
    satp & SATP_PPN
}

const _: () = assert!(pmp::ENTRIES == 16);
