//! An assembler for the test guests: RV64GC with labels, so that the tests need no cross compiler.
//!
//! The syntax is GNU's, as far as the guests need it. It panics on whatever it does not know: a test's
//! source is written by us. Nothing is compressed unless the source says `c.`.

mod bits;
mod compressed;
mod float;

use std::collections::BTreeMap;

/// An assembled guest.
pub struct Program {
    pub bytes: Vec<u8>,
    pub symbols: BTreeMap<String, u64>,
}

impl Program {
    /// The value of `symbol`, a number, or a sum, difference or quotient of such.
    pub fn value(&self, text: &str) -> u64 {
        evaluate(text, &self.symbols).unwrap_or_else(|| panic!("unknown symbol in {text:?}"))
    }
}

/// Assembles `source` for the address `origin`.
pub fn assemble(source: &str, origin: u64) -> Program {
    let mut symbols = BTreeMap::new();
    // The first pass finds the labels: unknown ones count as `origin`, and no size depends on them.
    let mut bytes = Vec::new();
    for pass in 0..2 {
        bytes.clear();
        for (number, line) in source.lines().enumerate() {
            let mut line = line.split('#').next().unwrap_or("").trim();
            while let Some((label, rest)) = line.split_once(':') {
                let at = origin + bytes.len() as u64;
                let known = symbols.insert(label.trim().to_owned(), at);
                assert!(pass == 1 || known.is_none(), "line {}: {label} twice", number + 1);
                line = rest.trim();
            }
            if !line.is_empty() {
                let mut state = Line {
                    symbols: &mut symbols,
                    pc: origin + bytes.len() as u64,
                    origin,
                    pass,
                };
                let coded = state.assemble(line);
                let coded = coded.unwrap_or_else(|| panic!("line {}: cannot assemble {line:?}", number + 1));
                bytes.extend(coded);
            }
        }
    }
    Program { bytes, symbols }
}

