//! Zba, Zbb, Zbs and Zicond: every instruction with every kind of register and with the corners of its
//! operands, on every engine, against definitions that go bit by bit.

mod support;

use hart::{InterpreterOptions, Translate, ram::BASE};
use support::{Computer, asm, random::Random};

/// What an instruction computes from two 64-bit operands.
type Meaning = fn(u64, u64) -> u64;

/// The number whose bits `bit` tells.
fn number(bit: impl Fn(u64) -> bool) -> u64 {
    (0..64).filter(|&at| bit(at)).map(|at| 1 << at).sum()
}

fn has(value: u64, bit: u64) -> bool {
    value >> bit & 1 == 1
}

fn word(value: u64) -> u64 {
    number(|at| has(value, at.min(31)))
}

fn low(value: u64) -> u64 {
    number(|at| at < 32 && has(value, at))
}

fn add(a: u64, b: u64) -> u64 {
    (u128::from(a) + u128::from(b)) as u64
}

fn left(value: u64, by: u64, width: u64) -> u64 {
    number(|at| at < width && has(value, (at + width - by % width) % width))
}

fn leading(value: u64, width: u64) -> u64 {
    (0..width).rev().take_while(|&at| !has(value, at)).count() as u64
}

fn trailing(value: u64, width: u64) -> u64 {
    (0..width).take_while(|&at| !has(value, at)).count() as u64
}

fn ones(value: u64, width: u64) -> u64 {
    (0..width).filter(|&at| has(value, at)).count() as u64
}

fn less(a: u64, b: u64, signed: bool) -> bool {
    let flip = if signed { 1 << 63 } else { 0 };
    (a ^ flip).cmp(&(b ^ flip)).is_lt()
}

const TWO: [(&str, Meaning); 24] = [
    ("add.uw", |a, b| add(low(a), b)),
    ("sh1add", |a, b| add(add(a, a), b)),
    ("sh2add", |a, b| add(add(add(a, a), add(a, a)), b)),
    ("sh3add", |a, b| add(a.wrapping_mul(8), b)),
    ("sh1add.uw", |a, b| add(low(a) * 2, b)),
    ("sh2add.uw", |a, b| add(low(a) * 4, b)),
    ("sh3add.uw", |a, b| add(low(a) * 8, b)),
    ("andn", |a, b| number(|at| has(a, at) && !has(b, at))),
    ("orn", |a, b| number(|at| has(a, at) || !has(b, at))),
    ("xnor", |a, b| number(|at| has(a, at) == has(b, at))),
    ("min", |a, b| if less(a, b, true) { a } else { b }),
    ("minu", |a, b| if less(a, b, false) { a } else { b }),
    ("max", |a, b| if less(a, b, true) { b } else { a }),
    ("maxu", |a, b| if less(a, b, false) { b } else { a }),
    ("rol", |a, b| left(a, b % 64, 64)),
    ("ror", |a, b| left(a, 64 - b % 64, 64)),
    ("rolw", |a, b| word(left(a, b % 32, 32))),
    ("rorw", |a, b| word(left(a, 32 - b % 32, 32))),
    ("bclr", |a, b| number(|at| has(a, at) && at != b % 64)),
    ("bext", |a, b| u64::from(has(a, b % 64))),
    ("binv", |a, b| number(|at| has(a, at) != (at == b % 64))),
    ("bset", |a, b| number(|at| has(a, at) || at == b % 64)),
    ("czero.eqz", |a, b| if b == 0 { 0 } else { a }),
    ("czero.nez", |a, b| if b == 0 { a } else { 0 }),
];

const ONE: [(&str, Meaning); 11] = [
    ("clz", |a, _| leading(a, 64)),
    ("ctz", |a, _| trailing(a, 64)),
    ("cpop", |a, _| ones(a, 64)),
    ("clzw", |a, _| leading(a, 32)),
    ("ctzw", |a, _| trailing(a, 32)),
    ("cpopw", |a, _| ones(a, 32)),
    ("sext.b", |a, _| number(|at| has(a, at.min(7)))),
    ("sext.h", |a, _| number(|at| has(a, at.min(15)))),
    ("zext.h", |a, _| number(|at| at < 16 && has(a, at))),
    ("orc.b", |a, _| number(|at| a >> (at & 56) & 0xff != 0)),
    ("rev8", |a, _| number(|at| has(a, at ^ 56))),
];

