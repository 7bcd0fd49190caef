//! Checks the forms for bit manipulation.

use super::{flow::CONDITIONS, *};

/// The codes of a count with 64 and with 32 bits.
fn count_codes(count: Count) -> [Code; 2] {
    use Code::*;
    match count {
        Count::Ones => [Popcnt_r64_rm64, Popcnt_r32_rm32],
        Count::Trailing => [Tzcnt_r64_rm64, Tzcnt_r32_rm32],
        Count::Leading => [Lzcnt_r64_rm64, Lzcnt_r32_rm32],
    }
}

#[test]
fn counts_take_registers_and_memory() {
    for count in [Count::Ones, Count::Trailing, Count::Leading] {
        for ((size, names), code) in SIZES.into_iter().zip(count_codes(count)) {
            for (operand, second) in operands(&names) {
                for (to, first) in registers(&names) {
                    // The byte f3 belongs to the instruction: the disassembler does not report it as a
                    // prefix.
                    assert_emits(code, &[first, second], |e| e.count(count, size, to, operand));
                }
            }
        }
    }
}

#[test]
fn and_not_takes_any_three_registers_and_near_memory() {
    let near = |memory: &Memory| memory.base < 8 && memory.index.is_none_or(|(index, _)| index < 8);
    let seconds = registers(&QUADS).map(|(register, seen)| (Operand::Register(register), seen));
    let memories = memories()
        .filter(near)
        .map(|memory| (Operand::Memory(memory), Seen::memory(memory)));
    for (operand, third) in seconds.chain(memories) {
        for (to, first) in registers(&QUADS) {
            for (mask, second) in registers(&QUADS) {
                assert_emits(Code::VEX_Andn_r64_r64_rm64, &[first, second, third], |e| {
                    e.and_not(to, mask, operand);
                });
            }
        }
    }
}

#[test]
fn one_register_is_inverted_or_its_bytes_are_swapped() {
    for (to, seen) in registers(&QUADS) {
        assert_emits(Code::Not_rm64, &[seen], |e| e.not(to));
        assert_emits(Code::Bswap_r64, &[seen], |e| e.swap_bytes(to));
    }
}

#[test]
fn mov_if_has_every_condition() {
    for condition in CONDITIONS {
        let code = match condition {
            Condition::Overflow => Code::Cmovo_r64_rm64,
            Condition::NoOverflow => Code::Cmovno_r64_rm64,
            Condition::Below => Code::Cmovb_r64_rm64,
            Condition::AboveEqual => Code::Cmovae_r64_rm64,
            Condition::Equal => Code::Cmove_r64_rm64,
            Condition::NotEqual => Code::Cmovne_r64_rm64,
            Condition::BelowEqual => Code::Cmovbe_r64_rm64,
            Condition::Above => Code::Cmova_r64_rm64,
            Condition::Parity => Code::Cmovp_r64_rm64,
            Condition::NoParity => Code::Cmovnp_r64_rm64,
            Condition::Less => Code::Cmovl_r64_rm64,
            Condition::GreaterEqual => Code::Cmovge_r64_rm64,
            Condition::LessEqual => Code::Cmovle_r64_rm64,
            Condition::Greater => Code::Cmovg_r64_rm64,
        };
        assert_pairs(code, &QUADS, &QUADS, |e, to, from| e.mov_if(condition, to, from));
    }
}

#[test]
fn one_bit_is_changed_by_number_in_a_register_or_in_the_instruction() {
    for (bit, by_register, by_immediate) in [
        (Bit::Set, Code::Bts_rm64_r64, Code::Bts_rm64_imm8),
        (Bit::Reset, Code::Btr_rm64_r64, Code::Btr_rm64_imm8),
        (Bit::Complement, Code::Btc_rm64_r64, Code::Btc_rm64_imm8),
    ] {
        for (to, first) in registers(&QUADS) {
            for (number, second) in registers(&QUADS) {
                assert_emits(by_register, &[first, second], |e| e.bit(bit, to, number));
            }
            for number in 0..64 {
                let operands = [first, Seen::Immediate(u64::from(number))];
                assert_emits(by_immediate, &operands, |e| e.bit_immediate(bit, to, number));
            }
        }
    }
}

#[test]
fn rotates_go_by_cl_or_by_the_instruction() {
    use Code::*;
    for (rotate, size, names, by_cl, by_immediate) in [
        (Rotate::Left, Size::Quad, QUADS, Rol_rm64_CL, Rol_rm64_imm8),
        (Rotate::Right, Size::Quad, QUADS, Ror_rm64_CL, Ror_rm64_imm8),
        (Rotate::Left, Size::Double, DOUBLES, Rol_rm32_CL, Rol_rm32_imm8),
        (Rotate::Right, Size::Double, DOUBLES, Ror_rm32_CL, Ror_rm32_imm8),
    ] {
        for (to, first) in registers(&names) {
            let operands = [first, Seen::Register(Name::CL)];
            assert_emits(by_cl, &operands, |e| e.rotate_by_cl(rotate, size, to));
            for count in 0..64 {
                let operands = [first, Seen::Immediate(u64::from(count))];
                assert_emits(by_immediate, &operands, |e| e.rotate_by(rotate, size, to, count));
            }
        }
    }
}
