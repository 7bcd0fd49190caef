//! From decoded ops to machine code: a *superblock*, which is entered at its first op and left at many places.
//!
//! Only the common case is translated. Whatever else there is to do (a page that the TLB does not know, a device, a CSR,
//! a division by zero) leaves the code in front of the instruction, with everything exact, for the interpreter to do.
//!
//! Registers: rbp points to the integer registers and, behind them, the [`Field`]s; rbx to the TLB's entries for
//! loads and stores; r13 to RAM; r14 is the virtual address of the page, which is not known at translation, since
//! code is kept by physical page; r15 is the number of steps left. Seven guest registers live in host registers, the
//! others in memory. rax, rcx and rdx are scratch.

use super::{emit::*, float};
use crate::{
    op::{Code, Op},
    tlb::STORE_DISTANCE,
};

/// Slots of a page, one for each halfword.
pub const SLOTS: usize = 2048;
/// Ops of a superblock.
pub const OPS_MAX: usize = 64;

/// Where [`super::Translations::run`] and the code leave values for one another: indices behind the registers.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Field {
    /// Host address of the TLB's entries for fetches.
    Fetch = 40,
    /// Host address of the table that leads from a place to its page's entry points.
    Pages = 41,
    /// Steps left.
    Left = 42,
    /// Virtual address of the next instruction.
    Pc = 43,
    /// Host address of the code that leaves.
    Exit = 44,
    /// Host address of the floating-point registers.
    Float = 45,
    /// Not 0 if `mstatus.FS` is Dirty, so that they may be used and need no notice of it.
    FloatDirty = 46,
    /// Not 0 if besides NX is accrued already and the rounding mode is RNE, so that a normal result changes no flag.
    FloatPlain = 47,
}

const STATE: Register = RBP;
const TLB: Register = RBX;
pub(super) const RAM: Register = R13;
const PAGE: Register = R14;
const LEFT: Register = R15;

/// Guest registers in host registers: sp and a0 to a5.
const PINNED: [(u8, Register); 7] = [
    (2, R12),
    (10, RSI),
    (11, RDI),
    (12, R8),
    (13, R9),
    (14, R10),
    (15, R11),
];
/// What the caller wants to find again.
const SAVED: [Register; 6] = [RBX, RBP, R12, R13, R14, R15];

pub(super) const fn field(field: Field) -> Memory {
    Memory::at(STATE, field as i32 * 8)
}

fn register(guest: u8) -> Memory {
    Memory::at(STATE, i32::from(guest) * 8)
}

fn pinned(guest: u8) -> Option<Register> {
    PINNED
        .iter()
        .find_map(|&(register, host)| (register == guest).then_some(host))
}

fn operand(guest: u8) -> Operand {
    pinned(guest).map_or(Operand::Memory(register(guest)), Operand::Register)
}

/// The code that enters: `extern "sysv64" fn(state, code, tlb, ram, page)`; and behind how many bytes of it
/// the code that leaves begins, with the next pc in rax.
pub fn stubs() -> (Vec<u8>, usize) {
    let mut e = Emitter::default();
    for register in SAVED {
        e.push(register);
    }
    for (to, from) in [(STATE, RDI), (RAX, RSI), (TLB, RDX), (RAM, RCX), (PAGE, R8)] {
        e.mov(Size::Quad, to, Operand::Register(from));
    }
    e.mov(Size::Quad, LEFT, Operand::Memory(field(Field::Left)));
    for (guest, host) in PINNED {
        e.mov(Size::Quad, host, Operand::Memory(register(guest)));
    }
    e.jump_to(Operand::Register(RAX));
    while !e.bytes.len().is_multiple_of(16) {
        e.bytes.push(0xcc);
    }
    let exit = e.bytes.len();
    e.store(field(Field::Pc), RAX);
    e.store(field(Field::Left), LEFT);
    for (guest, host) in PINNED {
        e.store(register(guest), host);
    }
    for register in SAVED.into_iter().rev() {
        e.pop(register);
    }
    e.ret();
    (e.bytes, exit)
}

/// Can this op be translated?
pub fn knows(op: Op) -> bool {
    use Code::*;
    !matches!(
        op.code,
        NextPage
            | Decode
            | Loose
            | Illegal
            | Mulhsu
            | LrW
            | LrD
            | ScW
            | ScD
            | Csr
            | Ecall
            | Ebreak
            | Sret
            | Mret
            | Wfi
            | SfenceVma
    ) && match op.code {
        AmoW | AmoD => matches!(op.field(), 0x00 | 0x01 | 0x04 | 0x08 | 0x0c),
        Float => float::knows(op),
        _ => true,
    }
}

