//! Instructions as text: their names for a profile, and whole instructions for the comparison with other
//! implementations. Nothing that executes instructions may use it.
//!
//! The text is made of the decoded [`Op`], so it shows what will be done: a compressed instruction appears as
//! what it stands for, and a hint as `nop`.

use crate::{
    csr::number,
    op::{Code, FloatForm, FloatKind, Op},
};
#[cfg(feature = "parts")]
use crate::{decode::decode, op::BlockKind};

/// The manual's names of the integer registers, as the calling convention has them.
const NAMES: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6",
    "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

/// The instruction that starts with `bits`, at address `pc`.
#[must_use]
#[cfg(feature = "parts")]
pub fn disassemble(bits: u32, pc: u64) -> String {
    let op = decode(bits);
    let name = mnemonic(op.code);
    let rd = NAMES[op.rd()];
    let rs1 = NAMES[op.rs1()];
    let rs2 = NAMES[op.rs2()];
    let imm = op.imm;
    let target = pc.wrapping_add(op.immediate().wrapping_mul(2));
    match op.code {
        Code::Decode | Code::NextPage | Code::Loose | Code::Nop => String::from("nop"),
        Code::Illegal => format!(".insn {:#x}", op.imm as u32),
        Code::Li => format!("li {rd}, {imm}"),
        Code::Mv => format!("mv {rd}, {rs1}"),
        Code::Auipc => format!("auipc {rd}, {:#x}", imm as u32 >> 12),
        Code::Jal => format!("jal {rd}, {target:#x}"),
        Code::J => format!("j {target:#x}"),
        Code::Jr => format!("jr {imm}({rs1})"),
        Code::Beq | Code::Bne | Code::Blt | Code::Bge | Code::Bltu | Code::Bgeu => {
            format!("{name} {rs1}, {rs2}, {target:#x}")
        }
        Code::Lb | Code::Lh | Code::Lw | Code::Ld | Code::Lbu | Code::Lhu | Code::Lwu | Code::Jalr => {
            format!("{name} {rd}, {imm}({rs1})")
        }
        Code::Sb | Code::Sh | Code::Sw | Code::Sd => format!("{name} {rs2}, {imm}({rs1})"),
        Code::Flw | Code::Fld => format!("{name} f{}, {imm}({rs1})", op.rd()),
        Code::Fsw | Code::Fsd => format!("{name} f{}, {imm}({rs1})", op.rs2()),
        Code::Addi | Code::Slti | Code::Sltiu | Code::Xori | Code::Ori | Code::Andi => {
            format!("{name} {rd}, {rs1}, {imm}")
        }
        Code::Slli | Code::Srli | Code::Srai => format!("{name} {rd}, {rs1}, {imm}"),
        Code::SlliUw | Code::Rori | Code::Roriw | Code::Bclri | Code::Bexti | Code::Binvi | Code::Bseti => {
            format!("{name} {rd}, {rs1}, {imm}")
        }
        Code::Clz
        | Code::Ctz
        | Code::Cpop
        | Code::Clzw
        | Code::Ctzw
        | Code::Cpopw
        | Code::SextB
        | Code::SextH => {
            format!("{name} {rd}, {rs1}")
        }
        Code::ZextH | Code::OrcB | Code::Rev8 => format!("{name} {rd}, {rs1}"),
        Code::Cbo => format!("cbo.{} ({rs1})", block(op.block())),
        Code::Addiw | Code::Slliw | Code::Srliw | Code::Sraiw => format!("{name} {rd}, {rs1}, {imm}"),
        Code::Float => float(op),
        Code::LrW | Code::LrD => format!("{name} {rd}, ({rs1})"),
        Code::ScW | Code::ScD => format!("{name} {rd}, {rs2}, ({rs1})"),
        Code::AmoW => format!("{}.w {rd}, {rs2}, ({rs1})", amo(op.field())),
        Code::AmoD => format!("{}.d {rd}, {rs2}, ({rs1})", amo(op.field())),
        Code::Csr => csr(op),
        // In the op, the length has taken the field of rs2.
        Code::SfenceVma | Code::SinvalVma => format!("{name} {rs1}, {}", NAMES[(bits >> 20 & 31) as usize]),
        Code::Ecall | Code::Ebreak | Code::Sret | Code::Mret | Code::Wfi => name,
        Code::SfenceWInval | Code::SfenceInvalIr => name,
        _ => format!("{name} {rd}, {rs1}, {rs2}"),
    }
}

/// Which instruction an op is, without its operands but with the CSR that it accesses.
#[must_use]
pub fn name(op: Op) -> String {
    match op.code {
        Code::AmoW => format!("{}.w", amo(op.field())),
        Code::AmoD => format!("{}.d", amo(op.field())),
        Code::Float => float(op).split(' ').take(1).collect(),
        Code::Csr => {
            let address = op.imm as u32 >> 20;
            match csr_name(address) {
                "" => format!("csr {address:#x}"),
                name => format!("csr {name}"),
            }
        }
        code => mnemonic(code),
    }
}

