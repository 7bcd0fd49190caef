//! Between the interpreter and generated code: the dispatch loop enters generated code here, and generated
//! code has the interpreter do here what is not translated.
//!
//! While generated code runs, the registers' array `Core::x` is shared: after the registers lie the fields
//! of [`jit::Workspace`], which tell it what it needs to know of the hart, the TLB and RAM. Each `show_...`
//! writes some of them. Whatever is done here must leave the fields as true as it found them, or leave
//! generated code.

use super::{Caches, Core, Flow, Stretch, code::SLOTS, int::address, meter::Meter};
use crate::{
    Step,
    csr::{number, status},
    fpu::Flags,
    jit::{self, Found, NOTHING, Resume, STATUS_CLEAN, Translations},
    op::{BlockKind, Code, Op},
    privilege::Privilege,
    profile::{Part, Place, Why},
    tlb::CodePlace,
};

/// With fewer steps left than this, generated code is not entered.
const STEPS_MIN: u64 = 64;

/// How far generated code came.
pub(super) struct Ran {
    /// The address of the next instruction.
    pub pc: u64,
    /// How many steps of the chunk are left.
    pub left: u64,
}

impl Core<'_> {
    /// Runs generated code from `pc` on, whose page is the present one (`self.place`), with `left` steps
    /// left. `None`: there is no code, and the instruction is to be interpreted. Afterwards `self.stopped`
    /// may say that the stretch has ended.
    #[inline]
    pub(super) fn run_translated(&mut self, pc: u64, left: u64) -> Option<Ran> {
        let slot = (pc & 0xfff) as usize >> 1;
        if self.meter.is_some() {
            self.meter_interpreted(left);
        }
        // A superblock counts all its steps before it begins, and hardly any has more than these.
        if left < STEPS_MIN && !self.caches.translates_all || slot >= SLOTS {
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
        self.x.page = self.page_pc;
        self.x.left = left;
        self.x.csrs = &raw mut self.hart.csr as u64;
        self.x.float = self.hart.f.as_mut_ptr() as u64;
        self.x.ram = self.ram.base() as u64;
        self.show_reservation();
        self.show_tables();
        self.x.float_live = 0;
        self.show_status();
        self.show_frames();
        jit::run(self, code);
        self.leave_frames();
        self.take_reservation();
        self.take_flags();
        if self.meter.is_some() {
            self.meter_entered(self.x.left);
        }
        Some(Ran {
            pc: self.x.pc,
            left: self.x.left,
        })
    }

    /// Tells the meter that the dispatch loop is where `left` steps are left: those since the last time were
    /// interpreted.
    #[cold]
    fn meter_interpreted(&mut self, left: u64) {
        let to = Step(self.chunk_end.0 - left);
        if let Some(meter) = &mut self.meter {
            meter.interpreted(to);
        }
    }

    /// Tells the meter that generated code was left, where `left` steps are left unless the stretch has
    /// ended.
    #[cold]
    fn meter_entered(&mut self, left: u64) {
        let to = match self.stopped {
            Some(_) => self.now,
            None => Step(self.chunk_end.0 - left),
        };
        if let Some(meter) = &mut self.meter {
            meter.entered(to);
        }
    }

    /// Tells the meter why what follows is interpreted.
    #[cold]
    fn blame(&mut self, why: Why) {
        if let Some(meter) = &mut self.meter {
            meter.blame(why);
        }
    }

    /// Makes a superblock of what begins at a slot of the present page, whose address is `pc`, and tells
    /// whoever watches.
    #[cold]
    fn make(&mut self, pc: u64, slot: usize) -> Option<jit::Code> {
        let began = self.meter.as_ref().map(Meter::clock);
        let Caches { mmu, code, .. } = &mut *self.caches;
        let page = (self.page_pc, self.place);
        let code = code.make(self.arena, mmu, self.ram, page, slot, &self.x.guest());
        if let (Some(meter), Some(began)) = (&mut self.meter, began) {
            meter.translated(began);
        }
        if let (Some(_), Some(map)) = (code, &mut self.map)
            && let Some(translations) = &self.caches.code.translations
        {
            let place = Place::of(self.hart, pc);
            let [(hot, hot_size), (cold, cold_size)] = translations.newest();
            map.made(hot, hot_size, Part::Hot(place));
            if cold_size > 0 {
                map.made(cold, cold_size, Part::Cold(place));
            }
        }
        code
    }

    /// Shows what depends on the hart's address spaces and privilege.
    fn show_tables(&mut self) {
        let mmu = &self.caches.mmu;
        self.x.data = mmu.data_address() as u64;
        self.x.fetch = mmu.fetch_address() as u64;
        let privilege = self.hart.privilege;
        let traps = self.hart.csr.mstatus & status::TVM != 0;
        let fences = privilege == Privilege::Machine || privilege == Privilege::Supervisor && !traps;
        self.x.supervisor = u64::from(privilege > Privilege::User);
        self.x.fences = u64::from(fences);
        // Writing `menvcfg` or `senvcfg` changes what less privileged modes may do, and the hart enters these
        // only by way of `look`.
        let zeroes = self.hart.csr.permits(privilege, BlockKind::Zero);
        self.x.zeroes = u64::from(zeroes);
    }

    /// Shows the last frame of the present set: the guest's calls that its returns come back to.
    fn show_frames(&mut self) {
        let Caches { mmu, code, .. } = &mut *self.caches;
        if let Some(translations) = &mut code.translations {
            let (set, stamp) = mmu.fetches();
            self.x.frames = translations.frames.last(set.number(), stamp.number());
        }
    }

    /// Keeps the last frame of the present set, which is about to be left.
    fn leave_frames(&mut self) {
        let Caches { mmu, code, .. } = &mut *self.caches;
        if let Some(translations) = &mut code.translations {
            let (set, _) = mmu.fetches();
            translations.frames.leave(set.number(), self.x.frames);
        }
    }

    /// Shows the reservation, which is in a field while generated code runs.
    fn show_reservation(&mut self) {
        self.x.reserved = self.hart.reservation.unwrap_or(NOTHING);
    }

    /// Takes the reservation back into the hart.
    fn take_reservation(&mut self) {
        let reserved = self.x.reserved;
        self.hart.reservation = (reserved != NOTHING).then_some(reserved);
    }

    /// Takes the floating-point flags that generated code has raised into the hart.
    fn take_flags(&mut self) {
        if self.x.float_live != 0 {
            let flags = Flags::of_host(self.x.float_status as u32);
            self.hart.csr.fcsr |= u64::from(flags.0);
            self.x.float_status = STATUS_CLEAN;
        }
    }

    /// Shows what generated code may do with `sstatus` and floating point.
    fn show_status(&mut self) {
        self.x.calm = u64::from(self.calm);
        self.x.status_constants = self.hart.csr.status_constants();
        let csr = &self.hart.csr;
        let dirty = u64::from(csr.is_float_dirty()) << 63;
        let mode = if csr.is_float_plain() { u64::MAX } else { 0 };
        self.x.float_on = u64::from(!csr.float_off());
        self.x.float_dirty = dirty;
        self.x.float_mode = mode;
        self.x.float_plain = dirty & mode;
        self.x.float_ready = u64::from(dirty & mode != 0 && self.x.float_live != 0);
    }

    /// A number that grows when something is dropped that generated code may rely on.
    fn drops(&self) -> u64 {
        let code = &self.caches.code;
        self.caches.mmu.drops() + code.translations.as_ref().map_or(0, Translations::changes)
    }

    /// Has generated code leave, at `pc`.
    fn resume_elsewhere(&mut self, pc: u64) -> Resume {
        self.x.pc = pc;
        self.x.left = self.left;
        Resume::Leave
    }

    /// Has generated code leave because the stretch ends.
    fn end(&mut self, stretch: Stretch) -> Resume {
        self.stopped = Some(stretch);
        Resume::Leave
    }

    /// Does what the loop in `run` does between two stretches, for generated code that goes on. False: the
    /// loop has to do it, as an interrupt is due or the machine must look.
    fn look(&mut self) -> bool {
        if !self.calm || self.check || self.attention {
            let pending = self.hart.pending(self.bus, self.now);
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

    /// Has generated code go on at `hart.pc`, after a trap or a return from one, if the loop in `run` has
    /// nothing to do.
    fn jump(&mut self) -> Resume {
        if !self.look() {
            return self.end(Stretch::Check);
        }
        self.resume_at(self.hart.pc)
    }

    /// Has generated code look up what to go on with at `pc`.
    fn resume_at(&mut self, pc: u64) -> Resume {
        self.x.pc = pc;
        self.x.left = self.left;
        Resume::Jump
    }
}

impl jit::Engine for Core<'_> {
    fn workspace(&mut self) -> &mut jit::Workspace {
        &mut self.x
    }

    fn translations(&mut self) -> Option<&mut Translations> {
        self.caches.code.translations.as_mut()
    }

    fn interpret(&mut self, place: usize, slot: usize, left: u64) -> Resume {
        self.take_reservation();
        self.take_flags();
        let resume = self.interpret_one(place, slot, left);
        self.show_reservation();
        resume
    }
}

impl Core<'_> {
    /// Does the instruction at a slot of a place, with `left` steps left after it, and says how generated
    /// code goes on.
    fn interpret_one(&mut self, place: usize, slot: usize, left: u64) -> Resume {
        self.place = CodePlace(place);
        self.page_pc = self.x.page;
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
            // The slot had to be decoded again: nothing was done, so the step is given back.
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

/// May the op write a register of the PMP?
fn is_protection(op: Op) -> bool {
    op.code == Code::Csr && matches!(op.imm as u32 >> 20, number::PMPCFG0..=number::PMPADDR63)
}