/// Does control never go on behind this op?
pub fn ends(op: Op) -> bool {
    matches!(op.code, Code::J | Code::Jal | Code::Jr | Code::Jalr)
}

/// A place where the code leaves the straight line.
struct Side {
    jump: Jump,
    /// Ops completed.
    completed: usize,
    /// Where to: a slot, or one outside the page.
    slot: i64,
    /// Not to the code there but to the interpreter.
    leave: bool,
}

/// A superblock under construction.
pub(super) struct Block {
    pub e: Emitter,
    length: usize,
    head: i64,
    start: usize,
    entries: u64,
    sides: Vec<Side>,
}

/// Translates `ops`, which follow one another from `head` on and are all known, only the last of which may end the line. `entries` is
/// the host address of the page's entry points.
pub fn translate(head: usize, ops: &[Op], entries: u64) -> Vec<u8> {
    let mut block = Block {
        e: Emitter::default(),
        length: ops.len(),
        head: head as i64,
        start: 0,
        entries,
        sides: Vec::new(),
    };
    block
        .e
        .alu_immediate(Alu::Sub, Size::Quad, Operand::Register(LEFT), ops.len() as i32);
    let jump = block.e.jump_if(Condition::Below);
    block.side(jump, 0, head as i64, true);
    let mut slot = head;
    for (index, &op) in ops.iter().enumerate() {
        block.op(index, slot, op);
        slot += op.halves();
    }
    if !ops.last().is_some_and(|&op| ends(op)) {
        block.go(slot as i64);
    }
    for side in std::mem::take(&mut block.sides) {
        block.e.land(side.jump);
        let refund = (block.length - side.completed) as i32;
        if refund != 0 {
            block
                .e
                .alu_immediate(Alu::Add, Size::Quad, Operand::Register(LEFT), refund);
        }
        if side.leave {
            block.e.lea(RAX, Memory::at(PAGE, side.slot as i32 * 2));
            block.e.jump_to(Operand::Memory(field(Field::Exit)));
        } else {
            block.go(side.slot);
        }
    }
    block.e.bytes
}

impl Block {
    pub(super) fn side(&mut self, jump: Jump, completed: usize, slot: i64, leave: bool) {
        self.sides.push(Side {
            jump,
            completed,
            slot,
            leave,
        });
    }

    /// Goes on at a slot, or outside the page.
    fn go(&mut self, slot: i64) {
        if slot == self.head {
            self.e.jump_back(self.start);
            return;
        }
        self.e.lea(RAX, Memory::at(PAGE, slot as i32 * 2));
        if (0..SLOTS as i64).contains(&slot) {
            self.e.load_immediate(RCX, self.entries as i64);
            self.e.jump_to(Operand::Memory(Memory::at(RCX, slot as i32 * 8)));
        } else {
            self.go_far();
        }
    }

    /// Goes on at the address in rax, if the TLB knows its page.
    fn go_far(&mut self) {
        let e = &mut self.e;
        e.mov(Size::Double, RCX, Operand::Register(RAX));
        e.shift(Shift::Right, Size::Double, RCX, 8);
        e.alu_immediate(Alu::And, Size::Double, Operand::Register(RCX), 0x3ff0);
        e.alu(Alu::Add, Size::Quad, RCX, Operand::Memory(field(Field::Fetch)));
        e.mov(Size::Quad, RDX, Operand::Register(RAX));
        e.alu_immediate(Alu::And, Size::Quad, Operand::Register(RDX), -4096);
        e.alu(Alu::Cmp, Size::Quad, RDX, Operand::Memory(Memory::at(RCX, 0)));
        let known = e.jump_if(Condition::Equal);
        e.jump_to(Operand::Memory(field(Field::Exit)));
        e.land(known);
        e.mov(Size::Quad, PAGE, Operand::Register(RDX));
        e.mov(Size::Quad, RDX, Operand::Memory(Memory::at(RCX, 8)));
        e.mov(Size::Quad, RCX, Operand::Memory(field(Field::Pages)));
        e.mov(Size::Quad, RCX, Operand::Memory(Memory::indexed(RCX, RDX, 3, 0)));
        e.mov(Size::Double, RDX, Operand::Register(RAX));
        e.alu_immediate(Alu::And, Size::Double, Operand::Register(RDX), 0xffe);
        e.jump_to(Operand::Memory(Memory::indexed(RCX, RDX, 2, 0)));
    }

