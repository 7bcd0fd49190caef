//! Any bytes as a program: the decoder and the interpreter neither panic nor hang, the disassembler has a
//! word for all of it, and the state after it does not depend on caches.
#![no_main]

#[path = "../../crates/hart/tests/support/mod.rs"]
mod support;

use hart::{InterpreterOptions, Reason, ram::BASE};
use libfuzzer_sys::fuzz_target;
use support::{
    Computer, State,
    random::{Random, prepare},
};

/// Where `prepare` has the code begin.
const CODE: u64 = 0x1000;
/// Most bytes of code.
const CODE_BYTES_MAX: usize = 0x3000;
/// How many steps the code may run.
const STEPS: u64 = 500;

/// The state after the code has run, with caches dropped at random if there is a seed for that.
fn run(seed: u64, code: &[u8], zeal: Option<u64>) -> State {
    let mut computer = Computer::new(
        &[],
        InterpreterOptions {
            zeal,
            ..InterpreterOptions::default()
        },
    );
    computer.board.steps_per_tick = 3;
    prepare(&mut computer, &mut Random(seed));
    computer.ram.write(BASE + CODE, code).unwrap();
    while computer.now.0 < STEPS && computer.board.exit.is_none() {
        if computer.run_to(STEPS) == Reason::Wait {
            // WFI may end without an interrupt.
            computer.hart.waiting = false;
        }
    }
    computer.state()
}

fuzz_target!(|bytes: &[u8]| {
    let Some((seed, code)) = bytes.split_first() else {
        return;
    };
    let code = &code[..code.len().min(CODE_BYTES_MAX)];
    for bits in code.windows(4).step_by(2) {
        let bits = u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]);
        assert!(!hart::parts::disasm::disassemble(bits, BASE).is_empty());
    }
    let seed = u64::from(*seed);
    let plain = run(seed, code, None);
    assert_eq!(plain.differences(&run(seed, code, Some(seed & !7 | 4))), "");
});
