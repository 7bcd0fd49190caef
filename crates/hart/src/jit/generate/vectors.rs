//! Floating-point registers in vector registers of the host: loaded when they are used first, stored where
//! control leaves, and carried round a loop.
//!
//! What is where is known when code is made ([`Held`]). Two things wait until somebody looks:
//!
//! - A single in the low half of its vector register is boxed only where all of the register is read.
//! - A NaN that the host's arithmetic has made stays as it is, *raw*: arithmetic asks no more of it than that
//!   it is a quiet NaN. It becomes RISC-V's canonical NaN before it is stored, moved or taken apart.
//!
//! A register without a vector register lives in memory, where every result is written at once. A value that
//! was loaded must never become raw: it may be any NaN, and must stay that one.

use super::{block::Block, cold::Cold, host::held, known::Held};
use crate::jit::{emit::*, plan::VECTORS};

/// Vector registers that hold nothing from one op to the next.
pub(super) const SCRATCH: [u8; 3] = [0, 1, 2];
/// The first of the vector registers that hold floating-point registers.
const FIRST: u8 = SCRATCH.len() as u8;

const _: () = assert!(FIRST as usize + VECTORS == 16, "as many as the host has");

/// Byte 0f and an opcode, of a single or a double.
pub(super) const fn scalar(single: bool, opcode: u8) -> Vex {
    Vex::new(if single { 2 } else { 3 }, opcode)
}

/// `vmovss` and `vmovsd` from memory.
const LOAD: u8 = 0x10;
/// `vmovss` and `vmovsd` to memory.
const STORE: u8 = 0x11;
/// `vmovaps`.
pub(super) const COPY: Vex = Vex::new(0, 0x28);
/// `vmovd` and `vmovq`: to a vector register, and from one.
pub(super) const MOVE_TO: Vex = Vex::new(1, 0x6e);
pub(super) const MOVE_FROM: Vex = Vex::new(1, 0x7e);
/// `vpcmpeqd`: of a register with itself, all ones.
pub(super) const EQUAL: Vex = Vex::new(1, 0x76);
/// `vpslld` and `vpsrld`, `vpsllq` and `vpsrlq`, by their opcodes and the digits that extend them.
const SHIFT_SINGLE: Vex = Vex::new(1, 0x72);
const SHIFT_DOUBLE: Vex = Vex::new(1, 0x73);
const SHIFT_LEFT: u8 = 6;
const SHIFT_RIGHT: u8 = 2;
/// `vpextrd`: a general register becomes one of four parts of a vector register.
const EXTRACT: Vex = Vex::new(1, 0x16).in_map(3);
/// `vpinsrd`: one of four parts of a vector register becomes a general register.
const INSERT: Vex = Vex::new(1, 0x22).in_map(3);

/// `vucomiss` and `vucomisd`.
pub(super) const fn compare(single: bool) -> Vex {
    Vex::new(if single { 0 } else { 1 }, 0x2e)
}

/// The size of the general register that holds the bits of a single or a double.
pub(super) fn size_of(single: bool) -> Size {
    if single { Size::Double } else { Size::Quad }
}

/// The place of a floating-point register, when rcx holds the address of all of them.
pub(super) fn home(register: u8) -> Memory {
    Memory::at(RCX, i32::from(register & 31) * 8)
}

/// The upper half of a floating-point register in memory, all ones if it holds a single (unprivileged manual,
/// "NaN Boxing").
fn upper(register: u8) -> Memory {
    Memory::at(RCX, i32::from(register & 31) * 8 + 4)
}

fn bit(register: u8) -> u32 {
    1 << (register & 31)
}

/// The registers of a set.
fn each(set: u32) -> impl Iterator<Item = u8> {
    (0..32).filter(move |&register| set & bit(register) != 0)
}