    /// The register's value, in its own host register or in `scratch`.
    pub(super) fn value(&mut self, guest: u8, scratch: Register) -> Register {
        pinned(guest).unwrap_or_else(|| {
            self.e.mov(Size::Quad, scratch, Operand::Memory(register(guest)));
            scratch
        })
    }

    pub(super) fn target(guest: u8) -> Register {
        pinned(guest).unwrap_or(RAX)
    }

    /// What is in `host` becomes the register's value.
    pub(super) fn define(&mut self, guest: u8, host: Register) {
        match pinned(guest) {
            Some(to) => self.e.mov(Size::Quad, to, Operand::Register(host)),
            None => self.e.store(register(guest), host),
        }
    }

    /// Sign-extends a 32-bit result and defines it.
    fn define_word(&mut self, guest: u8, host: Register) {
        let to = Block::target(guest);
        self.e.load(Extend::WordSigned, to, Operand::Register(host));
        self.define(guest, to);
    }

    fn result(&mut self, size: Size, guest: u8, host: Register) {
        match size {
            Size::Quad => self.define(guest, host),
            Size::Double => self.define_word(guest, host),
        }
    }

    fn binary(&mut self, op: Alu, size: Size, o: Op) {
        let target = Block::target(o.rd);
        // The second operand must not be overwritten before it is used.
        let work = if operand(o.rs2) == Operand::Register(target) && o.rs1 != o.rs2 {
            RAX
        } else {
            target
        };
        self.e.mov(Size::Quad, work, operand(o.rs1));
        self.e.alu(op, size, work, operand(o.rs2));
        self.result(size, o.rd, work);
    }

    fn immediate(&mut self, op: Alu, size: Size, o: Op) {
        let target = Block::target(o.rd);
        if op == Alu::Add
            && size == Size::Quad
            && let Some(from) = pinned(o.rs1)
        {
            self.e.lea(target, Memory::at(from, o.imm));
        } else {
            self.e.mov(Size::Quad, target, operand(o.rs1));
            self.e.alu_immediate(op, size, Operand::Register(target), o.imm);
        }
        self.result(size, o.rd, target);
    }

    fn shift(&mut self, shift: Shift, size: Size, o: Op) {
        let target = Block::target(o.rd);
        self.e.mov(Size::Quad, target, operand(o.rs1));
        let mask = if size == Size::Quad { 63 } else { 31 };
        self.e.shift(shift, size, target, (o.imm & mask) as u8);
        self.result(size, o.rd, target);
    }

    fn shift_by(&mut self, shift: Shift, size: Size, o: Op) {
        let from = self.value(o.rs1, RAX);
        let count = self.value(o.rs2, RCX);
        let target = Block::target(o.rd);
        self.e.shift_by(shift, size, target, from, count);
        self.result(size, o.rd, target);
    }

    fn compare(&mut self, o: Op) {
        let a = self.value(o.rs1, RAX);
        self.e.alu(Alu::Cmp, Size::Quad, a, operand(o.rs2));
    }

    pub(super) fn set(&mut self, condition: Condition, o: Op) {
        let target = Block::target(o.rd);
        self.e.set(condition, target);
        self.define(o.rd, target);
    }

    fn branch(&mut self, condition: Condition, index: usize, slot: usize, o: Op) {
        self.compare(o);
        let jump = self.e.jump_if(condition);
        self.side(jump, index + 1, slot as i64 + i64::from(o.imm), false);
    }

    /// Computes the address into rcx and looks it up; leaves RAM's offset in rcx.
    pub(super) fn reach(&mut self, table: i32, size: i32, index: usize, slot: usize, o: Op) {
        // What an AMO has in its immediate is not an offset.
        let imm = if matches!(o.code, Code::AmoW | Code::AmoD) { 0 } else { o.imm };
        match pinned(o.rs1) {
            Some(from) => self.e.lea(RCX, Memory::at(from, imm)),
            None => {
                self.e.mov(Size::Quad, RCX, Operand::Memory(register(o.rs1)));
                if imm != 0 {
                    self.e
                        .alu_immediate(Alu::Add, Size::Quad, Operand::Register(RCX), imm);
                }
            }
        }
        let e = &mut self.e;
        e.mov(Size::Double, RDX, Operand::Register(RCX));
        e.shift(Shift::Right, Size::Double, RDX, 8);
        e.alu_immediate(Alu::And, Size::Double, Operand::Register(RDX), 0x3ff0);
        e.mov(Size::Quad, RAX, Operand::Register(RCX));
        // An access across its natural border has another tag.
        e.alu_immediate(Alu::And, Size::Quad, Operand::Register(RAX), -4096 | (size - 1));
        e.alu(Alu::Cmp, Size::Quad, RAX, Operand::Memory(Memory::indexed(TLB, RDX, 0, table)));
        let jump = e.jump_if(Condition::NotEqual);
        e.alu(Alu::Add, Size::Quad, RCX, Operand::Memory(Memory::indexed(TLB, RDX, 0, table + 8)));
        self.side(jump, index, slot as i64, true);
    }

