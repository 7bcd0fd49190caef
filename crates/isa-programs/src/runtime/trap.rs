//! The trap handler: hashes what trapped and all registers, then decides where the program goes on.
//!
//! Most traps go on behind the trapping instruction, in the privilege mode they came from; `ecall` goes back
//! to the program's own mode; a fetch that failed, or a jump out of the code, goes on at the next landing:
//! the first multiple of [`LANDING`] bytes behind all traps so far, where the generator sees to it that an
//! instruction starts. So a program makes progress whatever it does.

use super::{
    assembler::{Assembler, If},
    finish::{print_line, print_value},
    hash::mix,
    load::FS,
};
use crate::{
    encode::{self, addi, csr, csrr, csrw, ld, number, opcode, register::*, sd, slli, srli},
    layout::{CODE, CODE_BYTES, SAVED, record, saved},
};

/// Bytes from one landing to the next.
pub const LANDING: u64 = 64;

// The places of two fields of `mstatus`.
const MPP_SHIFT: u32 = 11;
const SPP_SHIFT: u32 = 8;

/// The handler, and the subroutine that installs it.
pub(super) fn handler(a: &mut Assembler) {
    a.label("set_trap_vector");
    a.word(encode::u(opcode::AUIPC, T0, 0));
    a.word(addi(T0, T0, 16));
    a.word(csrw(number::MTVEC, T0));
    a.ret();
    a.label("trap"); // Directly behind: at auipc + 16.
    enter(a);
    hash_registers(a);
    verbose(a);
    delegated(a);
    locate(a);
    resume(a);
}

/// Saves the registers. Leaves the address of the variables in SP and S0, the hash in S1, and cause, pc,
/// value and status of the trap in S2 to S5.
fn enter(a: &mut Assembler) {
    a.word(csr(1, SP, number::MSCRATCH, SP));
    for x in (1..32).filter(|&x| x != SP) {
        a.word(sd(x, SP, saved::X + 8 * x as i32));
    }
    a.word(csrr(T0, number::MCYCLE));
    a.word(csrr(T1, number::MSCRATCH));
    a.word(sd(T1, SP, saved::X + 8 * SP as i32));
    a.word(csrw(number::MSCRATCH, SP));
    a.copy(S0, SP);
    a.word(ld(T1, S0, saved::ENTERED));
    a.op(0x20, 0, T0, T0, T1);
    a.word(ld(T1, S0, saved::COUNT));
    a.op(0, 0, T0, T0, T1);
    // Instructions of the runtime between the two readings of mcycle.
    a.word(addi(T0, T0, -(OVERHEAD as i32)));
    a.word(sd(T0, S0, saved::COUNT));
    a.word(ld(S1, S0, saved::HASH));
    a.constant(S11, super::hash::MULTIPLIER);
    for (register, number) in [
        (S2, number::MCAUSE),
        (S3, number::MEPC),
        (S4, number::MTVAL),
        (S5, number::MSTATUS),
    ] {
        a.word(csrr(register, number));
    }
    mend_value(a, "value_mended");
    a.word(csrw(number::MTVAL, S4));
    for register in [S2, S3, S4, S5] {
        mix(a, register);
    }
}

/// Puts the instruction into S4, the trap value, if it is an illegal `mret` or cache-block instruction: for
/// these QEMU 10 leaves the value of some earlier trap. S2 holds the cause, S3 the pc.
fn mend_value(a: &mut Assembler, done: &'static str) {
    a.word(addi(T0, S2, -2));
    a.branch(If::NotEqual, T0, ZERO, done);
    a.word(ld(S6, S0, saved::RECORD));
    a.constant(T2, CODE_BYTES);
    for base in [record::CODE_BASE, record::USER_BASE] {
        // An illegal instruction has been fetched: if it is in the code, all of it is.
        a.word(ld(T1, S6, base as i32 * 8));
        a.op(0x20, 0, T1, S3, T1);
        let skip = |bytes| {
            encode::r(opcode::BRANCH, If::AtLeastUnsigned as u32, 0, 0, T1, T2) | encode::branch_offset(bytes)
        };
        let mut body = Assembler::default();
        body.constant(T0, CODE);
        body.op(0, 0, T1, T1, T0);
        body.word(encode::i(opcode::LOAD, 5, T0, T1, 0));
        body.word(encode::i(opcode::LOAD, 5, T1, T1, 2));
        body.word(slli(T1, T1, 16));
        body.op(0, 6, T0, T0, T1);
        body.constant(T1, u64::from(encode::MRET));
        body.word(encode::r(opcode::BRANCH, If::NotEqual as u32, 0, 0, T0, T1) | encode::branch_offset(8));
        body.copy(S4, T0);
        // A cache-block instruction, by what all of them have in common: fifteen bits.
        body.word(slli(T3, T0, 49));
        body.word(srli(T3, T3, 49));
        body.constant(T1, u64::from(opcode::MISC_MEM | 2 << 12));
        body.word(encode::r(opcode::BRANCH, If::NotEqual as u32, 0, 0, T3, T1) | encode::branch_offset(8));
        body.copy(S4, T0);
        let words = body.words();
        a.word(skip(words.len() as i32 * 4 + 4));
        for word in words {
            a.word(word);
        }
    }
    a.label(done);
}

