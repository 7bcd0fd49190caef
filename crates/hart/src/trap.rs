//! Exceptions and interrupts: what is raised, which mode takes it, and the way back (privileged manual,
//! "Machine-Level ISA", "Supervisor-Level ISA").
//!
//! The interpreter calls this when an instruction raises an exception, when an interrupt is due, and for
//! `mret` and `sret`. Everything here changes registers of the hart alone. It must never touch a cache: that
//! the hart's address spaces may have changed is the engine's to remember.
//!
//! What `mtval` or `stval` holds afterwards (privileged manual, "Machine Trap Value Register"; where it
//! leaves a choice we do as QEMU's `virt` machine, which is the reference we are compared with):
//!
//! - of an illegal instruction: its bits, zero-extended;
//! - of `ebreak`: its pc;
//! - of `ecall` and of an interrupt: 0;
//! - of a fault or a misaligned access: the virtual address of the part of the access that faulted, which is
//!   the start of the second page if an access or instruction crosses into that page and faults there.
//!
//! A trap and a return from one end the LR/SC reservation, as in QEMU: no SC succeeds with the reservation of
//! other code.

use crate::{
    Hart,
    csr::{self, status},
    privilege::Privilege,
};

/// The synchronous exceptions that exist here, with the manual's names and codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exception {
    InstructionAccessFault = 1,
    IllegalInstruction = 2,
    Breakpoint = 3,
    LoadAddressMisaligned = 4,
    LoadAccessFault = 5,
    StoreAddressMisaligned = 6,
    StoreAccessFault = 7,
    EcallFromUser = 8,
    EcallFromSupervisor = 9,
    EcallFromMachine = 11,
    InstructionPageFault = 12,
    LoadPageFault = 13,
    StorePageFault = 15,
}

/// An exception that an instruction has raised, before it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// What happened.
    pub exception: Exception,
    /// What goes into `mtval` or `stval`.
    pub value: u64,
}

impl Trap {
    /// An exception with its value.
    #[must_use]
    pub const fn new(exception: Exception, value: u64) -> Trap {
        Trap { exception, value }
    }
}

/// The interrupt bit of `xcause`.
const INTERRUPT: u64 = 1 << 63;
/// The codes of the interrupts in falling priority: MEI, MSI, MTI, SEI, SSI, STI.
const PRIORITY: [u64; 6] = [11, 3, 7, 9, 1, 5];

impl Hart {
    /// Takes an exception: the instruction at `pc` did not complete.
    pub fn raise(&mut self, trap: Trap) {
        self.exceptions = self.exceptions.wrapping_add(1);
        let code = trap.exception as u64;
        let delegated = self.csr.medeleg >> code & 1 != 0;
        self.enter(code, trap.value, delegated);
    }

    /// The interrupt to take before the next instruction, given the value of `mip`
    /// (privileged manual, "Machine Interrupt Registers").
    #[must_use]
    pub fn interrupt_due(&self, pending: u64) -> Option<u64> {
        let ready = pending & self.csr.mie;
        if ready == 0 {
            return None;
        }
        let machine = self.privilege < Privilege::Machine || self.csr.mstatus & status::MIE != 0;
        let supervisor = match self.privilege {
            Privilege::User => true,
            Privilege::Supervisor => self.csr.mstatus & status::SIE != 0,
            Privilege::Machine => false,
        };
        let for_machine = if machine { ready & !self.csr.mideleg } else { 0 };
        let for_supervisor = if supervisor { ready & self.csr.mideleg } else { 0 };
        let takes = if for_machine == 0 {
            for_supervisor
        } else {
            for_machine
        };
        PRIORITY.into_iter().find(|&code| takes >> code & 1 != 0)
    }

    /// Takes an interrupt that [`Hart::interrupt_due`] named.
    pub fn interrupt(&mut self, code: u64) {
        let delegated = self.csr.mideleg >> code & 1 != 0;
        self.enter(INTERRUPT | code, 0, delegated);
    }

    /// Goes to the handler of the mode that takes the trap (privileged manual, "Machine Status Registers").
    fn enter(&mut self, cause: u64, value: u64, delegated: bool) {
        let from = self.privilege;
        self.reservation = None;
        let csr = &mut self.csr;
        let vector = if delegated && from < Privilege::Machine {
            csr.sepc = self.pc;
            csr.scause = cause;
            csr.stval = value;
            let by_supervisor = from == Privilege::Supervisor;
            csr.mstatus = disabled(csr.mstatus & !status::SPP, status::SIE, status::SPIE);
            csr.mstatus |= if by_supervisor { status::SPP } else { 0 };
            self.privilege = Privilege::Supervisor;
            csr.stvec
        } else {
            csr.mepc = self.pc;
            csr.mcause = cause;
            csr.mtval = value;
            csr.mstatus = disabled(csr.mstatus & !status::MPP, status::MIE, status::MPIE);
            csr.mstatus |= (from as u64) << status::MPP_SHIFT;
            self.privilege = Privilege::Machine;
            csr.mtvec
        };
        let vectored = vector & 1 != 0 && cause & INTERRUPT != 0;
        let offset = if vectored {
            (cause & !INTERRUPT).wrapping_mul(4)
        } else {
            0
        };
        self.pc = (vector & !3).wrapping_add(offset);
    }

    /// Does `mret`; false if it is illegal here, and nothing was done.
    #[must_use]
    pub fn return_from_machine(&mut self) -> bool {
        if self.privilege != Privilege::Machine {
            return false;
        }
        let status = self.csr.mstatus;
        let to = Privilege::from_bits(status >> status::MPP_SHIFT).unwrap_or(Privilege::User);
        let mut next = enabled_again(status & !status::MPP, status::MIE, status::MPIE);
        if to < Privilege::Machine {
            next &= !status::MPRV;
        }
        self.go_back(next, to, self.csr.mepc);
        true
    }

    /// Does `sret`; false if it is illegal here, and nothing was done.
    #[must_use]
    pub fn return_from_supervisor(&mut self) -> bool {
        let status = self.csr.mstatus;
        let trapped = self.privilege == Privilege::Supervisor && status & status::TSR != 0;
        if self.privilege < Privilege::Supervisor || trapped {
            return false;
        }
        let to = if status & status::SPP != 0 {
            Privilege::Supervisor
        } else {
            Privilege::User
        };
        let left = status & !(status::SPP | status::MPRV);
        let next = enabled_again(left, status::SIE, status::SPIE);
        self.go_back(next, to, self.csr.sepc);
        true
    }

    fn go_back(&mut self, status: u64, to: Privilege, pc: u64) {
        self.csr.mstatus = status;
        self.privilege = to;
        self.reservation = None;
        self.pc = pc & csr::PC_MASK;
    }
}

/// The status with interrupts disabled: the bit that enables them moves to the one that keeps it during a
/// trap.
const fn disabled(status: u64, enable: u64, kept: u64) -> u64 {
    let next = status & !(enable | kept);
    if status & enable != 0 { next | kept } else { next }
}

/// The status after a trap: the bit that enables interrupts is what was kept of it, and what is kept is set.
const fn enabled_again(status: u64, enable: u64, kept: u64) -> u64 {
    let next = status & !enable | kept;
    if status & kept != 0 { next | enable } else { next }
}
