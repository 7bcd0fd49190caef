//! Checks the forms that lead elsewhere: conditions, jumps, calls, the stack.

use super::*;

pub(super) const CONDITIONS: [Condition; 14] = [
    Condition::Overflow,
    Condition::NoOverflow,
    Condition::Below,
    Condition::AboveEqual,
    Condition::Equal,
    Condition::NotEqual,
    Condition::BelowEqual,
    Condition::Above,
    Condition::Parity,
    Condition::NoParity,
    Condition::Less,
    Condition::GreaterEqual,
    Condition::LessEqual,
    Condition::Greater,
];

/// The codes of a condition's jump, of its `set` and of its short jump.
fn condition_codes(condition: Condition) -> [Code; 3] {
    use Code::*;
    match condition {
        Condition::Overflow => [Jo_rel32_64, Seto_rm8, Jo_rel8_64],
        Condition::NoOverflow => [Jno_rel32_64, Setno_rm8, Jno_rel8_64],
        Condition::Below => [Jb_rel32_64, Setb_rm8, Jb_rel8_64],
        Condition::AboveEqual => [Jae_rel32_64, Setae_rm8, Jae_rel8_64],
        Condition::Equal => [Je_rel32_64, Sete_rm8, Je_rel8_64],
        Condition::NotEqual => [Jne_rel32_64, Setne_rm8, Jne_rel8_64],
        Condition::BelowEqual => [Jbe_rel32_64, Setbe_rm8, Jbe_rel8_64],
        Condition::Above => [Ja_rel32_64, Seta_rm8, Ja_rel8_64],
        Condition::Parity => [Jp_rel32_64, Setp_rm8, Jp_rel8_64],
        Condition::NoParity => [Jnp_rel32_64, Setnp_rm8, Jnp_rel8_64],
        Condition::Less => [Jl_rel32_64, Setl_rm8, Jl_rel8_64],
        Condition::GreaterEqual => [Jge_rel32_64, Setge_rm8, Jge_rel8_64],
        Condition::LessEqual => [Jle_rel32_64, Setle_rm8, Jle_rel8_64],
        Condition::Greater => [Jg_rel32_64, Setg_rm8, Jg_rel8_64],
    }
}

/// Bytes between a jump and its target: none, few, and more than a short jump could lead over.
const GAPS: [usize; 8] = [0, 1, 5, 122, 123, 127, 128, 70_000];

/// Emits one-byte instructions to jump over.
fn pad(emitter: &mut Emitter, instructions: usize) {
    for _ in 0..instructions {
        emitter.ret();
    }
}

#[test]
fn set_goes_by_al_to_any_register() {
    for condition in CONDITIONS {
        let [_, set, _] = condition_codes(condition);
        for (to, seen) in registers(&DOUBLES) {
            let mut emitter = Emitter::new(BASE);
            emitter.set(condition, to);
            let [first, second] = read(&emitter)[..] else {
                panic!("not two instructions: {:x?}", emitter.bytes);
            };
            let al = Seen::Register(Name::AL);
            assert_reads(&first, set, &[al]);
            assert_reads(&second, Code::Movzx_r32_rm8, &[seen, al]);
        }
    }
}

/// Checks that the jump that `make` emits lands after every gap.
fn assert_lands(code: Code, make: impl Fn(&mut Emitter) -> Jump) {
    for before in GAPS {
        for gap in GAPS {
            let mut emitter = Emitter::new(BASE);
            pad(&mut emitter, before);
            let jump = make(&mut emitter);
            pad(&mut emitter, gap);
            let target = BASE + emitter.here() as u64;
            emitter.land(jump);
            pad(&mut emitter, 1);
            let instructions = read(&emitter);
            assert_reads(&instructions[before], code, &[Seen::Target(target)]);
            assert_eq!(instructions.len(), before + 1 + gap + 1);
        }
    }
}

/// Checks that the jump that `make` emits leads back over every gap to a place.
fn assert_leads_back(code: Code, make: impl Fn(&mut Emitter, usize)) {
    for before in GAPS {
        for gap in GAPS {
            let mut emitter = Emitter::new(BASE);
            pad(&mut emitter, before);
            let to = emitter.here();
            pad(&mut emitter, gap);
            make(&mut emitter, to);
            pad(&mut emitter, 1);
            let instructions = read(&emitter);
            let target = Seen::Target(BASE + to as u64);
            assert_reads(&instructions[before + gap], code, &[target]);
            assert_eq!(instructions.len(), before + gap + 1 + 1);
        }
    }
}

