//! The dispatch loop, with the integer instructions in it (chapters "RV32I", "RV64I", "M"), and the
//! arithmetic that is more than one operator.
//!
//! Memory accesses that the TLB knows are done here; whatever is rarer leaves through a function of its
//! own and comes back with a [`Flow`].

use super::{Core, Flow, Stretch, code::SLOTS};
use crate::{
    Step,
    op::{Code, Op},
    trap::{Exception, Trap},
};

/// Sign-extends a word.
#[inline(always)]
pub(super) const fn word(value: u64) -> u64 {
    value as i32 as i64 as u64
}

impl Core<'_> {
    /// Runs instructions from `hart.pc` until the chunk ends or something happens; `now` and `hart.pc` are
    /// exact then.
    pub(super) fn execute(&mut self) -> Stretch {
        // Steps to the end of the chunk, not counting the instruction in hand.
        let mut left = self.chunk_end.since(self.now);
        let mut pc = self.hart.pc;
        let arena = self.arena;
        'page: loop {
            if left == 0 {
                return self.leave(pc, left, Stretch::Chunk);
            }
            let known = self.caches.mmu.tlb.fetch(self.caches.mmu.fetch_set, pc);
            let place = match known.map_or_else(|| self.find_code(pc), Ok) {
                Ok(place) => place,
                Err(trap) => return self.leave(pc, left - 1, Stretch::Trap(trap)),
            };
            let slots = arena.slots(place);
            let page_pc = pc & !0xfff;
            let mut slot = (pc & 0xfff) as usize >> 1;
            let address_of = |slot: usize| page_pc.wrapping_add((slot as u64).wrapping_mul(2));
            'instruction: loop {
                if left == 0 {
                    return self.leave(address_of(slot), left, Stretch::Chunk);
                }
                left -= 1;
                let mut op = slots[slot].get();

                macro_rules! x {
                    ($register:ident) => {
                        self.hart.x[op.$register()]
                    };
                }
                // The result of an instruction that is not decoded at all when it writes x0.
                macro_rules! result {
                    ($value:expr) => {
                        self.hart.x[op.rd()] = $value
                    };
                }
                macro_rules! result_word {
                    ($value:expr) => {
                        self.hart.x[op.rd()] = word($value)
                    };
                }
                macro_rules! slow {
                    ($self:ident . $call:ident ( $($argument:expr),* )) => {{
                        self.left = left;
                        match $self.$call($($argument),*) {
                            Flow::Next => {}
                            flow => break flow,
                        }
                    }};
                }
                macro_rules! load {
                    ($size:literal, $load:ident, $extended:ident) => {{
                        let address = x!(rs1).wrapping_add(op.immediate());
                        match self
                            .caches
                            .mmu
                            .tlb
                            .load(self.caches.mmu.data_set, address, $size)
                        {
                            Some(offset) => {
                                let value = self.ram.$load(offset) as $extended as i64 as u64;
                                self.hart.set_x(op.rd(), value);
                            }
                            None => slow!(self.load_slow(op, address, place)),
                        }
                    }};
                }
                macro_rules! store {
                    ($size:literal, $store:ident, $type:ty, $bank:ident) => {{
                        let address = x!(rs1).wrapping_add(op.immediate());
                        let value = self.hart.$bank[op.rs2()];
                        match self
                            .caches
                            .mmu
                            .tlb
                            .store(self.caches.mmu.data_set, address, $size)
                        {
                            Some(offset) => self.ram.$store(offset, value as $type),
                            None => slow!(self.store_slow(address, $size, value, place)),
                        }
                    }};
                }
                macro_rules! branch {
                    ($condition:expr) => {
                        if $condition {
                            let target = slot.wrapping_add(op.imm as isize as usize);
                            if target < SLOTS {
                                slot = target;
                                continue 'instruction;
                            }
                            pc = address_of(target);
                            continue 'page;
                        }
                    };
                }
                macro_rules! jump {
                    ($target:expr) => {{
                        let target: u64 = $target;
                        if target & !0xfff == page_pc {
                            slot = (target & 0xfff) as usize >> 1;
                            continue 'instruction;
                        }
                        pc = target;
                        continue 'page;
                    }};
                }

                let flow = loop {
                    match op.code {
                        Code::Decode => {
                            op = self.decode(place, slot);
                            continue;
                        }
                        Code::NextPage => {
                            left += 1;
                            pc = address_of(slot);
                            continue 'page;
                        }
                        Code::Loose => {
                            op = match self.fetch_loose(address_of(slot), &mut left) {
                                Ok(op) => op,
                                Err(trap) => return self.leave(address_of(slot), left, Stretch::Trap(trap)),
                            };
                            continue;
                        }
                        Code::Nop => {}
                        Code::Li => result!(op.immediate()),
                        Code::Mv => result!(x!(rs1)),
                        Code::Auipc => result!(address_of(slot).wrapping_add(op.immediate())),
                        Code::Jal => {
                            result!(address_of(slot + op.halves()));
                            branch!(true);
                        }
                        Code::J => branch!(true),
                        Code::Jalr => {
                            let target = x!(rs1).wrapping_add(op.immediate()) & !1;
                            result!(address_of(slot + op.halves()));
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
                        Code::Sb => store!(1, store_u8, u8, x),
                        Code::Sh => store!(2, store_u16, u16, x),
                        Code::Sw => store!(4, store_u32, u32, x),
                        Code::Sd => store!(8, store_u64, u64, x),
                        Code::Addi => result!(x!(rs1).wrapping_add(op.immediate())),
                        Code::Slti => result!(u64::from((x!(rs1) as i64) < op.immediate() as i64)),
                        Code::Sltiu => result!(u64::from(x!(rs1) < op.immediate())),
                        Code::Xori => result!(x!(rs1) ^ op.immediate()),
                        Code::Ori => result!(x!(rs1) | op.immediate()),
                        Code::Andi => result!(x!(rs1) & op.immediate()),
                        Code::Slli => result!(x!(rs1).wrapping_shl(op.imm as u32)),
                        Code::Srli => result!(x!(rs1).wrapping_shr(op.imm as u32)),
                        Code::Srai => result!((x!(rs1) as i64).wrapping_shr(op.imm as u32) as u64),
                        Code::Addiw => result_word!(x!(rs1).wrapping_add(op.immediate())),
                        Code::Slliw => result_word!(x!(rs1).wrapping_shl(op.imm as u32 & 31)),
                        Code::Srliw => result_word!(u64::from((x!(rs1) as u32).wrapping_shr(op.imm as u32))),
                        Code::Sraiw => result_word!((x!(rs1) as i32).wrapping_shr(op.imm as u32) as u64),
                        Code::Add => result!(x!(rs1).wrapping_add(x!(rs2))),
                        Code::Sub => result!(x!(rs1).wrapping_sub(x!(rs2))),
                        Code::Sll => result!(x!(rs1).wrapping_shl(x!(rs2) as u32)),
                        Code::Slt => result!(u64::from((x!(rs1) as i64) < x!(rs2) as i64)),
                        Code::Sltu => result!(u64::from(x!(rs1) < x!(rs2))),
                        Code::Xor => result!(x!(rs1) ^ x!(rs2)),
                        Code::Srl => result!(x!(rs1).wrapping_shr(x!(rs2) as u32)),
                        Code::Sra => result!((x!(rs1) as i64).wrapping_shr(x!(rs2) as u32) as u64),
                        Code::Or => result!(x!(rs1) | x!(rs2)),
                        Code::And => result!(x!(rs1) & x!(rs2)),
                        Code::Addw => result_word!(x!(rs1).wrapping_add(x!(rs2))),
                        Code::Subw => result_word!(x!(rs1).wrapping_sub(x!(rs2))),
                        Code::Sllw => result_word!(u64::from((x!(rs1) as u32).wrapping_shl(x!(rs2) as u32))),
                        Code::Srlw => result_word!(u64::from((x!(rs1) as u32).wrapping_shr(x!(rs2) as u32))),
                        Code::Sraw => result_word!((x!(rs1) as i32).wrapping_shr(x!(rs2) as u32) as u64),
                        Code::Mul => result!(x!(rs1).wrapping_mul(x!(rs2))),
                        Code::Mulw => result_word!(x!(rs1).wrapping_mul(x!(rs2))),
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
                        | Code::Remuw => result!(multiply_divide(op.code, x!(rs1), x!(rs2))),
                        Code::Flw | Code::Fld => slow!(self.float_load(op, place, slot)),
                        Code::Fsw | Code::Fsd => slow!(self.float_store(op, place, slot)),
                        Code::Float => slow!(self.float(op, place, slot)),
                        Code::LrW => slow!(self.load_reserved(op, 4, place)),
                        Code::LrD => slow!(self.load_reserved(op, 8, place)),
                        Code::ScW => slow!(self.store_conditional(op, 4, place)),
                        Code::ScD => slow!(self.store_conditional(op, 8, place)),
                        Code::AmoW => slow!(self.amo(op, 4, place)),
                        Code::AmoD => slow!(self.amo(op, 8, place)),
                        Code::Csr => slow!(self.csr(op)),
                        Code::Ecall
                        | Code::Ebreak
                        | Code::Sret
                        | Code::Mret
                        | Code::Wfi
                        | Code::SfenceVma
                        | Code::Illegal => slow!(self.system(op, address_of(slot))),
                    }
                    break Flow::Next;
                };
                let next = slot + op.halves();
                match flow {
                    Flow::Next => slot = next,
                    Flow::Refetch => {
                        pc = address_of(next);
                        continue 'page;
                    }
                    _ => return self.stop(flow, address_of(slot), address_of(next), left),
                }
            }
        }
    }

    /// Ends a stretch with the instruction at `pc`, which is followed by `next`.
    fn stop(&mut self, flow: Flow, pc: u64, next: u64, left: u64) -> Stretch {
        match flow {
            Flow::Trap => self.leave(pc, left, Stretch::Trap(self.trap)),
            Flow::Jump => self.leave(self.hart.pc, left, Stretch::Check),
            Flow::Wait => self.leave(next, left, Stretch::Wait),
            Flow::Next | Flow::Refetch | Flow::Check => self.leave(next, left, Stretch::Check),
        }
    }

    #[inline(always)]
    fn leave(&mut self, pc: u64, left: u64, why: Stretch) -> Stretch {
        self.hart.pc = pc;
        self.now = Step(self.chunk_end.0 - left);
        why
    }

    #[cold]
    #[inline(never)]
    fn decode(&mut self, place: usize, slot: usize) -> Op {
        self.caches.code.decode(self.arena, self.ram, place, slot)
    }

    /// The illegal-instruction exception for the instruction at `slot`.
    #[cold]
    pub(super) fn illegal(&mut self, place: usize, slot: usize) -> Flow {
        let bits = self
            .caches
            .code
            .bits(self.ram, place, slot)
            .unwrap_or(self.loose_bits);
        self.raise(Trap::new(Exception::IllegalInstruction, u64::from(bits)))
    }
}

