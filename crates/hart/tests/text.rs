//! Decoding and text: the disassembler shows what the test assembler was told, for every mnemonic.

mod support;

use hart::parts::{
    decode::decode,
    disasm::disassemble,
    op::{Code, Op},
};
use support::{asm, random::Random};

/// Every instruction that is not compressed, as the disassembler spells it; at address 0x1000.
const EVERY: &str = "
    li a0, -5; mv a0, s1; auipc t0, 0xfffff; jal ra, 0x1010; j 0xff0; jr 8(a0)
    beq a0, a1, 0x1008; bne a0, zero, 0xffe; blt s0, s1, 0x1ffe; bge t0, t1, 0x0; bltu a0, a1, 0x1000
    bgeu t6, t5, 0x1004; lb a0, -1(sp); lh a0, 2(sp); lw a0, 2047(gp); ld a0, -2048(tp); lbu a0, 0(ra)
    lhu a0, 1(t0); lwu a0, 4(t0); jalr ra, 4(t0); sb a0, -1(sp); sh a0, 2(sp); sw a0, 2047(gp)
    sd a0, -2048(tp); flw f0, 4(a0); fld f31, 8(a0); fsw f1, -4(a0); fsd f2, -8(a0)
    addi a0, a1, 1; slti a0, a1, 2; sltiu a0, a1, 3; xori a0, a1, -1; ori a0, a1, 5; andi a0, a1, 6
    slli a0, a1, 63; srli a0, a1, 1; srai a0, a1, 32; addiw a0, a1, 0; slliw a0, a1, 31; srliw a0, a1, 1
    sraiw a0, a1, 2; add a0, a1, a2; sub a0, a1, a2; sll a0, a1, a2; slt a0, a1, a2; sltu a0, a1, a2
    xor a0, a1, a2; srl a0, a1, a2; sra a0, a1, a2; or a0, a1, a2; and a0, a1, a2; addw a0, a1, a2
    subw a0, a1, a2; sllw a0, a1, a2; srlw a0, a1, a2; sraw a0, a1, a2; mul a0, a1, a2; mulh a0, a1, a2
    mulhsu a0, a1, a2; mulhu a0, a1, a2; div a0, a1, a2; divu a0, a1, a2; rem a0, a1, a2; remu a0, a1, a2
    mulw a0, a1, a2; divw a0, a1, a2; divuw a0, a1, a2; remw a0, a1, a2; remuw a0, a1, a2
    lr.w a0, (a1); lr.d a0, (a1); sc.w a0, a2, (a1); sc.d a0, a2, (a1); amoadd.w a0, a2, (a1)
    amoswap.d a0, a2, (a1); amoxor.w a0, a2, (a1); amoor.d a0, a2, (a1); amoand.w a0, a2, (a1)
    amomin.d a0, a2, (a1); amomax.w a0, a2, (a1); amominu.d a0, a2, (a1); amomaxu.w zero, a2, (a1)
    csrrw a0, 0x300, a1; csrrs zero, 0x1, a1; csrrc a0, 0xc00, zero; csrrwi a0, 0x300, 31
    csrrsi a0, 0x300, 0; csrrci zero, 0x300, 1; ecall; ebreak; sret; mret; wfi; sfence.vma a0, a1; nop
    add.uw a0, a1, a2; sh1add a0, a1, a2; sh2add a0, a1, a2; sh3add a0, a1, a2; sh1add.uw a0, a1, a2
    sh2add.uw a0, a1, a2; sh3add.uw a0, a1, a2; slli.uw a0, a1, 63; andn a0, a1, a2; orn a0, a1, a2
    xnor a0, a1, a2; min a0, a1, a2; minu a0, a1, a2; max a0, a1, a2; maxu a0, a1, a2; rol a0, a1, a2
    ror a0, a1, a2; rolw a0, a1, a2; rorw a0, a1, a2; rori a0, a1, 63; roriw a0, a1, 31; clz a0, a1
    ctz a0, a1; cpop a0, a1; clzw a0, a1; ctzw a0, a1; cpopw a0, a1
    sext.b a0, a1; sext.h a0, a1; zext.h a0, a1
    orc.b a0, a1; rev8 a0, a1; bclr a0, a1, a2; bext a0, a1, a2; binv a0, a1, a2; bset a0, a1, a2
    bclri a0, a1, 63; bexti a0, a1, 32; binvi a0, a1, 31; bseti a0, a1, 0; czero.eqz a0, a1, a2
    czero.nez a0, a1, a2; cbo.inval (a0); cbo.clean (sp); cbo.flush (t6); cbo.zero (a1)
    sinval.vma a0, a1; sfence.w.inval; sfence.inval.ir
    fadd.s f1, f2, f3, rne; fsub.d f1, f2, f3; fmul.s f1, f2, f3, rup; fdiv.d f1, f2, f3, rmm
    fsqrt.s f1, f2, rtz; fmadd.d f1, f2, f3, f4; fmsub.s f1, f2, f3, f4, rdn; fnmsub.d f1, f2, f3, f4
    fnmadd.s f1, f2, f3, f31; fsgnj.d f1, f2, f3; fsgnjn.s f1, f2, f3; fsgnjx.d f1, f2, f3
    fmin.s f1, f2, f3; fmax.d f1, f2, f3; fle.s a0, f2, f3; flt.d a0, f2, f3; feq.s a0, f2, f3
    fclass.d a0, f2; fmv.x.w a0, f2; fmv.x.d a0, f2; fmv.w.x f1, a0; fmv.d.x f1, a0
    fcvt.w.s a0, f1, rtz; fcvt.wu.d a0, f1; fcvt.l.s a0, f1; fcvt.lu.d a0, f1, rup; fcvt.s.w f1, a0
    fcvt.d.wu f1, a0, rne; fcvt.s.l f1, a0; fcvt.d.lu f1, a0; fcvt.s.d f1, f2; fcvt.d.s f1, f2, rne
