//! Checks the forms that use vector registers: each instruction that the translator emits, with all registers
//! and all addresses.

use super::*;

/// Checks an instruction with two or `three` operands, with all registers; and with every address, if it
/// takes one, and registers that change from address to address.
#[track_caller]
fn assert_vex(code: Code, vex: Vex, to: &[Name; 16], three: bool, operand: &[Name; 16], addresses: bool) {
    let check = |register: u8, middle: u8, from: Operand, seen: Seen| {
        let to = Seen::Register(to[usize::from(register)]);
        let between = Seen::Register(VECTORS[usize::from(middle)]);
        match three {
            true => assert_emits(code, &[to, between, seen], |e| {
                e.vex(vex, register, middle, from);
            }),
            false => assert_emits(code, &[to, seen], |e| e.vex(vex, register, 0, from)),
        }
    };
    for (number, seen) in registers(operand) {
        for register in 0..16 {
            for middle in 0..16 {
                check(register, middle, Operand::Register(number), seen);
            }
        }
    }
    for (index, memory) in memories().enumerate().filter(|_| addresses) {
        let (register, middle) = (index as u8 & 15, (index / 5) as u8 & 15);
        check(register, middle, Operand::Memory(memory), Seen::memory(memory));
    }
}

#[test]
fn arithmetic_has_three_operands() {
    use Code::*;
    for (opcode, single, double) in [
        (0x51, VEX_Vsqrtss_xmm_xmm_xmmm32, VEX_Vsqrtsd_xmm_xmm_xmmm64),
        (0x58, VEX_Vaddss_xmm_xmm_xmmm32, VEX_Vaddsd_xmm_xmm_xmmm64),
        (0x59, VEX_Vmulss_xmm_xmm_xmmm32, VEX_Vmulsd_xmm_xmm_xmmm64),
        (0x5a, VEX_Vcvtss2sd_xmm_xmm_xmmm32, VEX_Vcvtsd2ss_xmm_xmm_xmmm64),
        (0x5c, VEX_Vsubss_xmm_xmm_xmmm32, VEX_Vsubsd_xmm_xmm_xmmm64),
        (0x5d, VEX_Vminss_xmm_xmm_xmmm32, VEX_Vminsd_xmm_xmm_xmmm64),
        (0x5e, VEX_Vdivss_xmm_xmm_xmmm32, VEX_Vdivsd_xmm_xmm_xmmm64),
        (0x5f, VEX_Vmaxss_xmm_xmm_xmmm32, VEX_Vmaxsd_xmm_xmm_xmmm64),
    ] {
        for (prefix, code) in [(2, single), (3, double)] {
            assert_vex(code, Vex::new(prefix, opcode), &VECTORS, true, &VECTORS, true);
        }
    }
}

#[test]
fn fused_instructions_have_three_operands() {
    use Code::*;
    for (opcode, single, double) in [
        (
            0xa9,
            VEX_Vfmadd213ss_xmm_xmm_xmmm32,
            VEX_Vfmadd213sd_xmm_xmm_xmmm64,
        ),
        (
            0xab,
            VEX_Vfmsub213ss_xmm_xmm_xmmm32,
            VEX_Vfmsub213sd_xmm_xmm_xmmm64,
        ),
        (
            0xad,
            VEX_Vfnmadd213ss_xmm_xmm_xmmm32,
            VEX_Vfnmadd213sd_xmm_xmm_xmmm64,
        ),
        (
            0xaf,
            VEX_Vfnmsub213ss_xmm_xmm_xmmm32,
            VEX_Vfnmsub213sd_xmm_xmm_xmmm64,
        ),
        (
            0xb9,
            VEX_Vfmadd231ss_xmm_xmm_xmmm32,
            VEX_Vfmadd231sd_xmm_xmm_xmmm64,
        ),
        (
            0xbb,
            VEX_Vfmsub231ss_xmm_xmm_xmmm32,
            VEX_Vfmsub231sd_xmm_xmm_xmmm64,
        ),
        (
            0xbd,
            VEX_Vfnmadd231ss_xmm_xmm_xmmm32,
            VEX_Vfnmadd231sd_xmm_xmm_xmmm64,
        ),
        (
            0xbf,
            VEX_Vfnmsub231ss_xmm_xmm_xmmm32,
            VEX_Vfnmsub231sd_xmm_xmm_xmmm64,
        ),
    ] {
        let vex = Vex::new(1, opcode).in_map(2);
        for (size, code) in [(Size::Double, single), (Size::Quad, double)] {
            assert_vex(code, vex.sized(size), &VECTORS, true, &VECTORS, true);
        }
    }
}

