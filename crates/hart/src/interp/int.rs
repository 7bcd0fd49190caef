//! The dispatch loop, with the integer instructions in it (chapters "RV32I", "RV64I", "M", "B").
//!
//! The loop fetches one decoded op after the other and does it, until the chunk of steps is used up or
//! something happens that needs a look at interrupts and address spaces. Arithmetic that is more than one
//! operator is in `arithmetic`. Memory accesses that the TLB knows are done here; whatever is rarer leaves
//! the loop through a function of its own and comes back with a [`Flow`].
//!
//! Nothing may be put into the loop without measuring: it is what the interpreter's speed depends on.

use super::{
    Core, Flow, Stretch,
    arithmetic::{compute, multiply_divide, word},
    code::SLOTS,
};
use crate::{
    Step,
    op::{Code, Op, halves},
    trap::{Exception, Trap},
};

/// The instructions of M that are more than one operator.
macro_rules! multiply_divide {
    () => {
        Code::Mulh
            | Code::Mulhsu
            | Code::Mulhu
            | Code::Div
            | Code::Divu
            | Code::Rem
            | Code::Remu
            | Code::Divw
            | Code::Divuw
            | Code::Remw
            | Code::Remuw
    };
}

/// Bit manipulation with a second source register that has no arm of its own in the dispatch loop.
macro_rules! rarer_of_two {
    () => {
        Code::Sh1addUw
            | Code::Sh2addUw
            | Code::Sh3addUw
            | Code::Orn
            | Code::Xnor
            | Code::Maxu
            | Code::Rol
            | Code::Ror
            | Code::Rolw
            | Code::Rorw
            | Code::Bclr
            | Code::Bext
            | Code::Binv
            | Code::Bset
    };
}
/// Bit manipulation without a second source register that has no arm of its own in the dispatch loop.
macro_rules! rarer_of_one {
    () => {
        Code::SlliUw
            | Code::Rori
            | Code::Roriw
            | Code::Cpop
            | Code::Clzw
            | Code::Ctzw
            | Code::Cpopw
            | Code::SextB
            | Code::OrcB
            | Code::Bclri
            | Code::Binvi
            | Code::Bseti
    };
}

