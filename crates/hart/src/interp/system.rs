//! CSR instructions, calls, returns, WFI, SFENCE.VMA and its parts (manual, chapter "Zicsr"; privileged
//! manual, "Machine-Mode Privileged Instructions", "Supervisor Instructions" and "Svinval").
//!
//! Here it is decided whether the hart may execute them in its mode. What a CSR takes of a value is in `csr`,
//! what a trap or a return from one does in `trap`.

use super::{Core, Flow};
use crate::{
    csr::{self, After, status},
    op::{Code, Op},
    privilege::Privilege,
    trap::{Exception, Trap},
};

impl Core<'_> {
    /// Does one of the six CSR instructions; `op.imm` holds its bits.
    #[inline(never)]
    pub(super) fn csr(&mut self, op: Op) -> Flow {
        self.count(self.step());
        match self.csr_access(op) {
            None => self.raise(Trap::new(Exception::IllegalInstruction, u64::from(op.imm as u32))),
            Some(After::Nothing) => Flow::Next,
            Some(After::Check) => Flow::Check,
            Some(After::Attention) => {
                self.attention = true;
                Flow::Check
            }
        }
    }

    /// Reads and writes the CSR; `None`: the instruction is illegal, and nothing was done.
    fn csr_access(&mut self, op: Op) -> Option<After> {
        let bits = op.imm as u32;
        let address = bits >> 20;
        let immediate = bits >> 14 & 1 != 0;
        let operand = if immediate {
            op.rs1() as u64
        } else {
            self.x[op.rs1()]
        };
        // CSRRS and CSRRC with x0 or 0 do not write at all.
        let kind = bits >> 12 & 3;
        let writes = kind == 1 || op.rs1() != 0;
        if !csr::permitted(self.hart, address, writes) {
            return None;
        }
        let old = csr::read(self.hart, self.bus, self.step(), address)?;
        let after = if writes {
            let before = csr::modified(self.hart, address, old);
            let new = match kind {
                1 => operand,
                2 => before | operand,
                _ => before & !operand,
            };
            csr::write(self.hart, address, new)?
        } else {
            After::Nothing
        };
        self.set_x(op.rd(), old);
        Some(after)
    }

    /// Does the other system instructions, and raises the exception of illegal ones.
    #[inline(never)]
    pub(super) fn system(&mut self, op: Op) -> Flow {
        let privilege = self.hart.privilege;
        let mstatus = self.hart.csr.mstatus;
        let legal = match op.code {
            Code::Ecall => {
                let exception = match privilege {
                    Privilege::User => Exception::EcallFromUser,
                    Privilege::Supervisor => Exception::EcallFromSupervisor,
                    Privilege::Machine => Exception::EcallFromMachine,
                };
                return self.raise(Trap::new(exception, 0));
            }
            Code::Ebreak => return self.raise(Trap::new(Exception::Breakpoint, self.pc())),
            Code::Sret if self.hart.return_from_supervisor() => return Flow::Jump,
            Code::Mret if self.hart.return_from_machine() => return Flow::Jump,
            Code::Wfi => {
                let timeout = privilege == Privilege::Supervisor && mstatus & status::TW != 0;
                if privilege > Privilege::User && !timeout {
                    if self.hart.wakes(self.bus, self.step()) {
                        return Flow::Next;
                    }
                    self.hart.waiting = true;
                    return Flow::Wait;
                }
                false
            }
            // A fence has nothing to do, as translations are always up to date.
            Code::SfenceVma | Code::SinvalVma => match privilege {
                Privilege::User => false,
                Privilege::Supervisor => mstatus & status::TVM == 0,
                Privilege::Machine => true,
            },
            // These order what `sinval.vma` does. TVM does not concern them.
            Code::SfenceWInval | Code::SfenceInvalIr => privilege > Privilege::User,
            _ => false,
        };
        if legal {
            return Flow::Next;
        }
        self.raise(Trap::new(Exception::IllegalInstruction, u64::from(op.imm as u32)))
    }
}