/// With an amount from 0 to 63, or to 31 for a word.
const AMOUNT: [(&str, u64, Meaning); 7] = [
    ("slli.uw", 64, |a, b| low(a) << b),
    ("rori", 64, |a, b| left(a, 64 - b, 64)),
    ("roriw", 32, |a, b| word(left(a, 32 - b, 32))),
    ("bclri", 64, |a, b| number(|at| has(a, at) && at != b)),
    ("bexti", 64, |a, b| u64::from(has(a, b))),
    ("binvi", 64, |a, b| number(|at| has(a, at) != (at == b))),
    ("bseti", 64, |a, b| number(|at| has(a, at) || at == b)),
];

/// Destination and sources: registers that the translator keeps in the host's, and others; the same one
/// twice; `x0`.
const PLACES: [[usize; 3]; 17] = [
    [10, 11, 12],
    [10, 10, 12],
    [10, 11, 10],
    [10, 10, 10],
    [10, 11, 11],
    [20, 21, 22],
    [20, 20, 22],
    [20, 21, 20],
    [20, 20, 20],
    [10, 21, 22],
    [20, 11, 22],
    [20, 21, 12],
    [8, 2, 12],
    [10, 0, 12],
    [10, 11, 0],
    [20, 0, 22],
    [0, 11, 22],
];

fn operands() -> Vec<u64> {
    let mut operands = vec![
        0,
        1,
        2,
        31,
        32,
        33,
        63,
        64,
        u64::MAX,
        1 << 63,
        (1 << 63) - 1,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 32,
        0xffff_ffff_8000_0000,
        0x80,
        0x7fff,
        0x8000,
        0x0100_8000_00ff_0001,
    ];
    let mut random = Random(7);
    operands.extend((0..8).map(|_| random.next() >> random.below(64)));
    operands
}

/// One instruction at each place, with what it means and where it is.
struct Case {
    text: String,
    meaning: Meaning,
    amount: Option<u64>,
    place: [usize; 3],
    at: u64,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for place in PLACES {
        let [rd, rs1, rs2] = place;
        let mut push = |text: String, meaning, amount| {
            // Each behind an instruction that ends its superblock.
            let at = BASE + 8 * cases.len() as u64;
            cases.push(Case {
                text,
                meaning,
                amount,
                place,
                at,
            });
        };
        for (name, meaning) in TWO {
            push(format!("{name} x{rd}, x{rs1}, x{rs2}"), meaning, None);
        }
        for (name, meaning) in ONE {
            push(format!("{name} x{rd}, x{rs1}"), meaning, None);
        }
        for (name, width, meaning) in AMOUNT {
            for amount in [0, 1, 7, 31, 32, 33, 63]
                .into_iter()
                .filter(|&amount| amount < width)
            {
                push(format!("{name} x{rd}, x{rs1}, {amount}"), meaning, Some(amount));
            }
        }
    }
    cases
}

#[test]
fn every_instruction_computes_what_the_manual_says_on_every_engine() {
    let cases = cases();
    let source: String = cases
        .iter()
        .map(|case| format!("{}\n ecall\n", case.text))
        .collect();
    let code = asm::assemble(&source, BASE).bytes;
    let values = operands();
    for translate in [Translate::Never, Translate::Always] {
        let options = InterpreterOptions {
            translate,
            ..InterpreterOptions::default()
        };
        let mut computer = Computer::new(&code, options);
        for case in &cases {
            let [rd, rs1, rs2] = case.place;
            for &a in &values {
                for &b in &values {
                    let mut x: [u64; 32] = std::array::from_fn(|at| at as u64 * 0x1111);
                    (x[rs1], x[rs2]) = (a, if rs1 == rs2 { a } else { b });
                    x[0] = 0;
                    computer.hart.x = x;
                    computer.hart.pc = case.at;
                    // The instruction and the `ecall`, which changes none of these registers.
                    computer.run(2);
                    let second = case.amount.unwrap_or(x[rs2]);
                    let result = (case.meaning)(x[rs1], second);
                    x[rd] = if rd == 0 { 0 } else { result };
                    assert_eq!(computer.hart.x, x, "{}, {a:x}, {b:x}, {translate:?}", case.text);
                }
            }
        }
    }
}