fn number(text: &str) -> Option<u64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let value = match digits.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(&hexadecimal.replace('_', ""), 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

fn evaluate(text: &str, symbols: &BTreeMap<String, u64>) -> Option<u64> {
    let text = text.trim();
    if let Some(value) = number(text).or_else(|| symbols.get(text).copied()) {
        return Some(value);
    }
    let at = text
        .rfind(['+', '-'])
        .filter(|&at| at > 0)
        .or_else(|| text.rfind('/'))?;
    let left = evaluate(&text[..at], symbols)?;
    let right = evaluate(&text[at + 1..], symbols)?;
    match text.as_bytes()[at] {
        b'+' => Some(left.wrapping_add(right)),
        b'-' => Some(left.wrapping_sub(right)),
        _ => left.checked_div(right),
    }
}

const ABI: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6",
    "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

/// The number of an integer register.
pub fn register(name: &str) -> Option<u32> {
    let numbered = name.strip_prefix('x').and_then(|digits| digits.parse().ok());
    let named = || ABI.iter().position(|&abi| abi == name).map(|at| at as u32);
    numbered.filter(|&number| number < 32).or_else(named)
}

/// The number of a floating-point register.
pub fn float_register(name: &str) -> Option<u32> {
    name.strip_prefix('f')?.parse().ok().filter(|&number| number < 32)
}

fn csr(name: &str) -> Option<u32> {
    let known = [
        ("fflags", 0x001),
        ("frm", 0x002),
        ("fcsr", 0x003),
        ("sstatus", 0x100),
        ("sie", 0x104),
        ("stvec", 0x105),
        ("scounteren", 0x106),
        ("senvcfg", 0x10a),
        ("sscratch", 0x140),
        ("sepc", 0x141),
        ("scause", 0x142),
        ("stval", 0x143),
        ("sip", 0x144),
        ("stimecmp", 0x14d),
        ("satp", 0x180),
        ("mstatus", 0x300),
        ("misa", 0x301),
        ("medeleg", 0x302),
        ("mideleg", 0x303),
        ("mie", 0x304),
        ("mtvec", 0x305),
        ("mcounteren", 0x306),
        ("menvcfg", 0x30a),
        ("mcountinhibit", 0x320),
        ("mscratch", 0x340),
        ("mepc", 0x341),
        ("mcause", 0x342),
        ("mtval", 0x343),
        ("mip", 0x344),
        ("pmpcfg0", 0x3a0),
        ("pmpcfg2", 0x3a2),
        ("pmpaddr0", 0x3b0),
        ("pmpaddr1", 0x3b1),
        ("pmpaddr2", 0x3b2),
        ("pmpaddr15", 0x3bf),
        ("tselect", 0x7a0),
        ("mcycle", 0xb00),
        ("minstret", 0xb02),
        ("cycle", 0xc00),
        ("time", 0xc01),
        ("instret", 0xc02),
        ("mvendorid", 0xf11),
        ("mhartid", 0xf14),
        ("mconfigptr", 0xf15),
    ];
    let named = known
        .iter()
        .find(|(known, _)| *known == name)
        .map(|&(_, address)| address);
    named.or_else(|| number(name).map(|value| value as u32))
}

struct Line<'a> {
    symbols: &'a mut BTreeMap<String, u64>,
    pc: u64,
    origin: u64,
    pass: u32,
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn i_type(opcode: u32, rd: u32, funct3: u32, rs1: u32, imm: u64) -> u32 {
    assert!(
        (-2048..2048).contains(&(imm as i64)),
        "immediate {imm:#x} does not fit"
    );
    (imm as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

fn s_type(opcode: u32, funct3: u32, rs1: u32, rs2: u32, imm: u64) -> u32 {
    assert!(
        (-2048..2048).contains(&(imm as i64)),
        "immediate {imm:#x} does not fit"
    );
    let imm = imm as u32;
    (imm >> 5 & 127) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | opcode
}

fn b_type(funct3: u32, rs1: u32, rs2: u32, offset: u64) -> u32 {
    assert!(
        (-4096..4096).contains(&(offset as i64)),
        "branch to {offset:#x} does not fit"
    );
    let imm = offset as u32;
    (imm >> 12 & 1) << 31
        | (imm >> 5 & 63) << 25
        | rs2 << 20
        | rs1 << 15
        | funct3 << 12
        | (imm >> 1 & 15) << 8
        | (imm >> 11 & 1) << 7
        | 0x63
}

fn j_type(rd: u32, offset: u64) -> u32 {
    assert!(
        (-(1 << 20)..1 << 20).contains(&(offset as i64)),
        "jump to {offset:#x} does not fit"
    );
    let imm = offset as u32;
    (imm >> 20 & 1) << 31
        | (imm >> 1 & 1023) << 21
        | (imm >> 11 & 1) << 20
        | (imm >> 12 & 255) << 12
        | rd << 7
        | 0x6f
}

fn r_type(opcode: u32, rd: u32, funct3: u32, rs1: u32, rs2: u32, funct7: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

/// `li` of any value, as short as the usual sequences.
fn load_immediate(rd: u32, value: u64) -> Vec<u32> {
    let low = (value << 52) as i64 >> 52;
    if value as i64 == low {
        return vec![i_type(0x13, rd, 0, 0, low as u64)];
    }
    if value as i32 as i64 as u64 == value {
        let upper = (value.wrapping_sub(low as u64) >> 12 & 0xf_ffff) as u32;
        let mut code = vec![upper << 12 | rd << 7 | 0x37];
        if low != 0 {
            code.push(i_type(0x1b, rd, 0, rd, low as u64));
        }
        return code;
    }
    let rest = value.wrapping_sub(low as u64);
    let shift = rest.trailing_zeros();
    let mut code = load_immediate(rd, (rest as i64 >> shift) as u64);
    code.push(i_type(0x13, rd, 1, rd, u64::from(shift)));
    if low != 0 {
        code.push(i_type(0x13, rd, 0, rd, low as u64));
    }
    code
}

impl Line<'_> {
    fn value(&self, text: &str) -> Option<u64> {
        match evaluate(text, self.symbols) {
            // A label that comes later: any value will do in the first pass.
            None if self.pass == 0 => Some(self.pc),
            value => value,
        }
    }

    fn assemble(&mut self, line: &str) -> Option<Vec<u8>> {
        let (mnemonic, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let operands: Vec<&str> = rest
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .collect();
        if mnemonic.starts_with('.') {
            return self.directive(mnemonic, &operands);
        }
        if mnemonic.starts_with("c.") {
            return self
                .compressed(mnemonic, &operands)
                .map(|half| half.to_le_bytes().to_vec());
        }
        self.pseudo(mnemonic, &operands)
            .or_else(|| self.plain(mnemonic, &operands).map(|word| vec![word]))
            .or_else(|| self.float(mnemonic, &operands).map(|word| vec![word]))
            .or_else(|| self.bits(mnemonic, &operands).map(|word| vec![word]))
            .map(|code| words(&code))
    }

    fn directive(&mut self, name: &str, operands: &[&str]) -> Option<Vec<u8>> {
        let size = match name {
            ".byte" => 1,
            ".half" => 2,
            ".word" => 4,
            ".dword" => 8,
            ".equ" => {
                let value = self.value(operands.get(1)?)?;
                self.symbols.insert((*operands.first()?).to_owned(), value);
                return Some(Vec::new());
            }
            ".org" => {
                let to = self.value(operands.first()?)?;
                let to = if to < self.origin { self.origin + to } else { to };
                return Some(vec![0; usize::try_from(to.checked_sub(self.pc)?).ok()?]);
            }
            _ => return None,
        };
        let values: Option<Vec<u64>> = operands.iter().map(|text| self.value(text)).collect();
        Some(
            values?
                .into_iter()
                .flat_map(|value| value.to_le_bytes().into_iter().take(size))
                .collect(),
        )
    }

    /// `offset(register)`, or `(register)`.
    fn memory(&self, text: &str) -> Option<(u64, u32)> {
        let (offset, base) = text.strip_suffix(')')?.split_once('(')?;
        let offset = if offset.is_empty() { 0 } else { self.value(offset)? };
        Some((offset, register(base)?))
    }

    fn pseudo(&self, name: &str, operands: &[&str]) -> Option<Vec<u32>> {
        let r = |at: usize| operands.get(at).and_then(|text| register(text));
        let v = |at: usize| operands.get(at).and_then(|text| self.value(text));
        let to = |at: usize| v(at).map(|target| target.wrapping_sub(self.pc));
        let c = |at: usize| operands.get(at).and_then(|text| csr(text));
        let csr_type =
            |funct3: u32, rd: u32, csr: u32, rs1: u32| csr << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x73;
        Some(vec![match name {
            "nop" => 0x13,
            "li" => return Some(load_immediate(r(0)?, v(1)?)),
            "la" | "call" | "tail" => {
                let (rd, base, at) = match name {
                    "la" => (r(0)?, r(0)?, 1),
                    "call" => (1, 1, 0),
                    _ => (0, 6, 0),
                };
                let offset = to(at)?;
                let low = (offset << 52) as i64 >> 52;
                let upper = offset.wrapping_sub(low as u64) as u32;
                let opcode = if name == "la" { 0x13 } else { 0x67 };
                return Some(vec![
                    upper | base << 7 | 0x17,
                    i_type(opcode, rd, 0, base, low as u64),
                ]);
            }
            "mv" => i_type(0x13, r(0)?, 0, r(1)?, 0),
            "not" => i_type(0x13, r(0)?, 4, r(1)?, u64::MAX),
            "neg" => r_type(0x33, r(0)?, 0, 0, r(1)?, 0x20),
            "seqz" => i_type(0x13, r(0)?, 3, r(1)?, 1),
            "snez" => r_type(0x33, r(0)?, 3, 0, r(1)?, 0),
            "sext.w" => i_type(0x1b, r(0)?, 0, r(1)?, 0),
            "j" => j_type(0, to(0)?),
            "jr" => i_type(0x67, 0, 0, r(0)?, 0),
            "ret" => i_type(0x67, 0, 0, 1, 0),
            "beqz" => b_type(0, r(0)?, 0, to(1)?),
            "bnez" => b_type(1, r(0)?, 0, to(1)?),
            "csrr" => csr_type(2, r(0)?, c(1)?, 0),
            "csrw" => csr_type(1, 0, c(0)?, r(1)?),
            "csrs" => csr_type(2, 0, c(0)?, r(1)?),
            "csrc" => csr_type(3, 0, c(0)?, r(1)?),
            "csrwi" => csr_type(5, 0, c(0)?, v(1)? as u32 & 31),
            "csrsi" => csr_type(6, 0, c(0)?, v(1)? as u32 & 31),
            "csrci" => csr_type(7, 0, c(0)?, v(1)? as u32 & 31),
            "csrrw" => csr_type(1, r(0)?, c(1)?, r(2)?),
            "csrrs" => csr_type(2, r(0)?, c(1)?, r(2)?),
            "csrrc" => csr_type(3, r(0)?, c(1)?, r(2)?),
            "csrrwi" => csr_type(5, r(0)?, c(1)?, v(2)? as u32 & 31),
            "csrrsi" => csr_type(6, r(0)?, c(1)?, v(2)? as u32 & 31),
            "csrrci" => csr_type(7, r(0)?, c(1)?, v(2)? as u32 & 31),
            _ => return None,
        }])
    }

    fn plain(&self, name: &str, operands: &[&str]) -> Option<u32> {
        let r = |at: usize| operands.get(at).and_then(|text| register(text));
        let v = |at: usize| operands.get(at).and_then(|text| self.value(text));
        let to = |at: usize| v(at).map(|target| target.wrapping_sub(self.pc));
        let m = |at: usize| operands.get(at).and_then(|text| self.memory(text));
        let find = |list: &[&str]| list.iter().position(|&known| known == name).map(|at| at as u32);
        if let Some(funct3) = find(&["lb", "lh", "lw", "ld", "lbu", "lhu", "lwu"]) {
            return Some(i_type(0x03, r(0)?, funct3, m(1)?.1, m(1)?.0));
        }
        if let Some(funct3) = find(&["sb", "sh", "sw", "sd"]) {
            return Some(s_type(0x23, funct3, m(1)?.1, r(0)?, m(1)?.0));
        }
        if let Some(funct3) = find(&["beq", "bne", "", "", "blt", "bge", "bltu", "bgeu"]) {
            return Some(b_type(funct3, r(0)?, r(1)?, to(2)?));
        }
        if let Some(funct3) = find(&["addi", "", "slti", "sltiu", "xori", "", "ori", "andi"]) {
            return Some(i_type(0x13, r(0)?, funct3, r(1)?, v(2)?));
        }
        if let Some(funct3) = find(&["add", "sll", "slt", "sltu", "xor", "srl", "or", "and"]) {
            return Some(r_type(0x33, r(0)?, funct3, r(1)?, r(2)?, 0));
        }
        if let Some(funct3) = find(&["mul", "mulh", "mulhsu", "mulhu", "div", "divu", "rem", "remu"]) {
            return Some(r_type(0x33, r(0)?, funct3, r(1)?, r(2)?, 1));
        }
        if let Some(funct3) = find(&["mulw", "", "", "", "divw", "divuw", "remw", "remuw"]) {
            return Some(r_type(0x3b, r(0)?, funct3, r(1)?, r(2)?, 1));
        }
        Some(match name {
            "lui" => (v(1)? as u32) << 12 | r(0)? << 7 | 0x37,
            "auipc" => (v(1)? as u32) << 12 | r(0)? << 7 | 0x17,
            "jal" => j_type(r(0)?, to(1)?),
            "jalr" => i_type(0x67, r(0)?, 0, m(1)?.1, m(1)?.0),
            "slli" => i_type(0x13, r(0)?, 1, r(1)?, v(2)? & 63),
            "srli" => i_type(0x13, r(0)?, 5, r(1)?, v(2)? & 63),
            "srai" => i_type(0x13, r(0)?, 5, r(1)?, v(2)? & 63 | 0x400),
            "addiw" => i_type(0x1b, r(0)?, 0, r(1)?, v(2)?),
            "slliw" => i_type(0x1b, r(0)?, 1, r(1)?, v(2)? & 31),
            "srliw" => i_type(0x1b, r(0)?, 5, r(1)?, v(2)? & 31),
            "sraiw" => i_type(0x1b, r(0)?, 5, r(1)?, v(2)? & 31 | 0x400),
            "sub" => r_type(0x33, r(0)?, 0, r(1)?, r(2)?, 0x20),
            "sra" => r_type(0x33, r(0)?, 5, r(1)?, r(2)?, 0x20),
            "addw" => r_type(0x3b, r(0)?, 0, r(1)?, r(2)?, 0),
            "subw" => r_type(0x3b, r(0)?, 0, r(1)?, r(2)?, 0x20),
            "sllw" => r_type(0x3b, r(0)?, 1, r(1)?, r(2)?, 0),
            "srlw" => r_type(0x3b, r(0)?, 5, r(1)?, r(2)?, 0),
            "sraw" => r_type(0x3b, r(0)?, 5, r(1)?, r(2)?, 0x20),
            "fence" => 0x0ff0_000f,
            "fence.i" => 0x0000_100f,
            "ecall" => 0x0000_0073,
            "ebreak" => 0x0010_0073,
            "sret" => 0x1020_0073,
            "mret" => 0x3020_0073,
            "wfi" => 0x1050_0073,
            "sfence.vma" => r_type(0x73, 0, 0, r(0).unwrap_or(0), r(1).unwrap_or(0), 0x09),
            _ => return self.atomic(name, operands),
        })
    }

    fn atomic(&self, name: &str, operands: &[&str]) -> Option<u32> {
        let r = |at: usize| operands.get(at).and_then(|text| register(text));
        let (operation, width) = name.rsplit_once('.')?;
        let funct3 = ["w", "d"].iter().position(|&known| known == width)? as u32 + 2;
        if operation == "lr" {
            return Some(r_type(
                0x2f,
                r(0)?,
                funct3,
                self.memory(operands.get(1)?)?.1,
                0,
                0x02 << 2,
            ));
        }
        let funct5 = match operation {
            "sc" => 0x03,
            "amoswap" => 0x01,
            "amoadd" => 0x00,
            "amoxor" => 0x04,
            "amoand" => 0x0c,
            "amoor" => 0x08,
            "amomin" => 0x10,
            "amomax" => 0x14,
            "amominu" => 0x18,
            "amomaxu" => 0x1c,
            _ => return None,
        };
        Some(r_type(
            0x2f,
            r(0)?,
            funct3,
            self.memory(operands.get(2)?)?.1,
            r(1)?,
            funct5 << 2,
        ))
    }
}