    fn load(&mut self, extend: Extend, size: i32, index: usize, slot: usize, o: Op) {
        self.reach(0, size, index, slot, o);
        let target = Block::target(o.rd);
        self.e
            .load(extend, target, Operand::Memory(Memory::indexed(RAM, RCX, 0, 0)));
        self.define(o.rd, target);
    }

    fn store(&mut self, size: u8, index: usize, slot: usize, o: Op) {
        self.reach(STORE_DISTANCE as i32, i32::from(size), index, slot, o);
        let from = self.value(o.rs2, RAX);
        self.e.store_low(size, Memory::indexed(RAM, RCX, 0, 0), from);
    }

    fn divide(&mut self, size: Size, signed: bool, rest: bool, index: usize, slot: usize, o: Op) {
        let e = &mut self.e;
        e.mov(size, RCX, operand(o.rs2));
        if signed {
            // Neither 0 nor -1.
            e.lea(RDX, Memory::at(RCX, 1));
            e.alu_immediate(Alu::Cmp, size, Operand::Register(RDX), 2);
        } else {
            e.alu_immediate(Alu::Cmp, size, Operand::Register(RCX), 1);
        }
        let jump = e.jump_if(Condition::Below);
        e.mov(size, RAX, operand(o.rs1));
        if signed {
            e.extend_rax(size);
        } else {
            e.load_immediate(RDX, 0);
        }
        e.divide(size, signed, RCX);
        self.side(jump, index, slot as i64, true);
        self.result(size, o.rd, if rest { RDX } else { RAX });
    }

    fn amo(&mut self, size: u8, index: usize, slot: usize, o: Op) {
        self.reach(STORE_DISTANCE as i32, i32::from(size), index, slot, o);
        let at = Memory::indexed(RAM, RCX, 0, 0);
        let extend = if size == 8 { Extend::Full } else { Extend::WordSigned };
        self.e.load(extend, RAX, Operand::Memory(at));
        self.e.mov(Size::Quad, RDX, operand(o.rs2));
        let op = match o.field() {
            0x00 => Some(Alu::Add),
            0x04 => Some(Alu::Xor),
            0x08 => Some(Alu::Or),
            0x0c => Some(Alu::And),
            _ => None,
        };
        if let Some(op) = op {
            self.e.alu(op, Size::Quad, RDX, Operand::Register(RAX));
        }
        self.e.store_low(size, at, RDX);
        if o.rd != 0 {
            self.define(o.rd, RAX);
        }
    }

    fn link(&mut self, slot: usize, o: Op) {
        let target = Block::target(o.rd);
        let next = slot + o.halves();
        self.e.lea(target, Memory::at(PAGE, next as i32 * 2));
        self.define(o.rd, target);
    }

