//! CSR instructions taken apart, and which of them are translated.
//!
//! Translated are accesses to those registers of supervisor mode that just hold a value, as every entry to a
//! kernel and every return from it uses them; to `sstatus`, by which a kernel locks interrupts out and in
//! again; and to the floating-point flags, which compilers save and restore around comparisons. Of `fcsr` and
//! `frm` only reads are. All other CSR instructions are the interpreter's.
//!
//! `instruction` asks [`native`], and `generate/csr.rs` makes the code. A register but `sstatus` that does
//! more than hold a value must never be native: generated code would leave the rest undone.

use crate::{csr, op::Op};

/// The address of `sstatus`.
const STATUS: u32 = 0x100;

/// The addresses of `fflags`, `frm` and `fcsr`.
pub const FFLAGS: u32 = 1;
pub const FRM: u32 = 2;
const FCSR: u32 = 3;

/// What a CSR instruction does to its register (unprivileged manual, chapter "Zicsr").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `csrrw`: writes it.
    Write,
    /// `csrrs`: sets bits of it.
    Set,
    /// `csrrc`: clears bits of it.
    Clear,
}

/// What this [`Code::Csr`](crate::op::Code::Csr) does to its register.
pub fn change(op: Op) -> Change {
    match op.imm >> 12 & 3 {
        1 => Change::Write,
        2 => Change::Set,
        _ => Change::Clear,
    }
}

/// Is the operand of this instruction the number in its `rs1` field, and not a register?
pub fn is_immediate(op: Op) -> bool {
    op.imm >> 14 & 1 != 0
}

/// The address of the register that this instruction accesses.
pub fn address(op: Op) -> u32 {
    op.imm as u32 >> 20
}

/// May this instruction write its register? To set or clear the bits of x0 or of the number 0 is no write.
pub fn may_write(op: Op) -> bool {
    change(op) == Change::Write || op.rs1 != 0
}

/// Is there machine code for this [`Code::Csr`](crate::op::Code::Csr)?
pub fn native(op: Op) -> bool {
    // Setting and clearing bits is rare in the others.
    let simple = change(op) == Change::Write || op.rs1 == 0;
    match address(op) {
        STATUS | FFLAGS => true,
        // A write may change the rounding mode, and with it what there is code for.
        FRM | FCSR => !may_write(op),
        address => csr::plain(address).is_some() && simple,
    }
}

/// Is this an access to `fflags`, `frm` or `fcsr`?
pub fn is_float(op: Op) -> bool {
    matches!(address(op), FFLAGS | FRM | FCSR)
}