#[test]
fn jumps_land_where_they_are_told_to() {
    assert_lands(Code::Jmp_rel32_64, Emitter::jump);
    assert_lands(Code::Call_rel32_64, Emitter::call_later);
    assert_leads_back(Code::Jmp_rel32_64, Emitter::jump_back);
    assert_leads_back(Code::Jmp_rel32_64, |e, to| {
        let jump = e.jump();
        e.land_back(jump, to);
    });
    for condition in CONDITIONS {
        let [code, _, _] = condition_codes(condition);
        assert_lands(code, |e| e.jump_if(condition));
        assert_leads_back(code, |e, to| {
            let jump = e.jump_if(condition);
            e.land_back(jump, to);
        });
    }
}

#[test]
fn a_few_bytes_are_skipped_unless_the_condition_holds() {
    for condition in CONDITIONS {
        let [_, _, code] = condition_codes(condition.not());
        assert_eq!(condition.not().not(), condition);
        for gap in [0, 1, 5, 126, 127] {
            let mut emitter = Emitter::new(BASE);
            let near = emitter.skip_unless(condition);
            pad(&mut emitter, gap);
            let target = BASE + emitter.here() as u64;
            emitter.land_near(near);
            pad(&mut emitter, 1);
            let instructions = read(&emitter);
            assert_reads(&instructions[0], code, &[Seen::Target(target)]);
            assert_eq!(instructions.len(), 1 + gap + 1);
        }
    }
}

#[test]
fn the_target_of_a_jump_can_be_asked_for() {
    for gap in GAPS {
        let mut emitter = Emitter::new(BASE);
        pad(&mut emitter, 3);
        let jump = emitter.jump();
        assert_eq!(jump.distance(), emitter.here() - 4);
        pad(&mut emitter, gap);
        emitter.land(jump);
        assert_eq!(emitter.target(jump), emitter.here());
    }
}

#[test]
fn jumps_that_wait_together_land_apart() {
    let mut emitter = Emitter::new(BASE);
    let first = emitter.jump_if(Condition::Equal);
    let second = emitter.jump();
    let third = emitter.jump_if(Condition::Below);
    emitter.land(second);
    emitter.push(RAX);
    emitter.land(first);
    emitter.pop(RAX);
    emitter.land(third);
    emitter.ret();
    let instructions = read(&emitter);
    for (jump, target) in [(0, 4), (1, 3), (2, 5)] {
        assert_eq!(
            instructions[jump].near_branch64(),
            instructions[target].ip(),
            "jump {jump}"
        );
    }
}

#[test]
fn far_jumps_and_calls_reach_addresses_in_either_direction() {
    // The farthest targets that a distance from the end of the instruction can reach.
    let distances = [0, 1, -1, 5, -5, 127, -128, 0x1234_5678, i32::MAX, i32::MIN];
    for base in [0, 0x1000, BASE, 0xffff_ffff_8000_0000] {
        for before in GAPS {
            for distance in distances {
                let to = base
                    .wrapping_add(before as u64 + 5)
                    .wrapping_add_signed(i64::from(distance));
                for (code, emit) in [
                    (Code::Jmp_rel32_64, Emitter::jump_far as fn(&mut Emitter, u64)),
                    (Code::Call_rel32_64, Emitter::call),
                ] {
                    let mut emitter = Emitter::new(base);
                    pad(&mut emitter, before);
                    emit(&mut emitter, to);
                    let instructions = read(&emitter);
                    assert_reads(&instructions[before], code, &[Seen::Target(to)]);
                    assert_eq!(instructions.len(), before + 1);
                }
            }
        }
    }
}

#[test]
fn indirect_jumps_and_calls_take_an_address_from_their_operand() {
    for (from, seen) in operands(&QUADS) {
        assert_emits(Code::Jmp_rm64, &[seen], |e| e.jump_to(from));
    }
    for from in memories() {
        assert_emits(Code::Call_rm64, &[Seen::memory(from)], |e| e.call_to(from));
    }
}

#[test]
fn the_stack_takes_any_register() {
    for (register, seen) in registers(&QUADS) {
        assert_emits(Code::Push_r64, &[seen], |e| e.push(register));
        assert_emits(Code::Pop_r64, &[seen], |e| e.pop(register));
    }
    for memory in memories() {
        let seen = [Seen::memory(memory)];
        assert_emits(Code::Push_rm64, &seen, |e| {
            e.push_operand(Operand::Memory(memory));
        });
        assert_emits(Code::Pop_rm64, &seen, |e| e.pop_to(memory));
    }
    assert_emits(Code::Retnq, &[], Emitter::ret);
}
