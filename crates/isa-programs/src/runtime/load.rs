//! From a record to a running program: pages, CSRs, registers.
//!
//! The image starts here, and the end of each program comes back here for the next one. Everything that a
//! program can have changed is set anew, so that no program sees what another did.

use super::assembler::{Assembler, If};
use crate::{
    encode::{self, addi, csrr, csrw, ld, number, opcode, register::*, sd, slli},
    layout::{
        CODE, CODE_BYTES, DATA, DATA_PAGES, HEADER, LOADED, PAGE, RECORDS, SAVED, STUB, TABLE_PAGES, TABLES,
        TEMPLATES, record, saved,
    },
};

/// The bits of `mstatus.FS`.
pub(super) const FS: u64 = 3 << 13;

/// Where the CLINT has the timer of the first hart.
const MTIMECMP: u64 = 0x200_4000;

/// What runs after reset: sends other harts to sleep, and sets up what stays the same for all programs.
pub(super) fn start(a: &mut Assembler) {
    // One hart works. Others may be there: QEMU's AMOs are only as the manual says when there are several.
    a.word(csrr(T0, number::MHARTID));
    a.branch(If::Equal, T0, ZERO, "first_hart");
    a.repeat();
    a.word(encode::WFI);
    a.while_(If::Equal, ZERO, ZERO);
    a.label("first_hart");
    a.constant(SP, SAVED);
    a.constant(T0, HEADER);
    a.word(ld(T1, T0, 0));
    a.word(sd(T1, SP, saved::LEFT));
    a.word(ld(T1, T0, 8));
    a.word(sd(T1, SP, saved::VERBOSE));
    a.constant(T0, RECORDS);
    a.word(sd(T0, SP, saved::RECORD));
    // mtimecmp: never. It starts as 0 in QEMU.
    a.constant(T0, MTIMECMP);
    a.word(addi(T1, ZERO, -1));
    a.word(sd(T1, T0, 0));
    // Delegated exceptions: straight on to M-mode.
    a.constant(T0, STUB);
    a.constant(T1, PAGE);
    a.op(0, 0, T1, T1, T0);
    a.constant(T2, u64::from(encode::ECALL) << 32 | u64::from(encode::ECALL));
    a.repeat();
    a.word(sd(T2, T0, 0));
    a.word(addi(T0, T0, 8));
    a.while_(If::NotEqual, T0, T1);
}

/// The byte offset of a word of the record.
fn field(word: usize) -> i32 {
    word as i32 * 8
}

/// Loads and starts the next program, or switches off.
pub(super) fn program(a: &mut Assembler) {
    a.label("next");
    a.constant(SP, SAVED);
    a.word(ld(T0, SP, saved::LEFT));
    a.branch(If::NotEqual, T0, ZERO, "more");
    a.constant(T0, 0x10_0000);
    a.constant(T1, 0x5555);
    a.word(encode::s(opcode::STORE, 2, T0, T1, 0));
    a.repeat();
    a.while_(If::Equal, ZERO, ZERO);
    a.label("more");
    a.word(addi(T0, T0, -1));
    a.word(sd(T0, SP, saved::LEFT));
    a.word(ld(S0, SP, saved::RECORD));
    pages(a);
    csrs(a);
    for f in 0..32 {
        a.word(encode::i(
            opcode::LOAD_FP,
            3,
            f,
            S0,
            field(record::F + f as usize),
        ));
    }
    // fcsr once more: the loop above must not matter to it, but FS does.
    a.word(ld(T0, S0, field(record::CSRS + fcsr_index())));
    a.word(csrw(number::FCSR, T0));
    a.word(ld(T0, S0, field(record::START)));
    a.word(csrw(number::MEPC, T0));
    for zeroed in [saved::HASH, saved::TRAPS, saved::HIGH, saved::COUNT] {
        a.word(sd(ZERO, SP, zeroed));
    }
    a.word(csrw(number::MSCRATCH, SP));
    a.word(csrr(T0, number::MCYCLE));
    a.word(sd(T0, SP, saved::ENTERED));
    a.word(ld(T0, S0, field(record::STATUS)));
    a.word(csrw(number::MSTATUS, T0));
    for x in (1..32).filter(|&x| x != S0) {
        a.word(ld(x, S0, field(record::X + x as usize)));
    }
    a.word(ld(S0, S0, field(record::X + S0 as usize)));
    a.word(encode::MRET);
}

