//! `Op`: one decoded instruction in eight bytes, which both the interpreter and the translator work from.
//!
//! `decode` makes it from instruction bits; the interpreter executes it, `jit` translates it, `disasm` shows
//! it. An `Op` must not depend on its address: what depends on the pc is computed when it runs, so that
//! decoded code is shared by everybody who maps the same physical page.

/// What an [`Op`] does. The names are the manual's mnemonics, but for the first four, which are no
/// instructions.
///
/// The dispatch loop has arms for the first code and for the last, so that the compiler needs no check of the
/// range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the manual's mnemonics")]
pub enum Code {
    /// No instruction: execution has run off the end of a page.
    NextPage = 0,
    /// The instruction is not decoded yet.
    Decode,
    /// The instruction must be fetched anew each time: it straddles two pages or does not lie in RAM.
    Loose,
    /// The encoding is illegal or reserved; `imm` holds the bits.
    Illegal,
    /// `rd = imm`: `lui`, `li`.
    Li,
    /// `rd = rs1`.
    Mv,
    Auipc,
    Jal,
    /// `jal x0`.
    J,
    Jalr,
    /// `jalr x0`.
    Jr,
    Beq,
    Bne,
    Blt,
    Bge,
    Bltu,
    Bgeu,
    Lb,
    Lh,
    Lw,
    Ld,
    Lbu,
    Lhu,
    Lwu,
    Sb,
    Sh,
    Sw,
    Sd,
    Addi,
    Slti,
    Sltiu,
    Xori,
    Ori,
    Andi,
    Slli,
    Srli,
    Srai,
    Addiw,
    Slliw,
    Srliw,
    Sraiw,
    Add,
    Sub,
    Sll,
    Slt,
    Sltu,
    Xor,
    Srl,
    Sra,
    Or,
    And,
    Addw,
    Subw,
    Sllw,
    Srlw,
    Sraw,
    Mul,
    Mulh,
    Mulhsu,
    Mulhu,
    Div,
    Divu,
    Rem,
    Remu,
    Mulw,
    Divw,
    Divuw,
    Remw,
    Remuw,
    AddUw,
    Sh1add,
    Sh2add,
    Sh3add,
    Sh1addUw,
    Sh2addUw,
    Sh3addUw,
    SlliUw,
    Andn,
    Orn,
    Xnor,
    Min,
    Minu,
    Max,
    Maxu,
    Rol,
    Ror,
    Rolw,
    Rorw,
    Rori,
    Roriw,
    Clz,
    Ctz,
    Cpop,
    Clzw,
    Ctzw,
    Cpopw,
    SextB,
    SextH,
    ZextH,
    OrcB,
    Rev8,
    Bclr,
    Bext,
    Binv,
    Bset,
    Bclri,
    Bexti,
    Binvi,
    Bseti,
    CzeroEqz,
    CzeroNez,
    /// `cbo.inval`, `cbo.clean`, `cbo.flush`, `cbo.zero`; `imm` holds the bits, see [`Op::block`].
    Cbo,
    Flw,
    Fld,
    Fsw,
    Fsd,
    /// Every other F and D instruction; `imm` is a [`FloatForm`].
    Float,
    LrW,
    LrD,
    ScW,
    ScD,
    /// `amo*.w`; `imm` is the funct5 field.
    AmoW,
    /// `amo*.d`; `imm` is the funct5 field.
    AmoD,
    /// The six CSR instructions; `imm` holds the bits.
    Csr,
    Ecall,
    Ebreak,
    Sret,
    Mret,
    Wfi,
    SfenceVma,
    SinvalVma,
    SfenceWInval,
    SfenceInvalIr,
    /// Does nothing: hints, fences, and arithmetic into `x0`.
    Nop,
}