/// How many instructions of the runtime lie between its two readings of `mcycle`: on the way out the reading
/// itself, a store, the restoring of registers and `mret`; on the way in the swap of SP and the saving of
/// registers.
const OVERHEAD: u32 = 1 + 1 + 31 + 1 + 1 + 30;

/// Hashes the integer registers, and the floating-point ones with `fcsr` if they are on.
fn hash_registers(a: &mut Assembler) {
    a.word(addi(A0, S0, saved::X + 8));
    a.word(addi(A1, S0, saved::X + 256));
    a.call("hash_words");
    a.constant(T1, FS);
    a.op(0, 7, T1, T1, S5);
    a.branch(If::Equal, T1, ZERO, "float_hashed");
    a.call("hash_float");
    a.label("float_hashed");
}

/// Prints cause, pc, value and status of the trap, the same of S-mode, and the hash.
fn verbose(a: &mut Assembler) {
    a.word(ld(T0, S0, saved::VERBOSE));
    a.branch(If::Equal, T0, ZERO, "trap_printed");
    for (letter, register) in [(b't', S2), (b'e', S3), (b'v', S4), (b's', S5)] {
        print_value(a, letter, register);
    }
    for (letter, number) in [
        (b'C', number::SCAUSE),
        (b'E', number::SEPC),
        (b'V', number::STVAL),
    ] {
        a.word(csrr(A1, number));
        print_value(a, letter, A1);
    }
    print_value(a, b'#', S1);
    print_line(a);
    a.label("trap_printed");
}

/// If the trap comes from the stub, the original trap is S-mode's: hashes that and undoes it as `sret`
/// would. An `ecall` of the program's own takes it back to its home mode.
fn delegated(a: &mut Assembler) {
    a.word(csrr(T0, number::STVEC));
    a.word(encode::i(opcode::OP_IMM, 7, T0, T0, -4));
    a.op(0x20, 0, T0, S3, T0);
    a.word(encode::i(opcode::OP_IMM, 3, T1, T0, 64));
    a.branch(If::Equal, T1, ZERO, "direct");
    for (register, number) in [(S2, number::SCAUSE), (S3, number::SEPC), (S4, number::STVAL)] {
        a.word(csrr(register, number));
    }
    mend_value(a, "delegated_value_mended");
    a.word(csrw(number::STVAL, S4));
    for register in [S2, S3, S4] {
        mix(a, register);
    }
    // MPP = SPP; SIE = SPIE; SPIE = 1; SPP = 0. SIE is bit 1, SPIE bit 5.
    a.word(srli(T1, S5, SPP_SHIFT));
    a.word(encode::i(opcode::OP_IMM, 7, T1, T1, 1));
    a.word(slli(T1, T1, MPP_SHIFT));
    a.word(srli(T2, S5, 4));
    a.word(encode::i(opcode::OP_IMM, 7, T2, T2, 2));
    a.op(0, 6, T1, T1, T2);
    a.constant(T2, !(3 << MPP_SHIFT | 1 << SPP_SHIFT | 2));
    a.op(0, 7, S5, S5, T2);
    a.op(0, 6, S5, S5, T1);
    a.word(encode::i(opcode::OP_IMM, 6, S5, S5, 32));
    a.jump("locate");
    a.label("direct");
    a.word(addi(T0, S2, -8));
    a.word(encode::i(opcode::OP_IMM, 3, T0, T0, 4));
    a.branch(If::Equal, T0, ZERO, "locate");
    a.word(ld(S6, S0, saved::RECORD));
    a.constant(T0, !(3 << MPP_SHIFT));
    a.op(0, 7, S5, S5, T0);
    a.word(ld(T0, S6, record::HOME as i32 * 8));
    a.op(0, 6, S5, S5, T0);
}

