//! Between the interpreter and generated code: the one enters the other, which has it do what is not translated.

use super::{Caches, Core, Flow, Stretch, code::SLOTS, int::address};
use crate::{
    csr::{pending, status},
    jit::{self, Field, Found, NOTHING, OPS_MAX, Resume, Translations},
    op::{BlockKind, Code, Op},
    profile::Why,
    tlb::Place,
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
        if self.meter.is_some() {
            self.meter_interpreted(left);
        }
        // A superblock counts all its steps before it begins.
        if left < OPS_MAX as u64 && !self.caches.translates_all || slot >= SLOTS {
            self.blame(Why::Tail);
            return None;
        }
        let code = match self.caches.code.find(self.place, slot) {
            Found::Code(code) => code,
            Found::Hot => self.make(pc, slot)?,
            Found::Cold => {
                self.blame(Why::Cold);
                return None;
            }
            Found::Never => {
                self.blame(Why::Never);
                return None;
            }
        };
        self.x[Field::Page as usize] = self.page_pc;
        self.x[Field::Left as usize] = left;
        self.x[Field::Csrs as usize] = &raw mut self.hart.csr as u64;
        self.x[Field::Float as usize] = self.hart.f.as_mut_ptr() as u64;
        self.x[Field::Ram as usize] = self.ram.base() as u64;
        self.show_reservation();
        self.show_tables();
        self.show_status();
        self.show_frames();
        jit::run(self, code);
        self.leave_frames();
        self.take_reservation();
        if self.meter.is_some() {
            self.meter_entered(self.x[Field::Left as usize]);
        }
        Some(Ran {
            pc: self.x[Field::Pc as usize],
            left: self.x[Field::Left as usize],
        })
    }

    fn show_tables(&mut self) {
        let mmu = &self.caches.mmu;
        let tables = mmu.table_addresses();
        self.x[Field::Data as usize] = tables.data as u64;
        self.x[Field::Fetch as usize] = tables.fetch as u64;
        let privilege = self.hart.privilege;
        let traps = self.hart.csr.mstatus & status::TVM != 0;
        let fences = privilege == Privilege::Machine || privilege == Privilege::Supervisor && !traps;
        self.x[Field::Supervisor as usize] = u64::from(privilege > Privilege::User);
        self.x[Field::Fences as usize] = u64::from(fences);
        // Writing `menvcfg` or `senvcfg` changes it for other modes only, and those are entered by a look around.
        let zeroes = self.hart.csr.permits(privilege, BlockKind::Zero);
        self.x[Field::Zeroes as usize] = u64::from(zeroes);
    }

    fn show_frames(&mut self) {
        let Caches { mmu, code, .. } = &mut *self.caches;
        if let Some(translations) = &mut code.translations {
            let (set, stamp) = mmu.fetches();
            self.x[Field::Frames as usize] = translations.frames.last(set.number(), stamp.number());
        }
    }

    fn leave_frames(&mut self) {
        let Caches { mmu, code, .. } = &mut *self.caches;
        if let Some(translations) = &mut code.translations {
            let (set, _) = mmu.fetches();
            translations
                .frames
                .leave(set.number(), self.x[Field::Frames as usize]);
        }
    }

    fn show_reservation(&mut self) {
        self.x[Field::Reserved as usize] = self.hart.reservation.unwrap_or(NOTHING);
    }

    fn take_reservation(&mut self) {
        let reserved = self.x[Field::Reserved as usize];
        self.hart.reservation = (reserved != NOTHING).then_some(reserved);
    }

    fn show_status(&mut self) {
        self.x[Field::Calm as usize] = u64::from(self.calm);
        self.x[Field::StatusConstants as usize] = self.hart.csr.status_constants();
        let csr = &self.hart.csr;
        let dirty = u64::from(csr.is_float_dirty()) << 63;
        let mode = if csr.is_float_plain() { u64::MAX } else { 0 };
        self.x[Field::FloatOn as usize] = u64::from(!csr.float_off());
        self.x[Field::FloatDirty as usize] = dirty;
        self.x[Field::FloatMode as usize] = mode;
        self.x[Field::FloatPlain as usize] = dirty & mode;
    }

    /// Changes when something is dropped that generated code may rely on.
    fn drops(&self) -> u64 {
        let code = &self.caches.code;
        self.caches.mmu.drops() + code.translations.as_ref().map_or(0, Translations::changes)
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
        if !self.calm || self.check || self.attention {
            let pending = pending(self.hart, self.bus, self.now);
            if self.attention || self.hart.interrupt_due(pending).is_some() {
                return false;
            }
            self.calm = pending & self.hart.csr.mie == 0;
        }
        self.settle();
        self.leave_frames();
        self.caches.mmu.select_again(self.hart, self.ram);
        self.show_frames();
        self.show_tables();
        self.show_status();
        true
    }

    fn jump(&mut self) -> Resume {
        if !self.look() {
            return self.end(Stretch::Check);
        }
        self.resume_at(self.hart.pc)
    }

    /// Generated code looks for what to go on with.
    fn resume_at(&mut self, pc: u64) -> Resume {
        self.x[Field::Pc as usize] = pc;
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
        self.take_reservation();
        let resume = self.interpret_one(place, slot, left);
        self.show_reservation();
        resume
    }
}

impl Core<'_> {
    fn interpret_one(&mut self, place: usize, slot: usize, left: u64) -> Resume {
        self.place = Place(place);
        self.page_pc = self.x[Field::Page as usize];
        self.slot = slot;
        self.left = left;
        let op = self.arena.slots(self.place)[slot].get();
        let drops = self.drops();
        let flow = self.rare(op);
        if let Some(meter) = &mut self.meter
            && flow != Flow::Again
        {
            meter.help(op);
        }
        let next = address(self.page_pc, slot + op.halves());
        match flow {
            Flow::Next => {
                if matches!(op.code, Code::Float | Code::Flw | Code::Fld | Code::Csr) {
                    self.show_status();
                }
            }
            Flow::Check => {
                self.calm = false;
                let stretch = self.stop(flow, op);
                let (set, _) = self.caches.mmu.fetches();
                if is_protection(op) || !self.look() {
                    return self.end(stretch);
                }
                // In another address space, another page may follow.
                if self.caches.mmu.fetches().0 != set {
                    return self.resume_at(next);
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
        if self.drops() == drops && !jit::ends(op) {
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