/// One decoded instruction.
///
/// Its length in halfwords is kept in a field that instructions of its kind do not need, so that the dispatch
/// loop finds it without taking a field apart ([`Op::halves`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Op {
    /// What the instruction does.
    pub code: Code,
    /// The number of the destination register, or [`SINK`]; in a branch or store, the length.
    pub(crate) rd: u8,
    /// The number of the first source register.
    pub(crate) rs1: u8,
    /// The number of the second source register; where there is none, the length.
    pub(crate) rs2: u8,
    /// The immediate, sign-extended, or what `code` says; of branches and jumps the distance in halfwords.
    /// Where two source registers and a destination leave no other room, the length is in bits 31:24.
    pub imm: i32,
}

/// The destination register of a load into `x0`: the one after x31, which no instruction reads.
pub const SINK: u8 = 32;
/// The lowest bit of the length in an immediate.
const HALVES_SHIFT: u32 = 24;

/// Which field of an [`Op`] has its length.
enum Room {
    /// `rd`, as there is no destination register.
    Destination,
    /// `rs2`, as there is no second source register.
    Source,
    /// The top bits of `imm`, as all registers are used.
    Immediate,
}

impl Op {
    /// The op of an instruction that has not been decoded.
    pub const UNDECODED: Op = Op::new(Code::Decode, 0, 0, 0, 0);

    /// An op of unknown length; see [`Op::with_halves`].
    #[must_use]
    pub const fn new(code: Code, rd: u32, rs1: u32, rs2: u32, imm: i32) -> Op {
        Op {
            code,
            rd: (rd & 31) as u8,
            rs1: (rs1 & 31) as u8,
            rs2: (rs2 & 31) as u8,
            imm,
        }
    }

    /// The same op with its length in halfwords: 1 or 2.
    #[must_use]
    pub const fn with_halves(self, halves: u8) -> Op {
        match self.room() {
            Room::Destination => Op { rd: halves, ..self },
            Room::Source => Op { rs2: halves, ..self },
            Room::Immediate => Op {
                imm: self.imm & IMMEDIATE | (halves as i32) << HALVES_SHIFT,
                ..self
            },
        }
    }

    const fn room(self) -> Room {
        use Code::*;
        match self.code {
            Beq | Bne | Blt | Bge | Bltu | Bgeu | Sb | Sh | Sw | Sd | Fsw | Fsd => Room::Destination,
            Add | Sub | Sll | Slt | Sltu | Xor | Srl | Sra | Or | And | Addw | Subw | Sllw | Srlw | Sraw
            | Mul | Mulh | Mulhsu | Mulhu | Div | Divu | Rem | Remu | Mulw | Divw | Divuw | Remw | Remuw
            | AddUw | Sh1add | Sh2add | Sh3add | Sh1addUw | Sh2addUw | Sh3addUw | Andn | Orn | Xnor | Min
            | Minu | Max | Maxu | Rol | Ror | Rolw | Rorw | Bclr | Bext | Binv | Bset | CzeroEqz
            | CzeroNez | Float | LrW | LrD | ScW | ScD | AmoW | AmoD => Room::Immediate,
            _ => Room::Source,
        }
    }

    /// May the op have a second source register?
    pub(crate) const fn has_rs2(self) -> bool {
        !matches!(self.room(), Room::Source)
    }

    /// The number of the destination register.
    #[must_use]
    pub const fn rd(self) -> usize {
        (self.rd & 31) as usize
    }

    /// The number of the first source register.
    #[must_use]
    pub const fn rs1(self) -> usize {
        (self.rs1 & 31) as usize
    }

    /// The number of the second source register.
    #[must_use]
    pub const fn rs2(self) -> usize {
        (self.rs2 & 31) as usize
    }

    /// The length in halfwords: 1 or 2.
    #[must_use]
    pub const fn halves(self) -> usize {
        match self.room() {
            Room::Destination => self.rd as usize,
            Room::Source => self.rs2 as usize,
            Room::Immediate => halves(self.imm),
        }
    }

