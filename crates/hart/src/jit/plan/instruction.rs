//! What a single op does, as far as the translator asks: whether there is machine code for it, which integer
//! registers it reads and writes, and where control goes after it.
//!
//! Each answer depends on the op alone, and holds wherever the op stands.

use super::{csr, float};
use crate::op::{BlockKind, Code, Op};

/// Is there machine code for this op? If not, the interpreter does it each time.
pub fn native(op: Op) -> bool {
    use Code::*;
    match op.code {
        NextPage | Decode | Loose | Illegal | Mulhsu | Ecall | Ebreak | Sret | Mret | Wfi | SfenceWInval
        | SfenceInvalIr => false,
        // The other cache-block instructions are rare.
        Cbo => op.block() == BlockKind::Zero,
        // Swap, add, xor, or, and; the comparing ones are rare.
        AmoW | AmoD => matches!(op.field(), 0x00 | 0x01 | 0x04 | 0x08 | 0x0c),
        Float => float::native(op),
        Csr => csr::native(op),
        _ => true,
    }
}

/// Can a superblock go on at this op? It cannot where there is no instruction of its page.
pub fn follows(op: Op) -> bool {
    !matches!(op.code, Code::NextPage | Code::Decode | Code::Loose)
}

/// Does control never go on from this op to the next one?
pub fn ends(op: Op) -> bool {
    use Code::*;
    matches!(
        op.code,
        J | Jal | Jr | Jalr | Ecall | Ebreak | Sret | Mret | Illegal
    )
}

/// Is this op a conditional branch?
pub fn is_branch(op: Op) -> bool {
    use Code::*;
    matches!(op.code, Beq | Bne | Blt | Bge | Bltu | Bgeu)
}

/// The constant that an op adds to the register that it writes; `None` if it does anything else.
pub fn adds(op: Op) -> Option<i32> {
    (op.code == Code::Addi && op.rs1 == op.rd).then_some(op.imm)
}

/// The integer registers that a native op may read.
pub fn reads(op: Op) -> [Option<u8>; 2] {
    use Code::*;
    match op.code {
        Li | Auipc | Jal | J | Nop => [None, None],
        Float => [float::from_integer(op).then_some(op.rs1), None],
        Fsw | Fsd => [Some(op.rs1), None],
        _ => [Some(op.rs1), op.has_rs2().then_some(op.rs2)],
    }
}

/// The integer register that a native op may write; [`SINK`](crate::op::SINK) for a load into x0.
pub fn writes(op: Op) -> Option<u8> {
    use Code::*;
    match op.code {
        Float => float::to_integer(op).then_some(op.rd),
        Beq | Bne | Blt | Bge | Bltu | Bgeu | Sb | Sh | Sw | Sd | Fsw | Fsd | Flw | Fld | J | Jr | Cbo
        | Nop => None,
        _ => Some(op.rd),
    }
}
