//! Runs every guest in `guests/` on every engine and checks what its comments expect.
//!
//! `#: a0 = VALUE` is a register at the end, `#: [ADDRESS] = VALUE` a doubleword of memory, and `#: trap
//! CAUSE TVAL EPC MPP` the next trap to machine mode; after the last one there is none. `#: ticks N` lets
//! `mtime` be the steps divided by N. A guest ends at `done`, within [`STEPS`] steps.

#![allow(clippy::disallowed_methods, reason = "the guests are files beside this one")]

mod support;

use std::path::Path;

use hart::{InterpreterOptions, Reason, Translate, ram::BASE};
use support::{Computer, State, asm};

const STEPS: u64 = 6_000;
const RUNTIME: &str = include_str!("support/runtime.s");

/// How a guest is executed.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Everything is interpreted.
    Plain,
    /// Everything is translated.
    Translated,
    /// What runs often is translated, as by default.
    Hot,
    /// Everything is translated, and so many steps are run at a time.
    Pieces(u64),
    /// Everything is interpreted, with zeal of this seed.
    Zeal(u64),
    /// Everything is translated, with zeal of this seed.
    ZealTranslated(u64),
    /// Everything is translated, with little memory for the code.
    Cramped,
    /// Everything is interpreted, one step at a time.
    Stepped,
    /// Everything is interpreted, one step at a time, with all caches dropped before each.
    Forgetful,
}

fn run(program: &asm::Program, ticks: u64, way: Way) -> (Computer, State) {
    let (zeal, translate) = match way {
        Way::Zeal(seed) => (Some(seed), Translate::Never),
        Way::Translated | Way::Cramped | Way::Pieces(_) => (None, Translate::Always),
        Way::Hot => (None, Translate::Hot),
        Way::ZealTranslated(seed) => (Some(seed), Translate::Always),
        Way::Plain | Way::Stepped | Way::Forgetful => (None, Translate::Never),
    };
    let options = InterpreterOptions {
        zeal,
        translate,
        code_bytes: matches!(way, Way::Cramped).then_some(0),
    };
    let mut computer = Computer::new(&program.bytes, options);
    computer.board.steps_per_tick = ticks;
    // addi s0, s0, 1; c.addi s0, 2; li s1, 3; ret
    computer.board.rom = vec![0x13, 4, 0x14, 0, 9, 4, 0x93, 4, 0x30, 0, 0x67, 0x80, 0, 0];
    while computer.now.0 < STEPS {
        let before = computer.now;
        let piece = match way {
            Way::Stepped | Way::Forgetful if computer.hart.pc != program.value("done") => 1,
            Way::Pieces(steps) => steps,
            _ => STEPS,
        };
        let until = STEPS.min(before.0 + piece);
        if let Way::Forgetful = way {
            hart::Engine::forget(&mut computer.engine);
        }
        if computer.run_to(until) == Reason::Wait && computer.now == before {
            break;
        }
    }
    let state = computer.state();
    (computer, state)
}

/// What is wrong with a guest; empty if nothing is.
fn check(source: &str) -> String {
    let program = asm::assemble(&format!("{RUNTIME}\n{source}"), BASE);
    let expectations = || {
        source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("#:"))
            .map(str::trim)
    };
    let ticks = expectations()
        .find_map(|line| line.strip_prefix("ticks ")?.parse().ok())
        .unwrap_or(0);
    let (computer, plain) = run(&program, ticks, Way::Plain);
    let word = |address: u64| {
        let at = (address - BASE) as usize;
        u64::from_le_bytes(plain.memory[at..at + 8].try_into().unwrap())
    };
    let mut entry = program.value("log");
    let mut failures = String::new();
    for line in expectations() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (found, wanted) = match words[..] {
            ["ticks", _] => continue,
            ["trap", cause, value, pc, mpp] => {
                let found: Vec<u64> = (0..4).map(|at| word(entry + 8 * at)).collect();
                entry += 32;
                (
                    found,
                    [cause, value, pc, mpp].map(|text| program.value(text)).to_vec(),
                )
            }
            [place, "=", value] => {
                let found = match place.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                    Some(address) => word(program.value(address)),
                    None => match asm::register(place) {
                        Some(number) => computer.hart.x[number as usize],
                        None => computer.hart.f[asm::float_register(place).unwrap() as usize],
                    },
                };
                (vec![found], vec![program.value(value)])
            }
            _ => panic!("what is {line:?}?"),
        };
        if found != wanted {
            failures += &format!("{line}\n    found {found:x?}, wanted {wanted:x?}\n");
        }
    }
    let rest: Vec<u64> = (0..4).map(|at| word(entry + 8 * at)).collect();
    if rest != [0; 4] {
        failures += &format!("one more trap: {rest:x?}\n");
    }
    if computer.hart.pc != program.value("done") {
        failures += &format!("it ends at {:x} after {}\n", computer.hart.pc, computer.now);
    }
    for way in [
        Way::Stepped,
        Way::Forgetful,
        Way::Zeal(1),
        Way::Zeal(2),
        Way::Zeal(3),
        Way::Translated,
        Way::Hot,
        Way::Pieces(7),
        Way::Pieces(19),
        Way::ZealTranslated(4),
        Way::ZealTranslated(5),
        Way::Cramped,
    ] {
        let (_, other) = run(&program, ticks, way);
        let differences = plain.differences(&other);
        if !differences.is_empty() {
            failures += &format!("{way:?}:\n{differences}");
        }
    }
    failures
}

#[test]
fn every_guest_does_what_its_comments_expect_on_every_engine() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 10);
    let mut failures = String::new();
    for file in files {
        let wrong = check(&std::fs::read_to_string(&file).unwrap());
        if !wrong.is_empty() {
            failures += &format!("{}:\n{wrong}\n", file.file_name().unwrap().to_string_lossy());
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}