#[test]
fn comparisons_and_moves_have_two_operands() {
    use Code::*;
    for (prefix, opcode, code, addresses) in [
        (0, 0x10, VEX_Vmovups_xmm_xmmm128, true),
        (0, 0x28, VEX_Vmovaps_xmm_xmmm128, false),
        (0, 0x2e, VEX_Vucomiss_xmm_xmmm32, true),
        (1, 0x2e, VEX_Vucomisd_xmm_xmmm64, true),
    ] {
        assert_vex(
            code,
            Vex::new(prefix, opcode),
            &VECTORS,
            false,
            &VECTORS,
            addresses,
        );
    }
}

#[test]
fn logic_and_integer_comparison_take_registers() {
    use Code::*;
    for (prefix, opcode, code) in [
        (0, 0x54, VEX_Vandps_xmm_xmm_xmmm128),
        (0, 0x55, VEX_Vandnps_xmm_xmm_xmmm128),
        (0, 0x56, VEX_Vorps_xmm_xmm_xmmm128),
        (0, 0x57, VEX_Vxorps_xmm_xmm_xmmm128),
        (1, 0x76, VEX_Vpcmpeqd_xmm_xmm_xmmm128),
    ] {
        assert_vex(code, Vex::new(prefix, opcode), &VECTORS, true, &VECTORS, false);
    }
}

#[test]
fn loads_and_stores_move_what_they_are_asked_to() {
    use Code::*;
    for (prefix, load, store) in [
        (2, VEX_Vmovss_xmm_m32, VEX_Vmovss_m32_xmm),
        (3, VEX_Vmovsd_xmm_m64, VEX_Vmovsd_m64_xmm),
    ] {
        for memory in memories() {
            for (register, seen) in registers(&VECTORS) {
                let (place, operand) = (Seen::memory(memory), Operand::Memory(memory));
                assert_emits(load, &[seen, place], |e| {
                    e.vex(Vex::new(prefix, 0x10), register, 0, operand);
                });
                assert_emits(store, &[place, seen], |e| {
                    e.vex(Vex::new(prefix, 0x11), register, 0, operand);
                });
            }
        }
    }
    assert_stores(VEX_Vmovups_xmmm128_xmm, &VECTORS, |e, to, from| {
        e.vex(Vex::new(0, 0x11), from, 0, Operand::Memory(to));
    });
}

