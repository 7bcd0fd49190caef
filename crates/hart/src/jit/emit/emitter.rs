//! The [`Emitter`]: bytes of machine code under construction, and the forms that move and compute.
//!
//! All forms go through `form`, which writes prefix, opcode and operands. The emitter checks no more than the
//! encoding needs: which registers hold what is its user's business.

use super::operand::*;

/// Machine code under construction.
pub struct Emitter {
    /// The address at which the first byte will be executed.
    pub(super) base: u64,
    /// The code so far.
    pub bytes: Vec<u8>,
    /// The jumps and calls whose distance is known: where each ends, and where in the code it leads. `None`
    /// stands for a target outside this code.
    pub(super) jumps: Vec<(usize, Option<usize>)>,
}

/// Most code has no more jumps than this; the vector of jumps begins with so much room.
const JUMPS: usize = 128;

impl Emitter {
    /// Begins code that will be executed at `base`.
    pub fn new(base: u64) -> Emitter {
        Emitter::with_room(base, Vec::new())
    }

    /// Begins code that will be executed at `base`, in the memory of `room`, whose contents are thrown away.
    pub fn with_room(base: u64, mut room: Vec<u8>) -> Emitter {
        room.clear();
        Emitter {
            base,
            bytes: room,
            jumps: Vec::with_capacity(JUMPS),
        }
    }