/// Computes from pc and cause the offset in the code at which to go on, in T0. Leaves the record's address in
/// S6, the base address for the mode to return to in S7, and the offset of the program's end in S8.
fn locate(a: &mut Assembler) {
    a.label("locate");
    a.word(ld(S6, S0, saved::RECORD));
    a.word(ld(S8, S6, record::END as i32 * 8));
    a.word(ld(A0, S6, record::CODE_BASE as i32 * 8));
    a.word(ld(A1, S6, record::USER_BASE as i32 * 8));
    a.constant(T1, 3 << MPP_SHIFT);
    a.op(0, 7, T1, T1, S5);
    a.copy(S7, A0);
    a.branch(If::NotEqual, T1, ZERO, "base_known");
    a.copy(S7, A1);
    a.label("base_known");
    // An interrupt would come again at once.
    a.branch(If::Less, ZERO, S2, "not_interrupt");
    a.branch(If::Equal, ZERO, S2, "not_interrupt");
    a.word(addi(T1, ZERO, 1));
    a.op(0, 1, T1, T1, S2);
    a.word(csr(3, ZERO, number::MIE, T1));
    a.label("not_interrupt");
    a.word(ld(T3, S0, saved::HIGH));
    a.constant(T2, CODE_BYTES);
    a.op(0x20, 0, T0, S3, A0);
    a.branch(If::LessUnsigned, T0, T2, "inside");
    a.op(0x20, 0, T0, S3, A1);
    a.branch(If::AtLeastUnsigned, T0, T2, "wild");
    a.label("inside");
    a.branch(If::AtLeastUnsigned, T0, S8, "finish");
    a.branch(If::LessUnsigned, T0, T3, "not_higher");
    a.copy(T3, T0);
    a.label("not_higher");
    a.word(sd(T3, S0, saved::HIGH));
    a.branch(If::Less, S2, ZERO, "resume");
    for fetch_fault in [1, 12] {
        a.word(addi(T1, ZERO, fetch_fault));
        a.branch(If::Equal, S2, T1, "wild");
    }
    a.constant(T1, CODE);
    a.op(0, 0, T1, T1, T0);
    a.word(encode::i(opcode::LOAD, 5, T1, T1, 0));
    a.word(encode::i(opcode::OP_IMM, 7, T1, T1, 3));
    a.word(addi(T1, T1, -3));
    a.word(addi(T0, T0, 2));
    a.branch(If::NotEqual, T1, ZERO, "resume");
    a.word(addi(T0, T0, 2));
    a.jump("resume");
    a.label("wild");
    a.word(encode::i(opcode::OP_IMM, 6, T0, T3, LANDING as i32 - 1));
    a.word(addi(T0, T0, 1));
    a.word(sd(T0, S0, saved::HIGH));
}

/// Goes on at the offset in T0.
fn resume(a: &mut Assembler) {
    a.label("resume");
    a.branch(If::AtLeastUnsigned, T0, S8, "finish");
    a.word(ld(T1, S0, saved::TRAPS));
    a.word(addi(T1, T1, 1));
    a.word(sd(T1, S0, saved::TRAPS));
    a.word(ld(T2, S6, record::TRAPS_MAX as i32 * 8));
    a.branch(If::AtLeastUnsigned, T1, T2, "finish");
    a.op(0, 0, S7, S7, T0);
    a.word(csrw(number::MEPC, S7));
    a.word(ld(T1, S6, record::CLEAR as i32 * 8));
    a.op(0, 7, T1, T1, S5);
    a.op(0, 4, S5, S5, T1);
    a.word(ld(T1, S6, record::SET as i32 * 8));
    a.op(0, 6, S5, S5, T1);
    a.word(csrw(number::MSTATUS, S5));
    a.word(sd(S1, S0, saved::HASH));
    a.word(csrr(T0, number::MCYCLE));
    a.word(sd(T0, S0, saved::ENTERED));
    for x in (1..32).filter(|&x| x != SP) {
        a.word(ld(x, SP, saved::X + 8 * x as i32));
    }
    a.word(ld(SP, SP, saved::X + 8 * SP as i32));
    a.word(encode::MRET);
    const _: () = assert!(SAVED & 0xfff == 0);
}
