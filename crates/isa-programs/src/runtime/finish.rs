//! The end of a program: hashes registers, CSRs and pages, prints the hash.
//!
//! The trap handler comes here after the last trap of a program, and from here the runtime goes on to the
//! next record. What is not the program's doing (interrupt lines of the board, the count of instructions)
//! never enters the hash.

use super::{
    assembler::{Assembler, If},
    hash::mix,
    load::FS,
};
use crate::{
    encode::{self, addi, csr, csrr, csrw, ld, number, opcode, register::*, srli},
    layout::{CODE, CODE_BYTES, DATA, DATA_PAGES, HASHED, PAGE, TABLE_PAGES, TABLES, record, saved},
};

/// The bits of `mip` that the board drives, which are not the program's doing.
const BOARD_LINES: u64 = 1 << 3 | 1 << 7 | 1 << 11;
/// Where the board's UART is; its line status register is at offset 5.
const UART: u64 = 0x1000_0000;

/// What follows the last trap of a program. S0 holds the address of the variables, S1 the hash, S11 the
/// multiplier.
pub(super) fn program(a: &mut Assembler) {
    a.label("finish");
    a.word(csrw(number::MIE, ZERO));
    a.word(csrr(T1, number::MIP));
    a.constant(T2, !BOARD_LINES);
    a.op(0, 7, T1, T1, T2);
    mix(a, T1);
    a.constant(T1, FS);
    a.word(csr(2, ZERO, number::MSTATUS, T1));
    a.call("hash_float");
    for number in HASHED {
        a.word(csrr(T1, number));
        mix(a, T1);
    }
    verbose(a);
    // An entry that covers half of a doubleword would keep even M-mode from reading it.
    for number in [number::PMPCFG0, number::PMPCFG2] {
        a.word(csrw(number, ZERO));
    }
    // All data pages that may be read, then page tables and code.
    a.word(ld(S6, S0, saved::RECORD));
    a.word(ld(S2, S6, record::UNREADABLE as i32 * 8));
    a.constant(S3, DATA);
    a.constant(S4, DATA + DATA_PAGES * PAGE);
    a.repeat();
    a.copy(A0, S3);
    a.constant(A1, PAGE);
    a.op(0, 0, A1, A1, A0);
    a.copy(S3, A1);
    a.word(encode::i(opcode::OP_IMM, 7, T1, S2, 1));
    a.word(srli(S2, S2, 1));
    a.word(encode::r(opcode::BRANCH, If::NotEqual as u32, 0, 0, T1, ZERO) | encode::branch_offset(8));
    a.call("hash_words");
    a.while_(If::NotEqual, S3, S4);
    for (from, bytes) in [(TABLES, TABLE_PAGES * PAGE), (CODE, CODE_BYTES)] {
        a.constant(A0, from);
        a.constant(A1, from + bytes);
        a.call("hash_words");
    }
    a.copy(A0, S1);
    a.call("print_hex");
    a.word(addi(A0, ZERO, i32::from(b' ')));
    a.call("print_byte");
    a.word(ld(A0, S0, saved::COUNT));
    a.call("print_hex");
    print_line(a);
    // On to the next record.
    a.word(ld(T1, S6, record::BYTES as i32 * 8));
    a.op(0, 0, S6, S6, T1);
    a.word(encode::sd(S6, S0, saved::RECORD));
    a.jump("next");
}

/// Prints all registers and CSRs, each as a letter and its value.
fn verbose(a: &mut Assembler) {
    a.word(ld(T0, S0, saved::VERBOSE));
    a.branch(If::Equal, T0, ZERO, "end_printed");
    for (letter, offset) in [(b'x', saved::X), (b'f', saved::F)] {
        a.word(addi(S3, S0, offset));
        a.word(addi(S4, S0, offset + 256));
        a.repeat();
        a.word(ld(A1, S3, 0));
        a.word(addi(S3, S3, 8));
        print_value(a, letter, A1);
        a.while_(If::NotEqual, S3, S4);
        print_line(a);
    }
    for number in HASHED {
        a.word(csrr(A1, number));
        print_value(a, b'c', A1);
    }
    print_line(a);
    a.label("end_printed");
}

/// Prints a letter and a register, which must not be one of A0, T0 to T2 or RA.
pub(super) fn print_value(a: &mut Assembler, letter: u8, register: u32) {
    a.word(addi(A0, ZERO, i32::from(letter)));
    a.call("print_byte");
    a.copy(A0, register);
    a.call("print_hex");
}

pub(super) fn print_line(a: &mut Assembler) {
    a.word(addi(A0, ZERO, i32::from(b'\n')));
    a.call("print_byte");
}

/// The subroutines that are called from several places.
pub(super) fn subroutines(a: &mut Assembler) {
    // Hashes from A0 to A1, a multiple of 8 bytes. Clobbers T0, T1.
    a.label("hash_words");
    a.repeat();
    a.word(ld(T1, A0, 0));
    mix(a, T1);
    a.word(addi(A0, A0, 8));
    a.while_(If::NotEqual, A0, A1);
    a.ret();

    // Saves and hashes floating-point registers and fcsr. Clobbers A0, A1, A2, T0, T1.
    a.label("hash_float");
    for f in 0..32 {
        a.word(encode::s(opcode::STORE_FP, 3, S0, f, saved::F + 8 * f as i32));
    }
    a.word(csrr(T1, number::FCSR));
    a.word(encode::sd(T1, S0, saved::F + 256));
    a.copy(A2, RA);
    a.word(addi(A0, S0, saved::F));
    a.word(addi(A1, S0, saved::F + 264));
    a.call("hash_words");
    a.copy(RA, A2);
    a.ret();

    // Prints A0 as 16 hexadecimal digits. Clobbers T0 to T4, A0.
    a.label("print_hex");
    a.copy(A2, RA);
    a.copy(T3, A0);
    a.word(addi(T4, ZERO, 60));
    a.repeat();
    a.op(0, 5, A0, T3, T4);
    a.word(encode::i(opcode::OP_IMM, 7, A0, A0, 15));
    a.word(encode::i(opcode::OP_IMM, 3, T0, A0, 10));
    a.word(addi(A0, A0, i32::from(b'0')));
    a.word(encode::r(opcode::BRANCH, If::NotEqual as u32, 0, 0, T0, ZERO) | encode::branch_offset(8));
    a.word(addi(A0, A0, i32::from(b'a' - b'0') - 10));
    a.call("print_byte");
    a.word(addi(T4, T4, -4));
    a.word(encode::r(opcode::OP, 2, 0, T0, T4, ZERO));
    a.while_(If::Equal, T0, ZERO);
    a.copy(RA, A2);
    a.ret();

    // Sends the byte in A0. Clobbers T0 and T1.
    a.label("print_byte");
    a.constant(T0, UART);
    a.repeat();
    a.word(encode::i(opcode::LOAD, 4, T1, T0, 5));
    a.word(encode::i(opcode::OP_IMM, 7, T1, T1, 0x20));
    a.while_(If::Equal, T1, ZERO);
    a.word(encode::s(opcode::STORE, 0, T0, A0, 0));
    a.ret();
}