/// Reading and writing.
impl Block<'_> {
    /// rcx becomes the address of the floating-point registers.
    pub(super) fn find_homes(&mut self) {
        self.e.mov(Size::Quad, RCX, held!(float));
    }

    /// A vector register becomes a single or a double in memory.
    pub(super) fn load_vector(&mut self, single: bool, vector: u8, from: Memory) {
        self.e.vex(scalar(single, LOAD), vector, 0, Operand::Memory(from));
    }

    /// Memory becomes the single or the double in a vector register.
    pub(super) fn store_vector(&mut self, single: bool, to: Memory, vector: u8) {
        self.e.vex(scalar(single, STORE), vector, 0, Operand::Memory(to));
    }

    /// The vector register of a floating-point register, if it has one.
    fn vector(&self, register: u8) -> Option<u8> {
        Some(FIRST + self.plan.vectors.number(register)?)
    }

    /// The vector register in which a register's new value is best computed: its own, or else the first
    /// scratch one.
    pub(super) fn vector_target(&self, register: u8) -> u8 {
        self.vector(register).unwrap_or(SCRATCH[0])
    }

    /// The vector register that holds the value of a register if it holds it already, and whether it holds a
    /// single.
    pub(super) fn present(&self, register: u8) -> Option<(u8, bool)> {
        let held = self.known.held;
        let vector = self
            .vector(register)
            .filter(|_| held.present & bit(register) != 0)?;
        Some((vector, held.single & bit(register) != 0))
    }

    /// A vector register that holds a register's value, as a single or as a double, and must not be changed:
    /// its own, or else `scratch`. If a single is not boxed, the interpreter does the op and the superblock
    /// is left. rax and rcx are overwritten.
    pub(super) fn fetch(&mut self, register: u8, single: bool, scratch: u8) -> u8 {
        let Some((vector, has_single)) = self.present(register) else {
            return self.fetch_from_memory(register, single, scratch);
        };
        match (has_single, single) {
            (true, false) => self.box_single(register, vector),
            (false, true) => {
                // A NaN that the host has made of a boxed single looks like one.
                self.make_canonical(register);
                self.e
                    .vex_immediate(EXTRACT, vector, 0, Operand::Register(RAX), 1);
                self.leave_if_unboxed(Operand::Register(RAX));
                self.known.held.single |= bit(register);
            }
            _ => {}
        }
        vector
    }

    fn fetch_from_memory(&mut self, register: u8, single: bool, scratch: u8) -> u8 {
        self.find_homes();
        if single {
            self.leave_if_unboxed(Operand::Memory(upper(register)));
        }
        let own = self.vector(register);
        let vector = own.unwrap_or(scratch);
        self.load_vector(single, vector, home(register));
        if own.is_some() {
            self.known.held.present |= bit(register);
            if single {
                self.known.held.single |= bit(register);
            }
        }
        vector
    }

    /// Jumps to the interpreter if the condition holds.
    pub(super) fn decline_if(&mut self, condition: Condition) {
        let jump = self.e.jump_if(condition);
        self.declined.push(jump);
    }

    /// Leaves the superblock, after the interpreter has done the op in hand, if this, the upper half of a
    /// register, is not that of a single.
    fn leave_if_unboxed(&mut self, upper: Operand) {
        self.e.alu_immediate(Alu::Cmp, Size::Double, upper, -1);
        let unboxed = self.e.jump_if(Condition::NotEqual);
        self.unboxed.push(unboxed);
    }

    /// The vector register of a register, which holds a single, becomes all of what the register holds. rax
    /// is overwritten.
    fn box_single(&mut self, register: u8, vector: u8) {
        self.make_canonical(register);
        self.e.load_immediate(RAX, i64::from(u32::MAX));
        self.e
            .vex_immediate(INSERT, vector, vector, Operand::Register(RAX), 1);
        self.known.held.single &= !bit(register);
    }

    /// The single or double in a vector register becomes a register's value. `raw`: if it is a NaN, it stands
    /// for the canonical one. rcx is overwritten.
    pub(super) fn define_vector(&mut self, register: u8, vector: u8, single: bool, raw: bool) {
        let Some(own) = self.vector(register) else {
            if raw {
                self.canonical(vector, single);
            }
            self.find_homes();
            self.store_home(register, vector, single);
            return;
        };
        if own != vector {
            self.e.vex(COPY, own, 0, Operand::Register(vector));
        }
        let held = &mut self.known.held;
        held.drop(bit(register));
        held.present |= bit(register);
        held.dirty |= bit(register);
        held.single |= if single { bit(register) } else { 0 };
        held.raw |= if raw { bit(register) } else { 0 };
    }

    /// A register in memory becomes the single or the double in a vector register; rcx holds the address of
    /// the registers.
    fn store_home(&mut self, register: u8, vector: u8, single: bool) {
        self.store_vector(single, home(register), vector);
        if single {
            self.e.store_immediate(Size::Double, upper(register), -1);
        }
    }
}