/// The manual's name of a CSR; empty for one that is rarely seen, such as the performance counters.
fn csr_name(address: u32) -> &'static str {
    match address {
        number::FFLAGS => "fflags",
        number::FRM => "frm",
        number::FCSR => "fcsr",
        number::SSTATUS => "sstatus",
        number::SIE => "sie",
        number::STVEC => "stvec",
        number::SCOUNTEREN => "scounteren",
        number::SENVCFG => "senvcfg",
        number::SSCRATCH => "sscratch",
        number::SEPC => "sepc",
        number::SCAUSE => "scause",
        number::STVAL => "stval",
        number::SIP => "sip",
        number::STIMECMP => "stimecmp",
        number::SATP => "satp",
        number::MSTATUS => "mstatus",
        number::MISA => "misa",
        number::MEDELEG => "medeleg",
        number::MIDELEG => "mideleg",
        number::MIE => "mie",
        number::MTVEC => "mtvec",
        number::MCOUNTEREN => "mcounteren",
        number::MENVCFG => "menvcfg",
        number::MSCRATCH => "mscratch",
        number::MEPC => "mepc",
        number::MCAUSE => "mcause",
        number::MTVAL => "mtval",
        number::MIP => "mip",
        number::CYCLE => "cycle",
        number::TIME => "time",
        number::INSTRET => "instret",
        number::MHARTID => "mhartid",
        _ => "",
    }
}

/// The manual's spelling: lower case, with dots where two words meet.
fn mnemonic(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('.');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(feature = "parts")]
fn block(kind: BlockKind) -> &'static str {
    match kind {
        BlockKind::Invalidate => "inval",
        BlockKind::Clean => "clean",
        BlockKind::Flush => "flush",
        BlockKind::Zero => "zero",
    }
}

fn amo(funct5: i32) -> &'static str {
    match funct5 {
        0x00 => "amoadd",
        0x01 => "amoswap",
        0x04 => "amoxor",
        0x08 => "amoor",
        0x0c => "amoand",
        0x10 => "amomin",
        0x14 => "amomax",
        0x18 => "amominu",
        _ => "amomaxu",
    }
}

#[cfg(feature = "parts")]
fn csr(op: Op) -> String {
    let bits = op.imm as u32;
    let name = ["", "csrrw", "csrrs", "csrrc"][(bits >> 12 & 3) as usize];
    let (rd, address) = (NAMES[op.rd()], bits >> 20);
    if bits >> 14 & 1 == 0 {
        format!("{name} {rd}, {address:#x}, {}", NAMES[op.rs1()])
    } else {
        format!("{name}i {rd}, {address:#x}, {}", op.rs1())
    }
}

fn float(op: Op) -> String {
    use FloatKind::*;
    let form = FloatForm::unpack(op.field());
    let format = if form.double { "d" } else { "s" };
    let other = if form.double { "s" } else { "d" };
    let bits = if form.double { "d" } else { "w" };
    let (fd, fa, fb, fc) = (op.rd(), op.rs1(), op.rs2(), form.rs3);
    let (rd, rs1) = (NAMES[op.rd()], NAMES[op.rs1()]);
    let mode = [", rne", ", rtz", ", rdn", ", rup", ", rmm", "", "", ""][usize::from(form.rounding & 7)];
    let kind = format!("{:?}", form.kind).to_lowercase();
    match form.kind {
        Add | Sub | Mul | Div => format!("f{kind}.{format} f{fd}, f{fa}, f{fb}{mode}"),
        Sqrt => format!("fsqrt.{format} f{fd}, f{fa}{mode}"),
        Madd | Msub | Nmsub | Nmadd => format!("f{kind}.{format} f{fd}, f{fa}, f{fb}, f{fc}{mode}"),
        Sgnj | Sgnjn | Sgnjx | Min | Max => format!("f{kind}.{format} f{fd}, f{fa}, f{fb}"),
        Le | Lt | Eq => format!("f{kind}.{format} {rd}, f{fa}, f{fb}"),
        Class => format!("fclass.{format} {rd}, f{fa}"),
        MoveToInteger => format!("fmv.x.{bits} {rd}, f{fa}"),
        MoveFromInteger => format!("fmv.{bits}.x f{fd}, {rs1}"),
        ToW | ToWu | ToL | ToLu => format!("fcvt.{}.{format} {rd}, f{fa}{mode}", &kind[2..]),
        FromW | FromWu | FromL | FromLu => format!("fcvt.{format}.{} f{fd}, {rs1}{mode}", &kind[4..]),
        Convert => format!("fcvt.{format}.{other} f{fd}, f{fa}{mode}"),
    }
}
