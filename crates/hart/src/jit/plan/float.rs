//! Which floating-point instructions are translated, and which of them use integer registers.
//!
//! Translated is what the host's own arithmetic computes as RISC-V demands, as long as no flag changes:
//! double precision with the rounding mode that the host has. Whether that holds in the moment is asked by
//! the code that is made.
//!
//! `instruction` asks these functions, and `generate/float.rs` makes the code. An instruction whose result
//! the host computes differently must never be native: the guest would see whether it was translated.

use crate::op::{FloatForm, FloatKind, Op};

const ROUND_TO_ZERO: u8 = 1;
const ROUND_NEAREST_EVEN: u8 = 0;
const ROUND_DYNAMIC: u8 = 7;

/// Is there machine code for this [`Code::Float`](crate::op::Code::Float)?
pub fn native(op: Op) -> bool {
    use FloatKind::*;
    let form = FloatForm::unpack(op.field());
    let nearest = matches!(form.rounding, ROUND_NEAREST_EVEN | ROUND_DYNAMIC);
    match form.kind {
        MoveToInteger | MoveFromInteger => true,
        Add | Sub | Mul | Div | Sqrt | FromL | Madd | Msub | Nmsub | Nmadd => form.double && nearest,
        // These are exact whatever the rounding mode is, but a reserved mode is illegal.
        FromW | FromWu => form.double && nearest,
        ToW | ToL => form.double && form.rounding == ROUND_TO_ZERO,
        Sgnj | Sgnjn | Sgnjx | Eq | Lt | Le => form.double,
        _ => false,
    }
}

/// Does a native op, a [`Code::Float`](crate::op::Code::Float), read an integer register?
pub fn from_integer(op: Op) -> bool {
    use FloatKind::*;
    let kind = FloatForm::unpack(op.field()).kind;
    matches!(kind, MoveFromInteger | FromL | FromW | FromWu)
}

/// Does a native op, a [`Code::Float`](crate::op::Code::Float), write an integer register?
pub fn to_integer(op: Op) -> bool {
    use FloatKind::*;
    let kind = FloatForm::unpack(op.field()).kind;
    matches!(kind, MoveToInteger | ToW | ToL | Eq | Lt | Le)
}