    /// What a [`Code::Cbo`] does to its block.
    #[must_use]
    pub const fn block(self) -> BlockKind {
        match self.imm as u32 >> 20 {
            0 => BlockKind::Invalidate,
            1 => BlockKind::Clean,
            2 => BlockKind::Flush,
            _ => BlockKind::Zero,
        }
    }

    /// The low 24 bits of the immediate, above which the length may be.
    #[must_use]
    pub const fn field(self) -> i32 {
        self.imm & IMMEDIATE
    }

    /// The immediate, sign-extended to a register's width.
    #[inline(always)]
    #[must_use]
    pub const fn immediate(self) -> u64 {
        self.imm as i64 as u64
    }
}

/// What an instruction does to a cache block (manual, chapter "CMO"): here, only zeroing does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// `cbo.inval`: as there is no cache, a flush at most.
    Invalidate,
    /// `cbo.clean`.
    Clean,
    /// `cbo.flush`.
    Flush,
    /// `cbo.zero`.
    Zero,
}

/// The length of an op with two source registers and a destination, from its immediate.
#[inline(always)]
pub(crate) const fn halves(imm: i32) -> usize {
    (imm as u32 >> HALVES_SHIFT) as usize
}

/// The bits of an immediate below the length.
const IMMEDIATE: i32 = (1 << HALVES_SHIFT) - 1;

/// Which floating-point instruction, without its format (manual, chapters F and D).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the manual's mnemonics")]
pub enum FloatKind {
    Add,
    Sub,
    Mul,
    Div,
    Sqrt,
    Sgnj,
    Sgnjn,
    Sgnjx,
    Min,
    Max,
    Le,
    Lt,
    Eq,
    Class,
    /// `fmv.x.w`, `fmv.x.d`.
    MoveToInteger,
    /// `fmv.w.x`, `fmv.d.x`.
    MoveFromInteger,
    ToW,
    ToWu,
    ToL,
    ToLu,
    FromW,
    FromWu,
    FromL,
    FromLu,
    /// `fcvt.s.d` (format S) or `fcvt.d.s` (format D): from the other format.
    Convert,
    Madd,
    Msub,
    Nmsub,
    Nmadd,
}

impl FloatKind {
    /// All kinds, in the order of their numbers.
    const ALL: [FloatKind; 29] = {
        use FloatKind::*;
        [
            Add,
            Sub,
            Mul,
            Div,
            Sqrt,
            Sgnj,
            Sgnjn,
            Sgnjx,
            Min,
            Max,
            Le,
            Lt,
            Eq,
            Class,
            MoveToInteger,
            MoveFromInteger,
            ToW,
            ToWu,
            ToL,
            ToLu,
            FromW,
            FromWu,
            FromL,
            FromLu,
            Convert,
            Madd,
            Msub,
            Nmsub,
            Nmadd,
        ]
    };
}

/// The fields of a floating-point instruction that do not fit the registers of an [`Op`], packed in `imm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatForm {
    /// Which instruction it is.
    pub kind: FloatKind,
    /// Whether the format is D, not S.
    pub double: bool,
    /// The rounding-mode field; 7 means the mode in `fcsr`.
    pub rounding: u8,
    /// The number of the third source register.
    pub rs3: usize,
}

impl FloatForm {
    /// The fields as an immediate.
    #[must_use]
    pub const fn pack(self) -> i32 {
        self.kind as i32 | (self.double as i32) << 8 | (self.rounding as i32) << 9 | (self.rs3 as i32) << 12
    }

    /// The fields that [`FloatForm::pack`] has made an immediate of.
    #[inline]
    #[must_use]
    pub fn unpack(imm: i32) -> FloatForm {
        FloatForm {
            kind: FloatKind::ALL[(imm & 0xff) as usize],
            double: imm >> 8 & 1 != 0,
            rounding: (imm >> 9 & 7) as u8,
            rs3: (imm >> 12 & 31) as usize,
        }
    }
}
