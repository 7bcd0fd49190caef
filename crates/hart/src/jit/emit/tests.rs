//! Checks every form of the emitter with every register and address: a disassembler must read back what was
//! asked for.
//!
//! What is expected comes from tables of names and of iced-x86's codes, which fix operation and sizes; no bit
//! of the encoding is computed here.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, OpKind, Register as Name};

use super::*;

mod bits;
mod data;
mod flow;
mod vector;

const BASE: u64 = 0x7f12_3456_7000;

const QUADS: [Name; 16] = {
    use Name::*;
    [
        RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15,
    ]
};
const DOUBLES: [Name; 16] = {
    use Name::*;
    [
        EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, R8D, R9D, R10D, R11D, R12D, R13D, R14D, R15D,
    ]
};
const WORDS: [Name; 16] = {
    use Name::*;
    [
        AX, CX, DX, BX, SP, BP, SI, DI, R8W, R9W, R10W, R11W, R12W, R13W, R14W, R15W,
    ]
};
const BYTES: [Name; 16] = {
    use Name::*;
    [
        AL, CL, DL, BL, SPL, BPL, SIL, DIL, R8L, R9L, R10L, R11L, R12L, R13L, R14L, R15L,
    ]
};
const VECTORS: [Name; 16] = {
    use Name::*;
    [
        XMM0, XMM1, XMM2, XMM3, XMM4, XMM5, XMM6, XMM7, XMM8, XMM9, XMM10, XMM11, XMM12, XMM13, XMM14, XMM15,
    ]
};

/// Displacements on both sides of every value at which their encoding changes, and the least and the
/// greatest.
const DISPLACEMENTS: [i32; 9] = [0, 1, -1, 127, -128, 128, -129, i32::MAX, i32::MIN];

const SIZES: [(Size, [Name; 16]); 2] = [(Size::Quad, QUADS), (Size::Double, DOUBLES)];

/// An operand as the disassembler reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Register(Name),
    Memory {
        base: Name,
        index: Name,
        scale: u32,
        displacement: i64,
    },
    /// An immediate operand, extended to the operand's size as the instruction does it.
    Immediate(u64),
    Target(u64),
}

impl Seen {
    fn of(instruction: &Instruction, operand: u32) -> Seen {
        match instruction.op_kind(operand) {
            OpKind::Register => Seen::Register(instruction.op_register(operand)),
            OpKind::Memory => Seen::Memory {
                base: instruction.memory_base(),
                index: instruction.memory_index(),
                scale: instruction.memory_index_scale(),
                displacement: instruction.memory_displacement64() as i64,
            },
            OpKind::NearBranch64 => Seen::Target(instruction.near_branch64()),
            OpKind::Immediate8to32 => Seen::Immediate(u64::from(instruction.immediate8to32() as u32)),
            _ => Seen::Immediate(instruction.immediate(operand)),
        }
    }

    /// The operand that the disassembler must read where `memory` was asked for.
    fn memory(memory: Memory) -> Seen {
        let (index, scale) = match memory.index {
            None => (Name::None, 1),
            Some((index, shift)) => (QUADS[usize::from(index)], [1, 2, 4, 8][usize::from(shift)]),
        };
        Seen::Memory {
            base: QUADS[usize::from(memory.base)],
            index,
            scale,
            displacement: i64::from(memory.displacement),
        }
    }
}

#[track_caller]
fn assert_reads(instruction: &Instruction, code: Code, operands: &[Seen]) {
    let same = instruction.code() == code
        && instruction.op_count() as usize == operands.len()
        && (0..)
            .zip(operands)
            .all(|(n, operand)| Seen::of(instruction, n) == *operand);
    assert!(same, "{instruction} is not {code:?} {operands:?}");
    let prefixed =
        instruction.has_lock_prefix() || instruction.has_rep_prefix() || instruction.has_repne_prefix();
    assert!(
        !prefixed && instruction.segment_prefix() == Name::None,
        "{instruction} has a prefix too many"
    );
}

/// Checks that `emit` emits one instruction, the expected one, and no byte more.
#[track_caller]
fn assert_emits(code: Code, operands: &[Seen], emit: impl FnOnce(&mut Emitter)) {
    let mut emitter = Emitter::new(BASE);
    emit(&mut emitter);
    let mut decoder = Decoder::with_ip(64, &emitter.bytes, BASE, DecoderOptions::NONE);
    let instruction = decoder.decode();
    assert_reads(&instruction, code, operands);
    assert_eq!(instruction.len(), emitter.here(), "more than {instruction}");
}

#[track_caller]
fn assert_emits_nothing(emit: impl FnOnce(&mut Emitter)) {
    let mut emitter = Emitter::new(BASE);
    emit(&mut emitter);
    assert_eq!(emitter.bytes, []);
}

/// Disassembles all code so far.
fn read(emitter: &Emitter) -> Vec<Instruction> {
    Decoder::with_ip(64, &emitter.bytes, emitter.base, DecoderOptions::NONE)
        .into_iter()
        .collect()
}

/// The registers of a table, by number and by name.
fn registers(names: &[Name]) -> impl Iterator<Item = (Register, Seen)> {
    (0..).zip(names.iter().map(|&name| Seen::Register(name)))
}

/// Every base with every displacement: without an index, and with every index and shift. rsp cannot be an
/// index.
fn memories() -> impl Iterator<Item = Memory> {
    let indices = || (0..16).filter(|&index| index != RSP);
    let shifted = move || indices().flat_map(|index| (0..4).map(move |shift| (index, shift)));
    (0..16).flat_map(move |base| {
        DISPLACEMENTS.into_iter().flat_map(move |displacement| {
            let indexed =
                shifted().map(move |(index, shift)| Memory::indexed(base, index, shift, displacement));
            std::iter::once(Memory::at(base, displacement)).chain(indexed)
        })
    })
}

/// Every register and every place in memory, as operands.
fn operands(names: &[Name]) -> impl Iterator<Item = (Operand, Seen)> {
    let registers = registers(names).map(|(register, seen)| (Operand::Register(register), seen));
    registers.chain(memories().map(|memory| (Operand::Memory(memory), Seen::memory(memory))))
}

/// Checks a form `op register, operand` with every register and every operand.
#[track_caller]
fn assert_pairs(
    code: Code,
    firsts: &[Name],
    seconds: &[Name],
    emit: impl Fn(&mut Emitter, Register, Operand),
) {
    for (operand, second) in operands(seconds) {
        for (register, first) in registers(firsts) {
            assert_emits(code, &[first, second], |e| emit(e, register, operand));
        }
    }
}

/// Checks a form `op [to], register` with every register and every place in memory.
#[track_caller]
fn assert_stores(code: Code, names: &[Name], emit: impl Fn(&mut Emitter, Memory, Register)) {
    for to in memories() {
        for (register, seen) in registers(names) {
            assert_emits(code, &[Seen::memory(to), seen], |e| emit(e, to, register));
        }
    }
}