";

#[test]
fn what_is_assembled_is_disassembled() {
    let mut count = 0;
    for text in EVERY
        .split([';', '\n'])
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        // The assembler's `jr` has no offset.
        let source = text.replace("jr 8(a0)", "jalr zero, 8(a0)");
        let bytes = asm::assemble(&source, 0x1000).bytes;
        let bits = u32::from_le_bytes(bytes.try_into().unwrap());
        assert_eq!(disassemble(bits, 0x1000), text);
        count += 1;
    }
    assert_eq!(count, 176);
}

#[test]
fn a_compressed_instruction_is_decoded_as_what_it_stands_for() {
    let pairs = [
        ("c.addi4spn a0, sp, 1020", "addi a0, sp, 1020"),
        ("c.fld f8, 248(a0)", "fld f8, 248(a0)"),
        ("c.lw a0, 124(a1)", "lw a0, 124(a1)"),
        ("c.ld a0, 248(a1)", "ld a0, 248(a1)"),
        ("c.fsd f15, 8(a0)", "fsd f15, 8(a0)"),
        ("c.sw a0, 64(a1)", "sw a0, 64(a1)"),
        ("c.sd a0, 64(a1)", "sd a0, 64(a1)"),
        ("c.addi a0, -32", "addi a0, a0, -32"),
        ("c.addiw a0, 31", "addiw a0, a0, 31"),
        ("c.li a0, -1", "li a0, -1"),
        ("c.addi16sp -512", "addi sp, sp, -512"),
        ("c.lui a0, 0x3f", "li a0, -4096"),
        ("c.srli a0, 63", "srli a0, a0, 63"),
        ("c.srai a0, 1", "srai a0, a0, 1"),
        ("c.andi a0, -1", "andi a0, a0, -1"),
        ("c.sub a0, a1", "sub a0, a0, a1"),
        ("c.xor a0, a1", "xor a0, a0, a1"),
        ("c.or a0, a1", "or a0, a0, a1"),
        ("c.and a0, a1", "and a0, a0, a1"),
        ("c.subw a0, a1", "subw a0, a0, a1"),
        ("c.addw a0, a1", "addw a0, a0, a1"),
        ("c.j 0x17fe", "j 0x17fe"),
        ("c.beqz a0, 0xf00", "beq a0, zero, 0xf00"),
        ("c.bnez a0, 0x10fe", "bne a0, zero, 0x10fe"),
        ("c.slli a0, 33", "slli a0, a0, 33"),
        ("c.fldsp f1, 504(sp)", "fld f1, 504(sp)"),
        ("c.lwsp a0, 252(sp)", "lw a0, 252(sp)"),
        ("c.ldsp a0, 504(sp)", "ld a0, 504(sp)"),
        ("c.jr a0", "jr 0(a0)"),
        ("c.mv a0, a1", "mv a0, a1"),
        ("c.ebreak", "ebreak"),
        ("c.jalr a0", "jalr ra, 0(a0)"),
        ("c.add a0, a1", "add a0, a0, a1"),
        ("c.fsdsp f1, 504(sp)", "fsd f1, 504(sp)"),
        ("c.swsp a0, 252(sp)", "sw a0, 252(sp)"),
        ("c.sdsp a0, 504(sp)", "sd a0, 504(sp)"),
    ];
    for (source, text) in pairs {
        let bytes = asm::assemble(source, 0x1000).bytes;
        let bits = u32::from(u16::from_le_bytes(bytes.try_into().unwrap()));
        assert_eq!(disassemble(bits, 0x1000), text, "{source}");
        assert_eq!(decode(bits).halves(), 1);
    }
}

