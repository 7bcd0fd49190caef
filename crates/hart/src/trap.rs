//! Exceptions and interrupts: what is raised, who takes it, and the way back.
//!
//! What `xtval` holds (privileged manual, "Machine Trap Value Register"; where it leaves a choice we do
//! as QEMU's `virt` machine, which is the reference we are compared with):
//! illegal instruction: its bits, zero-extended; `ebreak`: its pc; `ecall`: 0; faults and misalignment:
//! the virtual address of the part of the access that faulted (for an access or instruction that crosses
//! into a faulting second page, the start of that page); interrupts: 0.
//!
//! A trap and a return from one end the LR/SC reservation, as in QEMU: no SC succeeds with the reservation of
//! another context.

use crate::{
    Hart,
    csr::{self, status},
    privilege::Privilege,
};

/// Synchronous exceptions, with the manual's codes.
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

/// An exception about to be taken.
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
/// Interrupts in falling priority: MEI, MSI, MTI, SEI, SSI, STI.
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

    fn enter(&mut self, cause: u64, value: u64, delegated: bool) {
        let from = self.privilege;
        self.reservation = None;
        let csr = &mut self.csr;
        let status = csr.mstatus;
        let vector = if delegated && from < Privilege::Machine {
            csr.sepc = self.pc;
            csr.scause = cause;
            csr.stval = value;
            let mut next = status & !(status::SPP | status::SPIE | status::SIE);
            next |= if from == Privilege::Supervisor {
                status::SPP
            } else {
                0
            };
            next |= if status & status::SIE != 0 {
                status::SPIE
            } else {
                0
            };
            csr.mstatus = next;
            self.privilege = Privilege::Supervisor;
            csr.stvec
        } else {
            csr.mepc = self.pc;
            csr.mcause = cause;
            csr.mtval = value;
            let mut next = status & !(status::MPP | status::MPIE | status::MIE);
            next |= (from as u64) << status::MPP_SHIFT;
            next |= if status & status::MIE != 0 {
                status::MPIE
            } else {
                0
            };
            csr.mstatus = next;
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

    /// `mret`; false if it is illegal here.
    #[must_use]
    pub fn return_from_machine(&mut self) -> bool {
        if self.privilege != Privilege::Machine {
            return false;
        }
        let status = self.csr.mstatus;
        let to = Privilege::from_bits(status >> status::MPP_SHIFT).unwrap_or(Privilege::User);
        let mut next = status & !(status::MIE | status::MPP);
        next |= if status & status::MPIE != 0 {
            status::MIE
        } else {
            0
        };
        next |= status::MPIE;
        if to < Privilege::Machine {
            next &= !status::MPRV;
        }
        self.csr.mstatus = next;
        self.privilege = to;
        self.reservation = None;
        self.pc = self.csr.mepc & csr::PC_MASK;
        true
    }

    /// `sret`; false if it is illegal here.
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
        let mut next = status & !(status::SIE | status::SPP | status::MPRV);
        next |= if status & status::SPIE != 0 {
            status::SIE
        } else {
            0
        };
        next |= status::SPIE;
        self.csr.mstatus = next;
        self.privilege = to;
        self.reservation = None;
        self.pc = self.csr.sepc & csr::PC_MASK;
        true
    }
}
