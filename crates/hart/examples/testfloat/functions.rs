//! The functions of TestFloat that RISC-V has: which instructions compute each, and what RISC-V demands.
//!
//! `main` makes a [`Case`] of each line of `testfloat_gen`, and `guest` computes it. IEEE 754 leaves open
//! which NaN a result is, and what becomes of a number that no integer can hold. RISC-V's rules for both are
//! written down here once more: this file must never ask the code that is tested.

/// The registers of three operands, and what RISC-V demands of the register of the result and of `fflags`.
pub type Case = [u64; 5];

/// The flag of an invalid operation. TestFloat has all flags at the bits of RISC-V's `fflags`.
const INVALID: u64 = 16;

/// What an operand or a result is.
#[derive(Clone, Copy)]
pub struct Kind {
    /// TestFloat's name of the kind.
    name: &'static str,
    /// The name of the kind in RISC-V's mnemonics.
    letters: &'static str,
    pub bits: u32,
    pub is_float: bool,
}

const F32: Kind = kind("f32", "s", 32, true);
const F64: Kind = kind("f64", "d", 64, true);
const I32: Kind = kind("i32", "w", 32, false);
const U32: Kind = kind("ui32", "wu", 32, false);
const I64: Kind = kind("i64", "l", 64, false);
const U64: Kind = kind("ui64", "lu", 64, false);

const fn kind(name: &'static str, letters: &'static str, bits: u32, is_float: bool) -> Kind {
    Kind {
        name,
        letters,
        bits,
        is_float,
    }
}

impl Kind {
    fn sign(self) -> u64 {
        1 << (self.bits - 1)
    }

    /// Are these the bits of a NaN?
    fn is_nan(self, bits: u64) -> bool {
        let infinity = if self.bits == 32 { 0xff << 23 } else { 0x7ff << 52 };
        self.is_float && bits & !self.sign() > infinity
    }

    /// The register that holds an operand. Above an integer of 32 bits is what must not matter.
    fn operand(self, bits: u64) -> u64 {
        match (self.bits, self.is_float) {
            (32, true) => bits | 0xffff_ffff << 32,
            (32, false) => bits | 0x5a5a_5a5a << 32,
            _ => bits,
        }
    }

    /// The register that holds a result: singles are boxed, integers of 32 bits extended by their sign, and
    /// every NaN is the canonical one (F chapter, "NaN Generation and Propagation").
    fn result(self, bits: u64) -> u64 {
        match (self.bits, self.is_float) {
            (32, false) => bits as i32 as u64,
            (32, _) if self.is_nan(bits) => 0xffff_ffff_7fc0_0000,
            _ if self.is_nan(bits) => 0x7ff8_0000_0000_0000,
            _ => self.operand(bits),
        }
    }

    /// The integer nearest to what does not fit; the greatest one for a NaN (F chapter, "Single-Precision
    /// Floating-Point Conversion and Move Instructions").
    fn saturated(self, is_below: bool) -> u64 {
        match (self.name.starts_with('u'), is_below) {
            (false, false) => self.sign() - 1,
            (false, true) => self.sign(),
            (true, false) => u64::MAX,
            (true, true) => 0,
        }
    }
}

/// A function of TestFloat.
pub struct Function {
    pub name: String,
    pub operands: Vec<Kind>,
    pub result: Kind,
    /// The instructions that compute the function.
    pub mnemonics: Vec<String>,
    /// Have the instructions a rounding mode?
    pub rounds: bool,
}

/// All functions that F and D have.
pub fn functions() -> Vec<Function> {
    let mut all = Vec::new();
    for (format, other) in [(F32, F64), (F64, F32)] {
        let with_letter = |name: &&str| format!("{name}.{}", format.letters);
        let mut add = |operation: &str, operands: usize, result: Kind, mnemonics: &[&str]| {
            all.push(Function {
                name: format!("{}_{operation}", format.name),
                operands: vec![format; operands],
                result,
                mnemonics: mnemonics.iter().map(with_letter).collect(),
                rounds: result.is_float,
            });
        };
        for operation in ["add", "sub", "mul", "div"] {
            add(operation, 2, format, &[&format!("f{operation}")]);
        }
        add("sqrt", 1, format, &["fsqrt"]);
        add("mulAdd", 3, format, &["fmadd", "fmsub", "fnmsub", "fnmadd"]);
        // TestFloat's `eq` is quiet and its `lt` and `le` are signaling, as RISC-V's instructions are.
        for comparison in ["eq", "lt", "le"] {
            add(comparison, 2, I64, &[&format!("f{comparison}")]);
        }
        let integers = [I32, U32, I64, U64].into_iter();
        let pairs = integers.flat_map(|integer| [(format, integer), (integer, format)]);
        all.extend(pairs.chain([(format, other)]).map(|(from, to)| Function {
            name: format!("{}_to_{}", from.name, to.name),
            operands: vec![from],
            result: to,
            mnemonics: vec![format!("fcvt.{}.{}", to.letters, from.letters)],
            rounds: true,
        }));
    }
    all
}

impl Function {
    /// Reads a line of `testfloat_gen`; `None` if it is not one of this function.
    pub fn case(&self, line: &str) -> Option<Case> {
        let hexadecimal = |word| u64::from_str_radix(word, 16);
        let words: Result<Vec<u64>, _> = line.split_whitespace().map(hexadecimal).collect();
        let words = words
            .ok()
            .filter(|words| words.len() == self.operands.len() + 2)?;
        let [operands @ .., value, flags] = &words[..] else {
            return None;
        };
        let mut case = [0, 0, 0, *value, *flags];
        for ((register, kind), &bits) in case.iter_mut().zip(&self.operands).zip(operands) {
            *register = kind.operand(bits);
        }
        if self.rounds && !self.result.is_float && *flags & INVALID != 0 {
            let (from, bits) = (self.operands[0], operands[0]);
            let is_below = bits & from.sign() != 0 && !from.is_nan(bits);
            case[3] = self.result.saturated(is_below);
        }
        case[3] = self.result.result(case[3]);
        Some(case)
    }
}