/// Neighbours of the encodings that the manual reserves, or gives to extensions that are not here.
#[test]
fn what_only_looks_like_bit_manipulation_is_illegal() {
    let reserved = [
        0x6985_5513_u32, // rev8 of RV32.
        0x6875_5513,     // brev8 (Zbkb).
        0x0805_4533,     // zext.h of RV32; pack (Zbkb).
        0x0815_453b,     // packw (Zbkb): zext.h with a second register.
        0x6035_1513,     // Between cpop and sext.b.
        0x6065_1513,
        0x6035_151b,
        0x6045_151b,
        0x6205_551b, // roriw by 32.
        0x0ab5_1533, // clmul (Zbc)
        0x0ab5_2533,
        0x0eb5_1533, // czero needs funct3 5 or 7.
        0x48b5_1533 | 2 << 12,
        0x28b5_5533, // bset needs funct3 1.
        0x2845_5513, // orc.b has one amount.
        0x2885_5513,
        0x0035_200f, // cbo.* number 3 and 5.
        0x0055_200f,
        0x0045_208f, // cbo.zero with a destination.
        0x0045_300f,
        0x1600_00f3, // sinval.vma with a destination.
        0x1810_80f3,
        0x1820_0073,
        0x1800_8073,
        0x3600_0073, // hinval.gvma
        0x2600_0073, // hinval.vvma
    ];
    for bits in reserved {
        assert_eq!(
            decode(bits).code,
            Code::Illegal,
            "{bits:#x}: {}",
            disassemble(bits, 0)
        );
    }
    // Without a destination they are hints.
    assert_eq!(decode(0x6005_1013).code, Code::Nop);
    assert_eq!(decode(0x20b5_2033).code, Code::Nop);
}

#[test]
fn all_bits_decode_to_something_that_has_a_text() {
    assert_eq!(size_of::<Op>(), 8);
    for bits in 0..=0xffff_u32 {
        assert!(!disassemble(bits, 0).is_empty());
        assert!(decode(bits).halves() == if bits & 3 == 3 { 2 } else { 1 });
    }
    let mut random = Random(1);
    for _ in 0..200_000 {
        let bits = random.next() as u32;
        let op = decode(bits);
        assert!(!disassemble(bits, random.next()).is_empty());
        if op.code == Code::Illegal {
            // What a trap reports.
            assert_eq!(op.imm as u32, if bits & 3 == 3 { bits } else { bits & 0xffff });
        }
    }
}