    fn op(&mut self, index: usize, slot: usize, o: Op) {
        use Code::*;
        use Size::{Double, Quad};
        match o.code {
            Li => {
                let target = Block::target(o.rd);
                self.e.load_immediate(target, i64::from(o.imm));
                self.define(o.rd, target);
            }
            Mv => {
                let from = self.value(o.rs1, RAX);
                self.define(o.rd, from);
            }
            Auipc => {
                let target = Block::target(o.rd);
                self.e.load_immediate(RCX, i64::from(o.imm) + slot as i64 * 2);
                self.e.lea(target, Memory::indexed(PAGE, RCX, 0, 0));
                self.define(o.rd, target);
            }
            Jal => {
                self.link(slot, o);
                self.go(slot as i64 + i64::from(o.imm));
            }
            J => self.go(slot as i64 + i64::from(o.imm)),
            Jalr | Jr => {
                let from = self.value(o.rs1, RAX);
                // The link may overwrite the base.
                self.e.lea(RDX, Memory::at(from, o.imm));
                if o.code == Jalr {
                    self.link(slot, o);
                }
                self.e.mov(Quad, RAX, Operand::Register(RDX));
                self.e.alu_immediate(Alu::And, Quad, Operand::Register(RAX), -2);
                self.go_far();
            }
            Beq => self.branch(Condition::Equal, index, slot, o),
            Bne => self.branch(Condition::NotEqual, index, slot, o),
            Blt => self.branch(Condition::Less, index, slot, o),
            Bge => self.branch(Condition::GreaterEqual, index, slot, o),
            Bltu => self.branch(Condition::Below, index, slot, o),
            Bgeu => self.branch(Condition::AboveEqual, index, slot, o),
            Lb => self.load(Extend::ByteSigned, 1, index, slot, o),
            Lh => self.load(Extend::HalfSigned, 2, index, slot, o),
            Lw => self.load(Extend::WordSigned, 4, index, slot, o),
            Ld => self.load(Extend::Full, 8, index, slot, o),
            Lbu => self.load(Extend::Byte, 1, index, slot, o),
            Lhu => self.load(Extend::Half, 2, index, slot, o),
            Lwu => self.load(Extend::Word, 4, index, slot, o),
            Sb => self.store(1, index, slot, o),
            Sh => self.store(2, index, slot, o),
            Sw => self.store(4, index, slot, o),
            Sd => self.store(8, index, slot, o),
            Addi => self.immediate(Alu::Add, Quad, o),
            Xori => self.immediate(Alu::Xor, Quad, o),
            Ori => self.immediate(Alu::Or, Quad, o),
            Andi => self.immediate(Alu::And, Quad, o),
            Addiw => self.immediate(Alu::Add, Double, o),
            Slti | Sltiu => {
                let a = self.value(o.rs1, RAX);
                self.e.alu_immediate(Alu::Cmp, Quad, Operand::Register(a), o.imm);
                self.set(if o.code == Slti { Condition::Less } else { Condition::Below }, o);
            }
            Slt | Sltu => {
                self.compare(o);
                self.set(if o.code == Slt { Condition::Less } else { Condition::Below }, o);
            }
            Slli => self.shift(Shift::Left, Quad, o),
            Srli => self.shift(Shift::Right, Quad, o),
            Srai => self.shift(Shift::Arithmetic, Quad, o),
            Slliw => self.shift(Shift::Left, Double, o),
            Srliw => self.shift(Shift::Right, Double, o),
            Sraiw => self.shift(Shift::Arithmetic, Double, o),
            Sll => self.shift_by(Shift::Left, Quad, o),
            Srl => self.shift_by(Shift::Right, Quad, o),
            Sra => self.shift_by(Shift::Arithmetic, Quad, o),
            Sllw => self.shift_by(Shift::Left, Double, o),
            Srlw => self.shift_by(Shift::Right, Double, o),
            Sraw => self.shift_by(Shift::Arithmetic, Double, o),
            Add => self.binary(Alu::Add, Quad, o),
            Sub => self.binary(Alu::Sub, Quad, o),
            Xor => self.binary(Alu::Xor, Quad, o),
            Or => self.binary(Alu::Or, Quad, o),
            And => self.binary(Alu::And, Quad, o),
            Addw => self.binary(Alu::Add, Double, o),
            Subw => self.binary(Alu::Sub, Double, o),
            Mul | Mulw => {
                let size = if o.code == Mul { Quad } else { Double };
                self.e.mov(Quad, RAX, operand(o.rs1));
                self.e.multiply(size, RAX, operand(o.rs2));
                self.result(size, o.rd, RAX);
            }
            Mulh | Mulhu => {
                self.e.mov(Quad, RAX, operand(o.rs1));
                self.e.multiply_wide(o.code == Mulh, operand(o.rs2));
                self.define(o.rd, RDX);
            }
            Div => self.divide(Quad, true, false, index, slot, o),
            Divu => self.divide(Quad, false, false, index, slot, o),
            Rem => self.divide(Quad, true, true, index, slot, o),
            Remu => self.divide(Quad, false, true, index, slot, o),
            Divw => self.divide(Double, true, false, index, slot, o),
            Divuw => self.divide(Double, false, false, index, slot, o),
            Remw => self.divide(Double, true, true, index, slot, o),
            Remuw => self.divide(Double, false, true, index, slot, o),
            AmoW => self.amo(4, index, slot, o),
            AmoD => self.amo(8, index, slot, o),
            Flw => self.float_load(false, index, slot, o),
            Fld => self.float_load(true, index, slot, o),
            Fsw => self.float_store(false, index, slot, o),
            Fsd => self.float_store(true, index, slot, o),
            Float => self.float(index, slot, o),
            // What is not known does not come here.
            _ => {}
        }
    }
}
