//! Between the interpreter and generated code: the one enters the other, which has it do what is not translated.

use super::{Core, Flow, Stretch, code::SLOTS, int::address};
use crate::{
    csr::{pending, status},
    jit::{self, Field, OPS_MAX, Resume, Translations},
    op::{BlockKind, Code, Op},
    trap::Privilege,
};

/// How far generated code came.
pub(super) struct Ran {
    pub pc: u64,
    pub left: u64,
}

impl Core<'_> {
    /// Runs generated code from `pc` on, whose place is known; `None` if there is none. `self.stopped` may say that the stretch
    /// has ended.
    #[inline]
    pub(super) fn run_translated(&mut self, pc: u64, left: u64) -> Option<Ran> {
        let slot = (pc & 0xfff) as usize >> 1;
        // A superblock counts all its steps before it begins.
        if left < OPS_MAX as u64 && !self.caches.translates_all || slot >= SLOTS {
            return None;
        }
        let code = self
            .caches
            .code
            .translated(self.arena, self.ram, self.place, slot)?;
        self.x[Field::Page as usize] = self.page_pc;
        self.x[Field::Left as usize] = left;
        self.x[Field::Csrs as usize] = &raw mut self.hart.csr as u64;
        self.x[Field::Float as usize] = self.hart.f.as_mut_ptr() as u64;
        self.show_tables();
        self.show_float();
        jit::run(self, code);
        Some(Ran {
            pc: self.x[Field::Pc as usize],
            left: self.x[Field::Left as usize],
        })
    }

    fn show_tables(&mut self) {
        let mmu = &self.caches.mmu;
        let tables = mmu.tlb.tables(mmu.data_set, mmu.fetch_set);
        self.x[Field::Data as usize] = tables.data as u64;
        self.x[Field::Fetch as usize] = tables.fetch as u64;
        self.x[Field::Supervisor as usize] = u64::from(self.hart.privilege > Privilege::User);
        // Writing `menvcfg` or `senvcfg` changes it for other modes only, and those are entered by a look around.
        let zeroes = self.hart.csr.permits(self.hart.privilege, BlockKind::Zero);
        self.x[Field::Zeroes as usize] = u64::from(zeroes);
    }

    fn show_float(&mut self) {
        self.x[Field::FloatOn as usize] = u64::from(!self.hart.csr.float_off());
        self.x[Field::FloatDirty as usize] = u64::from(self.hart.csr.is_float_dirty());
        self.x[Field::FloatPlain as usize] = u64::from(self.hart.csr.is_float_plain());
    }

    /// Changes when something is dropped that generated code may rely on.
    fn drops(&self) -> u64 {
        let code = &self.caches.code;
        self.caches.mmu.tlb.drops() + code.translations.as_ref().map_or(0, Translations::changes)
    }

    /// Generated code is left, at `pc`.
    fn resume_elsewhere(&mut self, pc: u64) -> Resume {
        self.x[Field::Pc as usize] = pc;
        self.x[Field::Left as usize] = self.left;
        Resume::Leave
    }

    /// The stretch ends, and generated code is left.
    fn end(&mut self, stretch: Stretch) -> Resume {
        self.stopped = Some(stretch);
        Resume::Leave
    }

    /// What the loop in `run` does between two stretches, for generated code that goes on. False if the loop has to do it.
    fn look(&mut self) -> bool {
        let pending = pending(self.hart, self.bus, self.now);
        if self.attention || self.hart.interrupt_due(pending).is_some() {
            return false;
        }
        self.settle();
        self.caches.mmu.select_again(self.hart, self.ram);
        self.show_tables();
        self.show_float();
        true
    }

    fn jump(&mut self) -> Resume {
        if !self.look() {
            return self.end(Stretch::Check);
        }
        self.x[Field::Pc as usize] = self.hart.pc;
        self.x[Field::Left as usize] = self.left;
        Resume::Jump
    }
}

impl jit::Engine for Core<'_> {
    fn words(&mut self) -> &mut [u64; jit::WORDS] {
        &mut self.x
    }

    fn translations(&mut self) -> Option<&mut Translations> {
        self.caches.code.translations.as_mut()
    }

    fn interpret(&mut self, place: usize, slot: usize, left: u64) -> Resume {
        self.place = place;
        self.page_pc = self.x[Field::Page as usize];
        self.slot = slot;
        self.left = left;
        let op = self.arena.slots(place)[slot].get();
        let drops = self.drops();
        let status = self.hart.csr.mstatus;
        let flow = self.rare(op);
        let next = address(self.page_pc, slot + op.halves());
        match flow {
            Flow::Next => {
                if matches!(op.code, Code::Float | Code::Flw | Code::Fld | Code::Csr) {
                    self.show_float();
                }
            }
            Flow::Check if is_status(op) && is_quiet(status, self.hart.csr.mstatus) => self.show_float(),
            Flow::Check => {
                let stretch = self.stop(flow, op);
                if is_protection(op) || !self.look() {
                    return self.end(stretch);
                }
            }
            Flow::Trap => {
                self.stop(flow, op);
                self.hart.raise(self.trap);
                return self.jump();
            }
            Flow::Jump => {
                self.stop(flow, op);
                return self.jump();
            }
            Flow::Refetch => return self.resume_elsewhere(next),
            // Not decoded any more: an instruction that is done by nobody.
            Flow::Again => {
                self.left += 1;
                return self.resume_elsewhere(address(self.page_pc, slot));
            }
            Flow::Wait => {
                let stretch = self.stop(flow, op);
                return self.end(stretch);
            }
        }
        if self.drops() == drops {
            Resume::Next
        } else {
            self.resume_elsewhere(next)
        }
    }
}

/// Does it write a register of the PMP, perhaps?
fn is_protection(op: Op) -> bool {
    op.code == Code::Csr && matches!(op.imm as u32 >> 20, 0x3a0..=0x3ef)
}

/// Does it access `sstatus`?
fn is_status(op: Op) -> bool {
    op.code == Code::Csr && op.imm as u32 >> 20 == 0x100
}

/// Does this change of `mstatus` neither touch an address space nor let an interrupt in?
fn is_quiet(before: u64, after: u64) -> bool {
    let changed = before ^ after;
    changed & (status::SUM | status::MXR) == 0 && changed & after & status::SIE == 0
}
