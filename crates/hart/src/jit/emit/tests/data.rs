//! Checks the forms that move and compute: with two operands, with immediates, and shifts.

use super::*;

#[test]
fn mov_copies_all_but_a_register_to_itself() {
    for (size, names) in SIZES {
        let code = match size {
            Size::Quad => Code::Mov_r64_rm64,
            Size::Double => Code::Mov_r32_rm32,
        };
        for (from, second) in operands(&names) {
            for (to, first) in registers(&names) {
                if size == Size::Quad && from == Operand::Register(to) {
                    assert_emits_nothing(|e| e.mov(size, to, from));
                } else {
                    assert_emits(code, &[first, second], |e| e.mov(size, to, from));
                }
            }
        }
    }
}

#[test]
fn stores_write_as_many_bytes_as_asked_for() {
    assert_stores(Code::Mov_rm64_r64, &QUADS, |e, to, from| e.store(to, from));
    for (bytes, code, names) in [
        (1, Code::Mov_rm8_r8, BYTES),
        (2, Code::Mov_rm16_r16, WORDS),
        (4, Code::Mov_rm32_r32, DOUBLES),
        (8, Code::Mov_rm64_r64, QUADS),
    ] {
        assert_stores(code, &names, |e, to, from| e.store_low(bytes, to, from));
    }
}

#[test]
fn stores_of_immediates_extend_them() {
    for (size, code) in [
        (Size::Double, Code::Mov_rm32_imm32),
        (Size::Quad, Code::Mov_rm64_imm32),
    ] {
        for to in memories() {
            for value in [0, 1, -1, i32::MAX, i32::MIN] {
                let extended = match size {
                    Size::Double => u64::from(value as u32),
                    Size::Quad => i64::from(value) as u64,
                };
                let operands = [Seen::memory(to), Seen::Immediate(extended)];
                assert_emits(code, &operands, |e| e.store_immediate(size, to, value));
            }
        }
    }
}

#[test]
fn loads_extend_as_asked_for() {
    for (extend, code, firsts, seconds) in [
        (Extend::Byte, Code::Movzx_r32_rm8, DOUBLES, BYTES),
        (Extend::ByteSigned, Code::Movsx_r64_rm8, QUADS, BYTES),
        (Extend::Half, Code::Movzx_r32_rm16, DOUBLES, WORDS),
        (Extend::HalfSigned, Code::Movsx_r64_rm16, QUADS, WORDS),
        (Extend::Word, Code::Mov_r32_rm32, DOUBLES, DOUBLES),
        (Extend::WordSigned, Code::Movsxd_r64_rm32, QUADS, DOUBLES),
        (Extend::Full, Code::Mov_r64_rm64, QUADS, QUADS),
    ] {
        assert_pairs(code, &firsts, &seconds, |e, to, from| e.load(extend, to, from));
    }
}

/// Values on both sides of every power of two, of both signs.
fn values() -> impl Iterator<Item = i64> {
    (0..64).flat_map(|bit| {
        let power = 1i64 << bit;
        let next = [power.wrapping_sub(1), power, power.wrapping_add(1)];
        next.into_iter().chain(next.map(i64::wrapping_neg))
    })
}

#[test]
fn load_immediate_takes_the_shortest_way_to_any_value() {
    for (to, quad) in registers(&QUADS) {
        let double = Seen::Register(DOUBLES[usize::from(to)]);
        for value in values() {
            let immediate = Seen::Immediate(value as u64);
            let (code, operands) = match value {
                0 => (Code::Xor_r32_rm32, [double, double]),
                1..=0xffff_ffff => (Code::Mov_r32_imm32, [double, immediate]),
                -0x8000_0000..0 => (Code::Mov_rm64_imm32, [quad, immediate]),
                _ => (Code::Mov_r64_imm64, [quad, immediate]),
            };
            assert_emits(code, &operands, |e| e.load_immediate(to, value));
        }
    }
}