/// NaNs.
impl Block<'_> {
    /// May the register's vector register hold a NaN that stands for the canonical one?
    pub(super) fn is_raw(&self, register: u8) -> bool {
        self.known.held.raw & bit(register) != 0
    }

    /// If a register holds a raw NaN, it becomes the canonical one. The flags are overwritten.
    pub(super) fn make_canonical(&mut self, register: u8) {
        if let Some((vector, single)) = self.present(register).filter(|_| self.is_raw(register)) {
            self.canonical(vector, single);
            self.known.held.raw &= !bit(register);
        }
    }

    /// The register holds no NaN, as the code has found out.
    pub(super) fn is_number(&mut self, register: u8) {
        self.known.held.raw &= !bit(register);
    }

    /// If a vector register holds a NaN, it becomes the canonical one. The flags are overwritten.
    fn canonical(&mut self, vector: u8, single: bool) {
        self.e.vex(compare(single), vector, 0, Operand::Register(vector));
        let nan = self.e.jump_if(Condition::Parity);
        let back = self.e.here();
        let cold = Cold::Canonical { vector, single, back };
        self.put_off(nan, cold);
    }

    /// A vector register becomes the canonical NaN: all ones, shifted to where the exponent and the first bit
    /// of the fraction are.
    pub(super) fn load_canonical(&mut self, vector: u8, single: bool) {
        let all = Operand::Register(vector);
        self.e.vex(EQUAL, vector, vector, all);
        let (shift, fraction) = if single {
            (SHIFT_SINGLE, 23)
        } else {
            (SHIFT_DOUBLE, 52)
        };
        // The first shift leaves sign and exponent, the second moves them down by one bit.
        self.e.vex_immediate(shift, SHIFT_LEFT, vector, all, fraction);
        self.e.vex_immediate(shift, SHIFT_RIGHT, vector, all, 1);
    }

    /// A vector register becomes a sign alone.
    pub(super) fn load_sign(&mut self, vector: u8, single: bool) {
        let all = Operand::Register(vector);
        self.e.vex(EQUAL, vector, vector, all);
        let (shift, sign) = if single {
            (SHIFT_SINGLE, 31)
        } else {
            (SHIFT_DOUBLE, 63)
        };
        self.e.vex_immediate(shift, SHIFT_LEFT, vector, all, sign);
    }
}

/// Between ops: where ways part and meet.
impl Block<'_> {
    /// Those of these registers that memory does not know are stored there; they stay in vector registers.
    /// rcx and the flags are overwritten.
    fn write_back(&mut self, registers: u32) {
        let dirty = self.known.held.dirty & registers;
        if dirty != 0 {
            self.find_homes();
        }
        for register in each(dirty) {
            self.make_canonical(register);
            if let Some((vector, single)) = self.present(register) {
                self.store_home(register, vector, single);
            }
        }
        self.known.held.dirty &= !dirty;
    }

    /// These registers are in memory only. rcx and the flags are overwritten.
    pub(super) fn release(&mut self, registers: u32) {
        self.write_back(registers);
        self.known.held.drop(registers);
    }

    /// Vector registers hold again what they have to hold, after the interpreter has done an op for which all
    /// registers were in memory.
    pub(super) fn reload(&mut self, held: Held) {
        if held.present != 0 {
            self.find_homes();
        }
        for register in each(held.present) {
            if let Some(vector) = self.vector(register) {
                let single = held.single & bit(register) != 0;
                self.load_vector(single, vector, home(register));
            }
        }
        self.known.held = held;
    }

    /// Another way will join here, on which vector registers hold what `other` says: what cannot be had on
    /// that way is given up on this one.
    pub(super) fn agree(&mut self, other: Held) {
        // What is not known to be boxed there cannot become a single.
        self.release(self.known.held.single & !other.single);
        let same = !(self.known.held.single ^ other.single);
        for register in each(self.known.held.raw & !(other.raw & same)) {
            self.make_canonical(register);
        }
    }

    /// Makes what vector registers hold what they hold at another place, to which a jump will lead. False if
    /// that cannot be. rax, rcx and the flags are overwritten.
    pub(super) fn conform(&mut self, to: Held) -> bool {
        self.release(!to.present);
        self.write_back(!to.dirty);
        for register in each(to.present) {
            let single = to.single & bit(register) != 0;
            match (self.present(register), self.vector(register)) {
                (Some((_, has)), _) if has == single => {}
                (Some((vector, true)), _) => self.box_single(register, vector),
                (None, Some(_)) if !single => {
                    self.fetch_from_memory(register, false, SCRATCH[0]);
                }
                _ => return false,
            }
            let raw = to.raw & bit(register) != 0;
            if raw && !self.is_raw(register) {
                return false;
            }
            if !raw {
                self.make_canonical(register);
            }
        }
        true
    }
}