impl Core<'_> {
    /// Executes instructions from `hart.pc` on until the chunk ends or something happens that ends the
    /// stretch. `now` and `hart.pc` are exact then. `TRANSLATE`: generated code is entered where there is
    /// some.
    #[inline(never)]
    pub(super) fn execute<const TRANSLATE: bool>(&mut self) -> Stretch {
        // Steps to the end of the chunk, not counting the instruction in hand.
        let mut left = self.chunk_end.since(self.now);
        let mut pc = self.hart.pc;
        let arena = self.arena;
        // If generated code has done nothing, one instruction at least is interpreted.
        let mut interpret = false;
        'page: loop {
            if left == 0 {
                return self.leave(pc, left, Stretch::Chunk);
            }
            let known = self.caches.mmu.known_fetch(pc);
            let place = match known.map_or_else(|| self.find_code(pc), Ok) {
                Ok(place) => place,
                Err(trap) => return self.leave(pc, left - 1, Stretch::Trap(trap)),
            };
            let slots = arena.slots(place);
            let page_pc = pc & !0xfff;
            let mut slot = (pc & 0xfff) as usize >> 1;
            self.place = place;
            self.page_pc = page_pc;
            if TRANSLATE
                && !std::mem::take(&mut interpret)
                && let Some(ran) = self.run_translated(pc, left)
            {
                if let Some(stretch) = self.stopped.take() {
                    return stretch;
                }
                interpret = ran.left == left;
                (pc, left) = (ran.pc, ran.left);
                continue 'page;
            }
            'instruction: loop {
                let Some(rest) = left.checked_sub(1) else {
                    self.slot = slot;
                    return self.leave(self.pc(), 0, Stretch::Chunk);
                };
                left = rest;
                let mut op = &slots[slot];

                macro_rules! x {
                    ($register:ident) => {
                        self.x[op.$register.get() as usize]
                    };
                }
                // These write the destination register and go on, for an instruction without and with a
                // second source register, whose length is in different fields. An instruction that would
                // write x0 was decoded as something else.
                macro_rules! one {
                    ($value:expr) => {{
                        self.x[op.rd.get() as usize] = $value;
                        slot += op.rs2.get() as usize;
                        continue 'instruction;
                    }};
                }
                macro_rules! two {
                    ($value:expr) => {{
                        self.x[op.rd.get() as usize] = $value;
                        slot += halves(op.imm.get());
                        continue 'instruction;
                    }};
                }
                macro_rules! load {
                    ($size:literal, $load:ident, $extended:ident) => {{
                        let address = x!(rs1).wrapping_add(op.immediate());
                        if let Some(offset) = self.caches.mmu.known_load(address, $size) {
                            one!(self.ram.$load(offset) as $extended as i64 as u64);
                        }
                    }};
                }
                macro_rules! store {
                    ($size:literal, $store:ident, $type:ty) => {{
                        let address = x!(rs1).wrapping_add(op.immediate());
                        if let Some(offset) = self.caches.mmu.known_store(address, $size) {
                            self.ram.$store(offset, x!(rs2) as $type);
                            slot += op.rd.get() as usize;
                            continue 'instruction;
                        }
                    }};
                }
                macro_rules! branch {
                    ($condition:expr) => {{
                        if !$condition {
                            slot += op.rd.get() as usize;
                            continue 'instruction;
                        }
                        let target = slot.wrapping_add(op.imm.get() as isize as usize);
                        if !TRANSLATE && target < SLOTS {
                            slot = target;
                            continue 'instruction;
                        }
                        pc = address(page_pc, target);
                        continue 'page;
                    }};
                }
                macro_rules! jump {
                    ($target:expr) => {{
                        let target: u64 = $target;
                        if !TRANSLATE && target & !0xfff == page_pc {
                            slot = (target & 0xfff) as usize >> 1;
                            continue 'instruction;
                        }
                        pc = target;
                        continue 'page;
                    }};
                }

                loop {
                    match op.code.get() {
                        Code::Nop => {
                            slot += op.rs2.get() as usize;
                            continue 'instruction;
                        }
                        Code::Li => one!(op.immediate()),
                        Code::Mv => one!(x!(rs1)),
                        Code::Auipc => one!(address(page_pc, slot).wrapping_add(op.immediate())),
                        Code::Jal => {
                            self.x[op.rd.get() as usize] = address(page_pc, slot + op.rs2.get() as usize);
                            branch!(true);
                        }
                        Code::J => branch!(true),
                        Code::Jalr => {
                            let target = x!(rs1).wrapping_add(op.immediate()) & !1;
                            self.x[op.rd.get() as usize] = address(page_pc, slot + op.rs2.get() as usize);
                            jump!(target);
                        }
                        Code::Jr => jump!(x!(rs1).wrapping_add(op.immediate()) & !1),
                        Code::Beq => branch!(x!(rs1) == x!(rs2)),
                        Code::Bne => branch!(x!(rs1) != x!(rs2)),
                        Code::Blt => branch!((x!(rs1) as i64) < x!(rs2) as i64),
                        Code::Bge => branch!(x!(rs1) as i64 >= x!(rs2) as i64),
                        Code::Bltu => branch!(x!(rs1) < x!(rs2)),
                        Code::Bgeu => branch!(x!(rs1) >= x!(rs2)),
                        Code::Lb => load!(1, load_u8, i8),
                        Code::Lh => load!(2, load_u16, i16),
                        Code::Lw => load!(4, load_u32, i32),
                        Code::Ld => load!(8, load_u64, i64),
                        Code::Lbu => load!(1, load_u8, u8),
                        Code::Lhu => load!(2, load_u16, u16),
                        Code::Lwu => load!(4, load_u32, u32),
                        Code::Sb => store!(1, store_u8, u8),
                        Code::Sh => store!(2, store_u16, u16),
                        Code::Sw => store!(4, store_u32, u32),
                        Code::Sd => store!(8, store_u64, u64),
                        Code::Addi => one!(x!(rs1).wrapping_add(op.immediate())),
                        Code::Slti => one!(u64::from((x!(rs1) as i64) < op.immediate() as i64)),
                        Code::Sltiu => one!(u64::from(x!(rs1) < op.immediate())),
                        Code::Xori => one!(x!(rs1) ^ op.immediate()),
                        Code::Ori => one!(x!(rs1) | op.immediate()),
                        Code::Andi => one!(x!(rs1) & op.immediate()),
                        Code::Slli => one!(x!(rs1).wrapping_shl(op.imm.get() as u32)),
                        Code::Srli => one!(x!(rs1).wrapping_shr(op.imm.get() as u32)),
                        Code::Srai => one!((x!(rs1) as i64).wrapping_shr(op.imm.get() as u32) as u64),
                        Code::Addiw => one!(word(x!(rs1).wrapping_add(op.immediate()))),
                        Code::Slliw => one!(word(x!(rs1).wrapping_shl(op.imm.get() as u32 & 31))),
                        Code::Srliw => one!(word(u64::from(
                            (x!(rs1) as u32).wrapping_shr(op.imm.get() as u32)
                        ))),
                        Code::Sraiw => one!(word((x!(rs1) as i32).wrapping_shr(op.imm.get() as u32) as u64)),
                        Code::Add => two!(x!(rs1).wrapping_add(x!(rs2))),
                        Code::Sub => two!(x!(rs1).wrapping_sub(x!(rs2))),
                        Code::Sll => two!(x!(rs1).wrapping_shl(x!(rs2) as u32)),
                        Code::Slt => two!(u64::from((x!(rs1) as i64) < x!(rs2) as i64)),
                        Code::Sltu => two!(u64::from(x!(rs1) < x!(rs2))),
                        Code::Xor => two!(x!(rs1) ^ x!(rs2)),
                        Code::Srl => two!(x!(rs1).wrapping_shr(x!(rs2) as u32)),
                        Code::Sra => two!((x!(rs1) as i64).wrapping_shr(x!(rs2) as u32) as u64),
                        Code::Or => two!(x!(rs1) | x!(rs2)),
                        Code::And => two!(x!(rs1) & x!(rs2)),
                        Code::Addw => two!(word(x!(rs1).wrapping_add(x!(rs2)))),
                        Code::Subw => two!(word(x!(rs1).wrapping_sub(x!(rs2)))),
                        Code::Sllw => two!(word(u64::from((x!(rs1) as u32).wrapping_shl(x!(rs2) as u32)))),
                        Code::Srlw => two!(word(u64::from((x!(rs1) as u32).wrapping_shr(x!(rs2) as u32)))),
                        Code::Sraw => two!(word((x!(rs1) as i32).wrapping_shr(x!(rs2) as u32) as u64)),
                        Code::Mul => two!(x!(rs1).wrapping_mul(x!(rs2))),
                        Code::Mulw => two!(word(x!(rs1).wrapping_mul(x!(rs2)))),
                        multiply_divide!() => two!(multiply_divide(op.code.get(), x!(rs1), x!(rs2))),
                        Code::Sh1add => two!(compute(Code::Sh1add, x!(rs1), x!(rs2))),
                        Code::Sh2add => two!(compute(Code::Sh2add, x!(rs1), x!(rs2))),
                        Code::Sh3add => two!(compute(Code::Sh3add, x!(rs1), x!(rs2))),
                        Code::AddUw => two!(compute(Code::AddUw, x!(rs1), x!(rs2))),
                        Code::Andn => two!(compute(Code::Andn, x!(rs1), x!(rs2))),
                        Code::Min => two!(compute(Code::Min, x!(rs1), x!(rs2))),
                        Code::Max => two!(compute(Code::Max, x!(rs1), x!(rs2))),
                        Code::Minu => two!(compute(Code::Minu, x!(rs1), x!(rs2))),
                        Code::CzeroEqz => two!(compute(Code::CzeroEqz, x!(rs1), x!(rs2))),
                        Code::CzeroNez => two!(compute(Code::CzeroNez, x!(rs1), x!(rs2))),
                        Code::ZextH => one!(compute(Code::ZextH, x!(rs1), op.immediate())),
                        Code::SextH => one!(compute(Code::SextH, x!(rs1), op.immediate())),
                        Code::Rev8 => one!(compute(Code::Rev8, x!(rs1), op.immediate())),
                        Code::Clz => one!(compute(Code::Clz, x!(rs1), op.immediate())),
                        Code::Ctz => one!(compute(Code::Ctz, x!(rs1), op.immediate())),
                        Code::Bexti => one!(compute(Code::Bexti, x!(rs1), op.immediate())),
                        rarer_of_two!() => two!(compute(op.code.get(), x!(rs1), x!(rs2))),
                        rarer_of_one!() => one!(compute(op.code.get(), x!(rs1), op.immediate())),
                        Code::NextPage => {
                            self.spare();
                            self.slot = slot;
                            pc = self.pc();
                            continue 'page;
                        }
                        Code::Loose => {
                            self.left = left;
                            self.slot = slot;
                            if let Err(trap) = self.fetch_loose(self.pc()) {
                                return self.leave(self.pc(), left, Stretch::Trap(trap));
                            }
                            left = self.left;
                            op = &arena.loose;
                            continue;
                        }
                        _ => {}
                    }
                    break;
                }
                self.left = left;
                self.slot = slot;
                let op = op.get();
                match self.rare(op) {
                    Flow::Next if TRANSLATE => {
                        pc = address(page_pc, slot + op.halves());
                        continue 'page;
                    }
                    Flow::Next => slot += op.halves(),
                    Flow::Again => self.spare(),
                    Flow::Refetch => {
                        pc = address(page_pc, slot + op.halves());
                        continue 'page;
                    }
                    flow => return self.stop(flow, op),
                }
            }
        }
    }

    /// Does an instruction that is not worth an arm in the dispatch loop, or could not be completed there.
    #[inline(never)]
    pub(super) fn rare(&mut self, op: Op) -> Flow {
        use Code::*;
        match op.code {
            Mulhsu | Div | Divu | Rem | Remu | Divw | Divuw | Remw | Remuw => {
                let value = multiply_divide(op.code, self.x[op.rs1()], self.x[op.rs2()]);
                self.set_x(op.rd(), value);
                Flow::Next
            }
            Lb | Lh | Lw | Ld | Lbu | Lhu | Lwu => self.load_slow(op),
            Sb | Sh | Sw | Sd => self.store_slow(op),
            Flw | Fld => self.float_load(op),
            Fsw | Fsd => self.float_store(op),
            Float => self.float(op),
            LrW => self.load_reserved(op, 4),
            LrD => self.load_reserved(op, 8),
            ScW => self.store_conditional(op, 4),
            ScD => self.store_conditional(op, 8),
            AmoW => self.amo(op, 4),
            AmoD => self.amo(op, 8),
            Csr => self.csr(op),
            Cbo => self.cache_block(op),
            Decode => {
                self.caches
                    .code
                    .decode(self.arena, self.ram, self.place, self.slot);
                Flow::Again
            }
            _ => self.system(op),
        }
    }

    /// Makes up for a turn of the dispatch loop in which nothing was executed: the chunk gets one step
    /// shorter. To take the turn back instead would cost every other turn a register.
    fn spare(&mut self) {
        self.chunk_end.0 -= 1;
    }

    /// Ends a stretch with the instruction in hand.
    pub(super) fn stop(&mut self, flow: Flow, op: Op) -> Stretch {
        let next = address(self.page_pc, self.slot + op.halves());
        match flow {
            Flow::Trap => self.leave(self.pc(), self.left, Stretch::Trap(self.trap)),
            Flow::Jump => self.leave(self.hart.pc, self.left, Stretch::Check),
            Flow::Wait => self.leave(next, self.left, Stretch::Wait),
            Flow::Next | Flow::Again | Flow::Refetch | Flow::Check => {
                self.leave(next, self.left, Stretch::Check)
            }
        }
    }

    /// Ends a stretch at `pc`, with `left` steps of the chunk left.
    #[inline(always)]
    fn leave(&mut self, pc: u64, left: u64, why: Stretch) -> Stretch {
        self.hart.pc = pc;
        self.now = Step(self.chunk_end.0 - left);
        why
    }

    /// The address of the instruction in hand.
    pub(super) fn pc(&self) -> u64 {
        address(self.page_pc, self.slot)
    }

    /// Raises the illegal-instruction exception for the instruction in hand.
    #[cold]
    pub(super) fn illegal(&mut self) -> Flow {
        let bits = self.caches.code.bits(self.ram, self.place, self.slot);
        let bits = bits.unwrap_or(self.loose_bits);
        self.raise(Trap::new(Exception::IllegalInstruction, u64::from(bits)))
    }
}

/// The address of a slot of the page at `page_pc`. The number may lie outside the page: the address is that
/// of a slot in another page then.
#[inline(always)]
pub(super) const fn address(page_pc: u64, slot: usize) -> u64 {
    page_pc.wrapping_add((slot as u64).wrapping_mul(2))
}