#[test]
fn lea_with_nothing_to_add_is_mov() {
    for (size, names) in SIZES {
        let (lea, mov) = match size {
            Size::Quad => (Code::Lea_r64_m, Code::Mov_r64_rm64),
            Size::Double => (Code::Lea_r32_m, Code::Mov_r32_rm32),
        };
        for from in memories() {
            for (to, first) in registers(&names) {
                let base = Seen::Register(names[usize::from(from.base)]);
                if from != Memory::at(from.base, 0) {
                    assert_emits(lea, &[first, Seen::memory(from)], |e| e.lea(size, to, from));
                } else if size == Size::Quad && from.base == to {
                    assert_emits_nothing(|e| e.lea(size, to, from));
                } else {
                    assert_emits(mov, &[first, base], |e| e.lea(size, to, from));
                }
            }
        }
    }
}

const ALU: [Alu; 6] = [Alu::Add, Alu::Or, Alu::And, Alu::Sub, Alu::Xor, Alu::Cmp];

/// The codes of an operation with two operands, with an immediate byte and with an immediate double word.
fn alu_codes(op: Alu, size: Size) -> [Code; 3] {
    use Code::*;
    match (op, size) {
        (Alu::Add, Size::Quad) => [Add_r64_rm64, Add_rm64_imm8, Add_rm64_imm32],
        (Alu::Add, Size::Double) => [Add_r32_rm32, Add_rm32_imm8, Add_rm32_imm32],
        (Alu::Or, Size::Quad) => [Or_r64_rm64, Or_rm64_imm8, Or_rm64_imm32],
        (Alu::Or, Size::Double) => [Or_r32_rm32, Or_rm32_imm8, Or_rm32_imm32],
        (Alu::And, Size::Quad) => [And_r64_rm64, And_rm64_imm8, And_rm64_imm32],
        (Alu::And, Size::Double) => [And_r32_rm32, And_rm32_imm8, And_rm32_imm32],
        (Alu::Sub, Size::Quad) => [Sub_r64_rm64, Sub_rm64_imm8, Sub_rm64_imm32],
        (Alu::Sub, Size::Double) => [Sub_r32_rm32, Sub_rm32_imm8, Sub_rm32_imm32],
        (Alu::Xor, Size::Quad) => [Xor_r64_rm64, Xor_rm64_imm8, Xor_rm64_imm32],
        (Alu::Xor, Size::Double) => [Xor_r32_rm32, Xor_rm32_imm8, Xor_rm32_imm32],
        (Alu::Cmp, Size::Quad) => [Cmp_r64_rm64, Cmp_rm64_imm8, Cmp_rm64_imm32],
        (Alu::Cmp, Size::Double) => [Cmp_r32_rm32, Cmp_rm32_imm8, Cmp_rm32_imm32],
    }
}

#[test]
fn arithmetic_takes_registers_and_memory() {
    for (size, names) in SIZES {
        for op in ALU {
            let [code, ..] = alu_codes(op, size);
            assert_pairs(code, &names, &names, |e, to, from| e.alu(op, size, to, from));
        }
        let code = match size {
            Size::Quad => Code::Imul_r64_rm64,
            Size::Double => Code::Imul_r32_rm32,
        };
        assert_pairs(code, &names, &names, |e, to, from| e.multiply(size, to, from));
    }
}

#[test]
fn arithmetic_takes_immediates_in_a_byte_if_they_fit() {
    let values: Vec<i32> = values().filter_map(|value| value.try_into().ok()).collect();
    for (size, names) in SIZES {
        for op in ALU {
            let [_, byte, double_word] = alu_codes(op, size);
            for (to, seen) in operands(&names) {
                // Registers are few and take all values; addresses are many and take the telling ones.
                let values = match to {
                    Operand::Register(_) => values.as_slice(),
                    Operand::Memory(_) => &DISPLACEMENTS,
                };
                for &value in values {
                    let code = match value {
                        -128..=127 => byte,
                        _ => double_word,
                    };
                    let immediate = Seen::Immediate(match size {
                        Size::Quad => i64::from(value) as u64,
                        Size::Double => u64::from(value as u32),
                    });
                    assert_emits(code, &[seen, immediate], |e| e.alu_immediate(op, size, to, value));
                }
            }
        }
    }
}

