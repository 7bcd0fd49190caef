//! What an instruction that names a CSR reads and writes: which CSRs exist, who may touch them, and what of a
//! value they take (privileged manual, "Control and Status Registers", "Machine-Level ISA", "Supervisor-Level
//! ISA", "Sstc").
//!
//! Counters are functions of guest state, never of the host: `cycle` is the number of steps this hart has
//! attempted, `instret` the number of those that did not end in an exception, `time` the board's `mtime`;
//! each as of before the reading instruction.

use super::{
    envcfg,
    registers::{
        Csrs, MSTATUS_WRITE, PC_MASK, SSTATUS_WRITE, interrupt,
        status::{MPP, MPP_SHIFT, SD, TVM, UXL},
    },
};
use crate::{Bus, Hart, Step, pmp, privilege::Privilege};

/// `medeleg`: every exception but `ecall` from M (11), and those that do not exist here.
const DELEGABLE: u64 = 0xb3ff;
/// The bits of the counters that exist in `mcounteren` and `scounteren`: CY, TM, IR.
const COUNTERS: u64 = 7;
/// The bit of `time` in `mcounteren`.
const TM: u64 = 2;
/// RV64 with A, B, C, D, F, I, M, S, U. Read-only.
const MISA: u64 = 2 << 62 | 0x14_112f;

/// What the engine must do after a CSR write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Go on.
    Nothing,
    /// Interrupts or address spaces may have changed.
    Check,
    /// Besides, the hart's own timer may have moved: the machine must look.
    Attention,
}

/// May the hart access CSR `address` at all, and write it if `write`?
pub fn permitted(hart: &Hart, address: u32, write: bool) -> bool {
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

/// The value of a CSR before the instruction at step `now`; `None` if there is no such CSR.
/// `hart.steps` must be exact.
pub fn read(hart: &Hart, bus: &dyn Bus, now: Step, address: u32) -> Option<u64> {
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
        0x144 => hart.pending(bus, now) & csr.mideleg,
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
        0x344 => hart.pending(bus, now),
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
pub fn write(hart: &mut Hart, address: u32, value: u64) -> Option<After> {
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
    // The counts as of after this instruction, which a counter that stops now keeps.
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

/// The value from which CSRRS and CSRRC of a CSR start, which was read as `old`: for `mip` with the SEIP that
/// software has written, without the external line (privileged manual, "Machine Interrupt Registers").
pub fn modified(hart: &Hart, address: u32, old: u64) -> u64 {
    if address == 0x344 {
        old & !interrupt::SEI | hart.csr.mip & interrupt::SEI
    } else {
        old
    }
}

// `read` and `write` know `pmpaddr0` to `pmpaddr15`, and the two `pmpcfg` that go with them.
const _: () = assert!(pmp::ENTRIES == 16);