/// High products, and division with its defined results for zero divisors and overflow (chapter "M").
#[inline(always)]
fn multiply_divide(code: Code, a: u64, b: u64) -> u64 {
    let (sa, sb) = (a as i64, b as i64);
    let (wa, wb) = (a as i32, b as i32);
    match code {
        Code::Mulh => ((i128::from(sa) * i128::from(sb)) >> 64) as u64,
        Code::Mulhsu => ((i128::from(sa) * i128::from(b)) >> 64) as u64,
        Code::Mulhu => ((u128::from(a) * u128::from(b)) >> 64) as u64,
        Code::Div if b == 0 => u64::MAX,
        Code::Div => sa.wrapping_div(sb) as u64,
        Code::Divu => a.checked_div(b).unwrap_or(u64::MAX),
        Code::Rem if b == 0 => a,
        Code::Rem => sa.wrapping_rem(sb) as u64,
        Code::Remu => a.checked_rem(b).unwrap_or(a),
        Code::Divw if wb == 0 => u64::MAX,
        Code::Divw => wa.wrapping_div(wb) as i64 as u64,
        Code::Divuw => word(u64::from((a as u32).checked_div(b as u32).unwrap_or(u32::MAX))),
        Code::Remw if wb == 0 => word(a),
        Code::Remw => wa.wrapping_rem(wb) as i64 as u64,
        _ => word(u64::from((a as u32).checked_rem(b as u32).unwrap_or(a as u32))),
    }
}
