//! What an instruction that names a CSR reads and writes: which CSRs exist, who may touch them, and what of a
//! value they take (privileged manual, "Control and Status Registers", "Machine-Level ISA", "Supervisor-Level
//! ISA", "Sstc").
//!
//! Counters are functions of guest state, never of the host: `cycle` is the number of steps this hart has
//! attempted, `instret` the number of those that did not end in an exception, `time` the board's `mtime`;
//! each as of before the reading instruction.

use super::{
    envcfg, number,
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
        number::FFLAGS..=number::FCSR => !csr.float_off(),
        number::SATP => privilege == Privilege::Machine || csr.mstatus & TVM == 0,
        number::STIMECMP => privilege == Privilege::Machine || (csr.mcounteren & TM != 0 && csr.has_sstc()),
        number::CYCLE..=number::HPMCOUNTER31 => {
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
        number::FFLAGS => csr.fcsr & 0x1f,
        number::FRM => csr.fcsr >> 5,
        number::FCSR => csr.fcsr,
        number::SSTATUS => csr.status() & (SSTATUS_WRITE | UXL | SD),
        number::SIE => csr.mie & csr.mideleg,
        number::STVEC => csr.stvec,
        number::SCOUNTEREN => csr.scounteren,
        number::SENVCFG => csr.senvcfg,
        number::SSCRATCH => csr.sscratch,
        number::SEPC => csr.sepc & PC_MASK,
        number::SCAUSE => csr.scause,
        number::STVAL => csr.stval,
        number::SIP => hart.pending(bus, now) & csr.mideleg,
        number::STIMECMP => csr.stimecmp,
        number::SATP => csr.satp,
        number::MSTATUS => csr.status(),
        number::MISA => MISA,
        number::MEDELEG => csr.medeleg,
        number::MIDELEG => csr.mideleg,
        number::MIE => csr.mie,
        number::MTVEC => csr.mtvec,
        number::MCOUNTEREN => csr.mcounteren,
        number::MENVCFG => csr.menvcfg,
        number::MCOUNTINHIBIT => csr.mcountinhibit,
        number::MSCRATCH => csr.mscratch,
        number::MEPC => csr.mepc & PC_MASK,
        number::MCAUSE => csr.mcause,
        number::MTVAL => csr.mtval,
        number::MIP => hart.pending(bus, now),
        number::PMPCFG0 => hart.pmp.read_configuration(0),
        number::PMPCFG2 => hart.pmp.read_configuration(8),
        number::PMPADDR0..=number::PMPADDR15 => hart.pmp.read_address((address & 15) as usize),
        number::MCYCLE | number::CYCLE => counter(csr.cycle, hart.steps, csr.mcountinhibit & 1 != 0),
        number::TIME => bus.time(now),
        number::MINSTRET | number::INSTRET => counter(
            csr.instret,
            hart.steps.wrapping_sub(hart.exceptions),
            csr.mcountinhibit & 4 != 0,
        ),
        // Performance counters and their events exist and are always zero.
        number::MHPMEVENT3..=number::MHPMEVENT31
        | number::MHPMCOUNTER3..=number::MHPMCOUNTER31
        | number::HPMCOUNTER3..=number::HPMCOUNTER31 => 0,
        // Who made the hart, and where its configuration is described: not given, which is 0.
        number::MVENDORID..=number::MIMPID | number::MCONFIGPTR => 0,
        number::MHARTID => hart.id as u64,
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
        number::FFLAGS => set_float(csr, csr.fcsr & !0x1f | value & 0x1f),
        number::FRM => set_float(csr, csr.fcsr & 0x1f | (value & 7) << 5),
        number::FCSR => set_float(csr, value & 0xff),
        number::STVEC => set_vector(&mut csr.stvec, value),
        number::SCOUNTEREN => csr.scounteren = value & COUNTERS,
        number::SENVCFG => csr.senvcfg = envcfg::supervisor(csr.senvcfg, value),
        number::SSCRATCH => csr.sscratch = value,
        number::SEPC => csr.sepc = value & PC_MASK,
        number::SCAUSE => csr.scause = value,
        number::STVAL => csr.stval = value,
        number::MEDELEG => csr.medeleg = value & DELEGABLE,
        number::MTVEC => set_vector(&mut csr.mtvec, value),
        number::MCOUNTEREN => csr.mcounteren = value & COUNTERS,
        number::MCOUNTINHIBIT => set_inhibit(hart, value),
        number::MSCRATCH => csr.mscratch = value,
        number::MEPC => csr.mepc = value & PC_MASK,
        number::MCAUSE => csr.mcause = value,
        number::MTVAL => csr.mtval = value,
        // A counter reads as written in the next instruction.
        number::MCYCLE => {
            let count = if csr.mcountinhibit & 1 != 0 {
                0
            } else {
                hart.steps.wrapping_add(1)
            };
            csr.cycle = value.wrapping_sub(count);
        }
        number::MINSTRET => {
            let retired = hart.steps.wrapping_sub(hart.exceptions).wrapping_add(1);
            csr.instret = value.wrapping_sub(if csr.mcountinhibit & 4 != 0 { 0 } else { retired });
        }
        number::MISA
        | number::MHPMEVENT3..=number::MHPMEVENT31
        | number::MHPMCOUNTER3..=number::MHPMCOUNTER31 => {}
        _ => after = write_checked(hart, address, value)?,
    }
    Some(after)
}

/// The registers after whose change interrupts and address spaces must be looked at again.
fn write_checked(hart: &mut Hart, address: u32, value: u64) -> Option<After> {
    let csr = &mut hart.csr;
    match address {
        number::SSTATUS => csr.mstatus = csr.mstatus & !SSTATUS_WRITE | value & SSTATUS_WRITE,
        number::SIE => csr.mie = csr.mie & !csr.mideleg | value & csr.mideleg,
        number::SIP => {
            let mask = csr.mideleg & interrupt::SSI;
            csr.mip = csr.mip & !mask | value & mask;
        }
        number::STIMECMP => {
            csr.stimecmp = value;
            return Some(After::Attention);
        }
        number::SATP => set_satp(csr, value),
        number::MSTATUS => {
            let old_mpp = csr.mstatus & MPP;
            let next = csr.mstatus & !MSTATUS_WRITE | value & MSTATUS_WRITE;
            let reserved = Privilege::from_bits(next >> MPP_SHIFT).is_none();
            csr.mstatus = if reserved { next & !MPP | old_mpp } else { next };
        }
        number::MIDELEG => csr.mideleg = value & interrupt::SUPERVISOR,
        number::MIE => csr.mie = value & interrupt::ALL,
        number::MENVCFG => {
            csr.menvcfg = envcfg::machine(csr.menvcfg, value);
            return Some(After::Attention);
        }
        number::MIP => {
            let timer = if csr.has_sstc() { 0 } else { interrupt::STI };
            let mask = interrupt::SSI | interrupt::SEI | timer;
            csr.mip = csr.mip & !mask | value & mask;
        }
        number::PMPCFG0 => hart.pmp.write_configuration(0, value),
        number::PMPCFG2 => hart.pmp.write_configuration(8, value),
        number::PMPADDR0..=number::PMPADDR15 => hart.pmp.write_address((address & 15) as usize, value),
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
    if address == number::MIP {
        old & !interrupt::SEI | hart.csr.mip & interrupt::SEI
    } else {
        old
    }
}

// `read` and `write` know `pmpaddr0` to `pmpaddr15`, and the two `pmpcfg` that go with them.
const _: () = assert!(pmp::ENTRIES == 16);