    /// The number of bytes so far: the place of the next instruction.
    pub fn here(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn dword(&mut self, value: i32) {
        self.bytes.extend(value.to_le_bytes());
    }

    /// Writes one instruction: REX prefix, opcode and operands. `reg` is the register operand or the digit
    /// that extends the opcode. `force` writes a REX prefix in any case, without which byte registers above 3
    /// have another meaning.
    pub(super) fn form(&mut self, size: Size, opcode: &[u8], reg: u8, operand: Operand, force: bool) {
        let w = u8::from(size == Size::Quad) << 3;
        let (x, b) = match operand {
            Operand::Register(register) => (0, register >> 3),
            Operand::Memory(memory) => (memory.index.map_or(0, |(index, _)| index >> 3), memory.base >> 3),
        };
        let rex = w | (reg >> 3) << 2 | x << 1 | b;
        if rex != 0 || force {
            self.byte(0x40 | rex);
        }
        self.bytes.extend(opcode);
        self.operands(reg, operand);
    }

    /// Writes the ModRM byte and what belongs to it: the SIB byte and the shortest displacement that is
    /// possible.
    pub(super) fn operands(&mut self, reg: u8, operand: Operand) {
        let reg = (reg & 7) << 3;
        match operand {
            Operand::Register(register) => self.byte(0xc0 | reg | register & 7),
            Operand::Memory(memory) => {
                let short = i8::try_from(memory.displacement);
                // With rbp or r13 as the base, the encoding of no displacement means another address.
                let none = memory.displacement == 0 && memory.base & 7 != RBP;
                let mode = match short {
                    _ if none => 0,
                    Ok(_) => 0x40,
                    Err(_) => 0x80,
                };
                match memory.index {
                    None if memory.base & 7 != RSP => self.byte(mode | reg | memory.base & 7),
                    None => {
                        self.byte(mode | reg | 4);
                        self.byte(0x20 | memory.base & 7);
                    }
                    Some((index, shift)) => {
                        self.byte(mode | reg | 4);
                        self.byte(shift << 6 | (index & 7) << 3 | memory.base & 7);
                    }
                }
                match short {
                    _ if none => {}
                    Ok(short) => self.byte(short as u8),
                    Err(_) => self.dword(memory.displacement),
                }
            }
        }
    }

    /// `mov to, from`; of a 64-bit register to itself nothing, as that would change nothing.
    pub fn mov(&mut self, size: Size, to: Register, from: Operand) {
        if from != Operand::Register(to) || size == Size::Double {
            self.form(size, &[0x8b], to, from, false);
        }
    }

    /// `mov [to], from`, 64 bits.
    pub fn store(&mut self, to: Memory, from: Register) {
        self.form(Size::Quad, &[0x89], from, Operand::Memory(to), false);
    }

    /// `mov [to], from`: stores the low 1, 2, 4 or 8 bytes of a register.
    pub fn store_low(&mut self, bytes: u8, to: Memory, from: Register) {
        let to = Operand::Memory(to);
        match bytes {
            1 => self.form(Size::Double, &[0x88], from, to, from > 3),
            2 => {
                self.byte(0x66);
                self.form(Size::Double, &[0x89], from, to, false);
            }
            4 => self.form(Size::Double, &[0x89], from, to, false),
            _ => self.form(Size::Quad, &[0x89], from, to, false),
        }
    }

    /// `mov [to], value`, which is sign-extended.
    pub fn store_immediate(&mut self, size: Size, to: Memory, value: i32) {
        self.form(size, &[0xc7], 0, Operand::Memory(to), false);
        self.dword(value);
    }

    /// `to = value`, in the shortest form. For the value 0 that form changes the flags.
    pub fn load_immediate(&mut self, to: Register, value: i64) {
        if value == 0 {
            self.alu(Alu::Xor, Size::Double, to, Operand::Register(to));
        } else if u32::try_from(value).is_ok() {
            if to >= 8 {
                self.byte(0x41);
            }
            self.byte(0xb8 | to & 7);
            self.dword(value as u32 as i32);
        } else if let Ok(short) = i32::try_from(value) {
            self.form(Size::Quad, &[0xc7], 0, Operand::Register(to), false);
            self.dword(short);
        } else {
            self.load_wide(to, value);
        }
    }

    /// `to = value`, in ten bytes whatever the value is. The flags stay as they are.
    pub fn load_wide(&mut self, to: Register, value: i64) {
        self.byte(0x48 | to >> 3);
        self.byte(0xb8 | to & 7);
        self.bytes.extend(value.to_le_bytes());
    }

    /// Loads a value, extended to 64 bits.
    pub fn load(&mut self, extend: Extend, to: Register, from: Operand) {
        let force = matches!(from, Operand::Register(register) if register > 3);
        match extend {
            Extend::Byte => self.form(Size::Double, &[0x0f, 0xb6], to, from, force),
            Extend::ByteSigned => self.form(Size::Quad, &[0x0f, 0xbe], to, from, false),
            Extend::Half => self.form(Size::Double, &[0x0f, 0xb7], to, from, false),
            Extend::HalfSigned => self.form(Size::Quad, &[0x0f, 0xbf], to, from, false),
            Extend::Word => self.form(Size::Double, &[0x8b], to, from, false),
            Extend::WordSigned => self.form(Size::Quad, &[0x63], to, from, false),
            Extend::Full => self.form(Size::Quad, &[0x8b], to, from, false),
        }
    }

    /// `lea to, [from]`: the address itself, or its lower half if `size` says so.
    pub fn lea(&mut self, size: Size, to: Register, from: Memory) {
        match from {
            // A plain copy is a `mov`, which the processor does by renaming a register.
            Memory {
                base,
                index: None,
                displacement: 0,
            } => self.mov(size, to, Operand::Register(base)),
            _ => self.form(size, &[0x8d], to, Operand::Memory(from), false),
        }
    }

    /// `to = from` rotated right, 32 bits (BMI2).
    pub fn rotate(&mut self, to: Register, from: Register, count: u8) {
        self.bytes.push(0xc4);
        self.byte((!to & 8) << 4 | 0x40 | (!from & 8) << 2 | 3);
        self.bytes.extend([0x7b, 0xf0]);
        self.operands(to, Operand::Register(from));
        self.byte(count);
    }

    /// `test a, a`.
    pub fn test(&mut self, size: Size, a: Register) {
        self.form(size, &[0x85], a, Operand::Register(a), false);
    }

    /// `test a, bits`.
    pub fn test_bits(&mut self, a: Register, bits: i32) {
        self.form(Size::Double, &[0xf7], 0, Operand::Register(a), false);
        self.dword(bits);
    }

    /// `op to, operand`.
    pub fn alu(&mut self, op: Alu, size: Size, to: Register, operand: Operand) {
        self.form(size, &[op.digit() << 3 | 3], to, operand, false);
    }

    /// `op to, value`, in the shortest form.
    pub fn alu_immediate(&mut self, op: Alu, size: Size, to: Operand, value: i32) {
        match i8::try_from(value) {
            Ok(short) => {
                self.form(size, &[0x83], op.digit(), to, false);
                self.byte(short as u8);
            }
            Err(_) => {
                self.form(size, &[0x81], op.digit(), to, false);
                self.dword(value);
            }
        }
    }

    /// `imul to, operand`.
    pub fn multiply(&mut self, size: Size, to: Register, operand: Operand) {
        self.form(size, &[0x0f, 0xaf], to, operand, false);
    }

    /// `rdx:rax = rax * operand`.
    pub fn multiply_wide(&mut self, signed: bool, operand: Operand) {
        self.form(Size::Quad, &[0xf7], if signed { 5 } else { 4 }, operand, false);
    }

    /// `rax, rdx = rdx:rax / by, rest`.
    pub fn divide(&mut self, size: Size, signed: bool, by: Register) {
        self.form(
            size,
            &[0xf7],
            if signed { 7 } else { 6 },
            Operand::Register(by),
            false,
        );
    }

    /// `cqo` or `cdq`: fills rdx with the sign of rax, as a signed division wants it.
    pub fn extend_rax(&mut self, size: Size) {
        if size == Size::Quad {
            self.byte(0x48);
        }
        self.byte(0x99);
    }

    /// `shift to, count`.
    pub fn shift(&mut self, shift: Shift, size: Size, to: Register, count: u8) {
        let digit = match shift {
            Shift::Left => 4,
            Shift::Right => 5,
            Shift::Arithmetic => 7,
        };
        self.form(size, &[0xc1], digit, Operand::Register(to), false);
        self.byte(count);
    }

    /// `to = from shift count` (BMI2), the count modulo the size.
    pub fn shift_by(&mut self, shift: Shift, size: Size, to: Register, from: Register, count: Register) {
        let prefix = match shift {
            Shift::Left => 1,
            Shift::Right => 3,
            Shift::Arithmetic => 2,
        };
        self.byte(0xc4);
        self.byte((!to & 8) << 4 | 0x40 | (!from & 8) << 2 | 2);
        self.byte(u8::from(size == Size::Quad) << 7 | (!count & 15) << 3 | prefix);
        self.byte(0xf7);
        self.operands(to, Operand::Register(from));
    }

    /// `to` = 1 if the condition holds, else 0. rax is overwritten.
    pub fn set(&mut self, condition: Condition, to: Register) {
        self.bytes.extend([0x0f, 0x90 | condition as u8, 0xc0]);
        self.load(Extend::Byte, to, Operand::Register(RAX));
    }
}