fn fcsr_index() -> usize {
    LOADED
        .iter()
        .position(|&number| number == number::FCSR)
        .unwrap_or(0)
}

/// Fills code, data and page tables. S0 holds the record's address; S1 is left at the end of the pokes.
fn pages(a: &mut Assembler) {
    a.constant(T0, CODE);
    a.constant(T1, CODE + CODE_BYTES);
    zero(a);
    a.constant(T0, TABLES);
    a.constant(T1, TABLES + TABLE_PAGES * PAGE);
    zero(a);
    // Data pages: T0 runs, A0 is the template's number.
    a.constant(T0, DATA);
    a.constant(A5, DATA + DATA_PAGES * PAGE);
    a.word(addi(A4, S0, field(record::PAGES)));
    a.repeat();
    a.word(ld(A0, A4, 0));
    a.word(addi(A4, A4, 8));
    a.word(slli(A0, A0, 12));
    a.constant(A1, TEMPLATES);
    a.op(0, 0, A0, A0, A1);
    a.constant(T1, PAGE);
    a.op(0, 0, T1, T1, T0);
    copy(a);
    a.while_(If::NotEqual, T0, A5);
    // Pokes.
    a.word(addi(S1, S0, 2047));
    a.word(addi(S1, S1, field(record::REST) - 2047));
    a.word(ld(A0, S0, field(record::POKES)));
    a.branch(If::Equal, A0, ZERO, "poked");
    a.repeat();
    a.word(ld(T0, S1, 0));
    a.word(ld(T1, S1, 8));
    a.word(sd(T1, T0, 0));
    a.word(addi(S1, S1, 16));
    a.word(addi(A0, A0, -1));
    a.while_(If::NotEqual, A0, ZERO);
    a.label("poked");
    // Code.
    a.constant(T0, CODE);
    a.word(ld(T1, S0, field(record::CODE_AT)));
    a.op(0, 0, T0, T0, T1);
    a.word(ld(T1, S0, field(record::CODE_BYTES)));
    a.op(0, 0, T1, T1, T0);
    a.copy(A0, S1);
    copy(a);
    a.word(encode::FENCE_I);
    a.word(encode::SFENCE_VMA);
}

/// Zeroes from T0 to T1, a multiple of 64 bytes.
fn zero(a: &mut Assembler) {
    a.repeat();
    for offset in 0..8 {
        a.word(sd(ZERO, T0, offset * 8));
    }
    a.word(addi(T0, T0, 64));
    a.while_(If::NotEqual, T0, T1);
}

/// Copies from A0 to T0, until T0 is T1, a multiple of 8 bytes. Clobbers T2.
fn copy(a: &mut Assembler) {
    a.repeat();
    a.word(ld(T2, A0, 0));
    a.word(sd(T2, T0, 0));
    a.word(addi(A0, A0, 8));
    a.word(addi(T0, T0, 8));
    a.while_(If::NotEqual, T0, T1);
}

/// Makes the CSRs neutral, then sets them as the record says. S0 holds the record's address.
fn csrs(a: &mut Assembler) {
    for zeroed in [
        number::MIE,
        number::MENVCFG,
        number::MIP,
        number::SATP,
        number::MCOUNTINHIBIT,
    ] {
        a.word(csrw(zeroed, ZERO));
    }
    a.word(addi(T0, ZERO, -1));
    a.word(csrw(number::STIMECMP, T0));
    a.constant(T0, FS);
    a.word(csrw(number::MSTATUS, T0));
    for (index, &number) in LOADED.iter().enumerate() {
        a.word(ld(T0, S0, field(record::CSRS + index)));
        a.word(csrw(number, T0));
    }
    a.call("set_trap_vector");
    a.word(encode::SFENCE_VMA);
}