#[test]
fn rax_is_multiplied_divided_and_extended() {
    for (signed, code) in [(true, Code::Imul_rm64), (false, Code::Mul_rm64)] {
        for (operand, seen) in operands(&QUADS) {
            assert_emits(code, &[seen], |e| e.multiply_wide(signed, operand));
        }
    }
    for (size, names) in SIZES {
        let (signed, unsigned, extend) = match size {
            Size::Quad => (Code::Idiv_rm64, Code::Div_rm64, Code::Cqo),
            Size::Double => (Code::Idiv_rm32, Code::Div_rm32, Code::Cdq),
        };
        for (by, seen) in registers(&names) {
            assert_emits(signed, &[seen], |e| e.divide(size, true, by));
            assert_emits(unsigned, &[seen], |e| e.divide(size, false, by));
        }
        assert_emits(extend, &[], |e| e.extend_rax(size));
    }
}

#[test]
fn test_looks_at_one_register() {
    for (a, seen) in registers(&QUADS) {
        assert_emits(Code::Test_rm64_r64, &[seen, seen], |e| e.test(Size::Quad, a));
    }
    for (a, seen) in registers(&DOUBLES) {
        assert_emits(Code::Test_rm32_r32, &[seen, seen], |e| e.test(Size::Double, a));
    }
}

#[test]
fn test_looks_at_some_bits_of_one_register() {
    for (a, seen) in registers(&DOUBLES) {
        for bits in [1, 0x80, 0xc6000, i32::MIN] {
            let bits_seen = Seen::Immediate(u64::from(bits as u32));
            assert_emits(Code::Test_rm32_imm32, &[seen, bits_seen], |e| {
                e.test_bits(a, bits);
            });
        }
    }
}

const SHIFTS: [Shift; 3] = [Shift::Left, Shift::Right, Shift::Arithmetic];

/// The codes of a shift with an immediate count and with a count in a register.
fn shift_codes(shift: Shift, size: Size) -> [Code; 2] {
    use Code::*;
    match (shift, size) {
        (Shift::Left, Size::Quad) => [Shl_rm64_imm8, VEX_Shlx_r64_rm64_r64],
        (Shift::Left, Size::Double) => [Shl_rm32_imm8, VEX_Shlx_r32_rm32_r32],
        (Shift::Right, Size::Quad) => [Shr_rm64_imm8, VEX_Shrx_r64_rm64_r64],
        (Shift::Right, Size::Double) => [Shr_rm32_imm8, VEX_Shrx_r32_rm32_r32],
        (Shift::Arithmetic, Size::Quad) => [Sar_rm64_imm8, VEX_Sarx_r64_rm64_r64],
        (Shift::Arithmetic, Size::Double) => [Sar_rm32_imm8, VEX_Sarx_r32_rm32_r32],
    }
}

#[test]
fn shifts_take_their_count_from_the_instruction_or_a_register() {
    for (size, names) in SIZES {
        for shift in SHIFTS {
            let [by_immediate, by_register] = shift_codes(shift, size);
            for (to, first) in registers(&names) {
                for count in 0..64 {
                    let operands = [first, Seen::Immediate(u64::from(count))];
                    assert_emits(by_immediate, &operands, |e| e.shift(shift, size, to, count));
                }
                for (from, second) in registers(&names) {
                    for (count, third) in registers(&names) {
                        let operands = [first, second, third];
                        assert_emits(by_register, &operands, |e| {
                            e.shift_by(shift, size, to, from, count);
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn rotate_takes_any_two_registers_and_any_count() {
    for (to, first) in registers(&DOUBLES) {
        for (from, second) in registers(&DOUBLES) {
            for count in 0..64 {
                let operands = [first, second, Seen::Immediate(u64::from(count))];
                assert_emits(Code::VEX_Rorx_r32_rm32_imm8, &operands, |e| {
                    e.rotate(to, from, count);
                });
            }
        }
    }
}
