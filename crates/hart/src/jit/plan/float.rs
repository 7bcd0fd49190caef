//! Which floating-point instructions are translated, and which registers they use.
//!
//! Translated is what the host's own arithmetic computes as RISC-V demands, with the rounding mode that the
//! host has: round to nearest even. A conversion to an integer may round in any other way that the host
//! knows. Whether the guest's mode is that of the host in the moment is asked by the code that is made.
//!
//! `instruction`, `quiet` and `vectors` ask these functions, and `generate/float.rs` makes the code. An
//! instruction whose result the host computes differently must never be native: the guest would see whether
//! it was translated.

use crate::op::{Code, FloatForm, FloatKind, Op};

const ROUND_NEAREST_EVEN: u8 = 0;
const ROUND_UP: u8 = 3;
const ROUND_TO_MAX_MAGNITUDE: u8 = 4;
const ROUND_DYNAMIC: u8 = 7;

/// Is there machine code for this [`Code::Float`]?
pub fn native(op: Op) -> bool {
    use FloatKind::*;
    let form = FloatForm::unpack(op.field());
    let rounding = form.rounding;
    let nearest = matches!(rounding, ROUND_NEAREST_EVEN | ROUND_DYNAMIC);
    match form.kind {
        MoveToInteger | MoveFromInteger | Sgnj | Sgnjn | Sgnjx | Min | Max | Eq | Lt | Le | Class => true,
        Add | Sub | Mul | Div | Sqrt | Madd | Msub | Nmsub | Nmadd | FromL | FromLu => nearest,
        // These are exact whatever the rounding mode is, but a reserved mode is illegal.
        FromW | FromWu | Convert if form.double => nearest || rounding <= ROUND_TO_MAX_MAGNITUDE,
        FromW | FromWu | Convert => nearest,
        ToW | ToWu | ToL | ToLu => nearest || rounding <= ROUND_UP,
    }
}

/// Does a native op, a [`Code::Float`], read an integer register?
pub fn from_integer(op: Op) -> bool {
    use FloatKind::*;
    let kind = FloatForm::unpack(op.field()).kind;
    matches!(kind, MoveFromInteger | FromL | FromLu | FromW | FromWu)
}

/// Does a native op, a [`Code::Float`], write an integer register?
pub fn to_integer(op: Op) -> bool {
    use FloatKind::*;
    let kind = FloatForm::unpack(op.field()).kind;
    matches!(
        kind,
        MoveToInteger | ToW | ToWu | ToL | ToLu | Eq | Lt | Le | Class
    )
}

/// Is this op a comparison, which raises no flag if both operands are numbers?
pub fn compares(op: Op) -> bool {
    use FloatKind::*;
    op.code == Code::Float && matches!(FloatForm::unpack(op.field()).kind, Eq | Lt | Le)
}

/// The floating-point registers that an op reads or writes, each as often as it does.
pub fn registers(op: Op) -> [Option<u8>; 4] {
    use FloatKind::*;
    match op.code {
        Code::Flw | Code::Fld => return [Some(op.rd), None, None, None],
        Code::Fsw | Code::Fsd => return [Some(op.rs2), None, None, None],
        Code::Float => {}
        _ => return [None; 4],
    }
    let form = FloatForm::unpack(op.field());
    let fused = matches!(form.kind, Madd | Msub | Nmsub | Nmadd);
    let second = matches!(
        form.kind,
        Add | Sub | Mul | Div | Sgnj | Sgnjn | Sgnjx | Min | Max | Eq | Lt | Le
    );
    [
        (!from_integer(op)).then_some(op.rs1),
        (second || fused).then_some(op.rs2),
        fused.then_some(form.rs3 as u8),
        (!to_integer(op)).then_some(op.rd),
    ]
}