#[test]
fn general_registers_are_as_wide_as_asked_for() {
    use Code::*;
    for (size, names, to_vector, from_vector) in [
        (Size::Double, DOUBLES, VEX_Vmovd_xmm_rm32, VEX_Vmovd_rm32_xmm),
        (Size::Quad, QUADS, VEX_Vmovq_xmm_rm64, VEX_Vmovq_rm64_xmm),
    ] {
        assert_vex(
            to_vector,
            Vex::new(1, 0x6e).sized(size),
            &VECTORS,
            false,
            &names,
            true,
        );
        for (vector, seen) in registers(&VECTORS) {
            for (general, name) in registers(&names) {
                assert_emits(from_vector, &[name, seen], |e| {
                    e.vex(
                        Vex::new(1, 0x7e).sized(size),
                        vector,
                        0,
                        Operand::Register(general),
                    );
                });
            }
        }
    }
    for (prefix, size, names, from, truncates, rounds) in [
        (
            2,
            Size::Double,
            DOUBLES,
            VEX_Vcvtsi2ss_xmm_xmm_rm32,
            VEX_Vcvttss2si_r32_xmmm32,
            VEX_Vcvtss2si_r32_xmmm32,
        ),
        (
            2,
            Size::Quad,
            QUADS,
            VEX_Vcvtsi2ss_xmm_xmm_rm64,
            VEX_Vcvttss2si_r64_xmmm32,
            VEX_Vcvtss2si_r64_xmmm32,
        ),
        (
            3,
            Size::Double,
            DOUBLES,
            VEX_Vcvtsi2sd_xmm_xmm_rm32,
            VEX_Vcvttsd2si_r32_xmmm64,
            VEX_Vcvtsd2si_r32_xmmm64,
        ),
        (
            3,
            Size::Quad,
            QUADS,
            VEX_Vcvtsi2sd_xmm_xmm_rm64,
            VEX_Vcvttsd2si_r64_xmmm64,
            VEX_Vcvtsd2si_r64_xmmm64,
        ),
    ] {
        let vex = |opcode| Vex::new(prefix, opcode).sized(size);
        assert_vex(from, vex(0x2a), &VECTORS, true, &names, true);
        assert_vex(truncates, vex(0x2c), &names, false, &VECTORS, true);
        assert_vex(rounds, vex(0x2d), &names, false, &VECTORS, true);
    }
}

#[test]
fn immediate_bytes_come_last() {
    use Code::*;
    for (digit, opcode, code) in [
        (2, 0x72, VEX_Vpsrld_xmm_xmm_imm8),
        (6, 0x72, VEX_Vpslld_xmm_xmm_imm8),
        (2, 0x73, VEX_Vpsrlq_xmm_xmm_imm8),
        (6, 0x73, VEX_Vpsllq_xmm_xmm_imm8),
    ] {
        for (from, seen) in registers(&VECTORS) {
            for (to, first) in registers(&VECTORS) {
                let operands = [first, seen, Seen::Immediate(u64::from(from))];
                assert_emits(code, &operands, |e| {
                    e.vex_immediate(Vex::new(1, opcode), digit, to, Operand::Register(from), from);
                });
            }
        }
    }
    for (opcode, code) in [
        (0x0a, VEX_Vroundss_xmm_xmm_xmmm32_imm8),
        (0x0b, VEX_Vroundsd_xmm_xmm_xmmm64_imm8),
    ] {
        for (from, seen) in registers(&VECTORS) {
            for (to, result) in registers(&VECTORS) {
                for (first, middle) in registers(&VECTORS) {
                    let operands = [result, middle, seen, Seen::Immediate(u64::from(to))];
                    assert_emits(code, &operands, |e| {
                        let vex = Vex::new(1, opcode).in_map(3);
                        e.vex_immediate(vex, to, first, Operand::Register(from), to);
                    });
                }
            }
        }
    }
    for (vector, seen) in registers(&VECTORS) {
        for (general, name) in registers(&DOUBLES) {
            let one = Seen::Immediate(1);
            assert_emits(VEX_Vpextrd_rm32_xmm_imm8, &[name, seen, one], |e| {
                let vex = Vex::new(1, 0x16).in_map(3);
                e.vex_immediate(vex, vector, 0, Operand::Register(general), 1);
            });
            assert_emits(VEX_Vpinsrd_xmm_xmm_rm32_imm8, &[seen, seen, name, one], |e| {
                let vex = Vex::new(1, 0x22).in_map(3);
                e.vex_immediate(vex, vector, vector, Operand::Register(general), 1);
            });
        }
    }
}

#[test]
fn the_status_register_is_loaded_and_stored() {
    for memory in memories() {
        let place = [Seen::memory(memory)];
        assert_emits(Code::Ldmxcsr_m32, &place, |e| e.load_status(memory));
        assert_emits(Code::Stmxcsr_m32, &place, |e| e.store_status(memory));
    }
}
