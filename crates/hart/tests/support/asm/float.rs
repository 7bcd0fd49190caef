//! The part of the test assembler for the floating-point instructions, of F and D.

use super::{Line, float_register, i_type, r_type, register, s_type};

impl Line<'_> {
    pub(super) fn float(&self, name: &str, operands: &[&str]) -> Option<u32> {
        let r = |at: usize| operands.get(at).and_then(|text| register(text));
        let f = |at: usize| operands.get(at).and_then(|text| float_register(text));
        let m = |at: usize| operands.get(at).and_then(|text| self.memory(text));
        let mode = |at: usize| {
            let modes = ["rne", "rtz", "rdn", "rup", "rmm", "", "", "dyn"];
            operands
                .get(at)
                .map_or(Some(7), |text| modes.iter().position(|known| known == text))
        };
        let mode = |at| mode(at).map(|mode| mode as u32);
        match name {
            "flw" => return Some(i_type(0x07, f(0)?, 2, m(1)?.1, m(1)?.0)),
            "fld" => return Some(i_type(0x07, f(0)?, 3, m(1)?.1, m(1)?.0)),
            "fsw" => return Some(s_type(0x27, 2, m(1)?.1, f(0)?, m(1)?.0)),
            "fsd" => return Some(s_type(0x27, 3, m(1)?.1, f(0)?, m(1)?.0)),
            "fmv.x.w" => return Some(r_type(0x53, r(0)?, 0, f(1)?, 0, 0x70)),
            "fmv.w.x" => return Some(r_type(0x53, f(0)?, 0, r(1)?, 0, 0x78)),
            "fmv.x.d" => return Some(r_type(0x53, r(0)?, 0, f(1)?, 0, 0x71)),
            "fmv.d.x" => return Some(r_type(0x53, f(0)?, 0, r(1)?, 0, 0x79)),
            "fcvt.s.d" => return Some(r_type(0x53, f(0)?, mode(2)?, f(1)?, 1, 0x20)),
            "fcvt.d.s" => return Some(r_type(0x53, f(0)?, mode(2)?, f(1)?, 0, 0x21)),
            _ => {}
        }
        let integers = ["w", "wu", "l", "lu"];
        if let Some(kinds) = name.strip_prefix("fcvt.") {
            let (to, from) = kinds.split_once('.')?;
            let format = |text: &str| {
                ["s", "d"]
                    .iter()
                    .position(|&known| known == text)
                    .map(|at| at as u32)
            };
            let integer = |text: &str| {
                integers
                    .iter()
                    .position(|&known| known == text)
                    .map(|at| at as u32)
            };
            return match (integer(to), format(from), format(to), integer(from)) {
                (Some(to), Some(from), ..) => Some(r_type(0x53, r(0)?, mode(2)?, f(1)?, to, 0x60 | from)),
                (_, _, Some(to), Some(from)) => Some(r_type(0x53, f(0)?, mode(2)?, r(1)?, from, 0x68 | to)),
                _ => None,
            };
        }
        let (operation, format) = name.rsplit_once('.')?;
        let format = ["s", "d"].iter().position(|&known| known == format)? as u32;
        let fused = ["fmadd", "fmsub", "fnmsub", "fnmadd"]
            .iter()
            .position(|&known| known == operation);
        if let Some(which) = fused {
            let opcode = 0x43 + 4 * which as u32;
            return Some(r_type(opcode, f(0)?, mode(4)?, f(1)?, f(2)?, f(3)? << 2 | format));
        }
        Some(match operation {
            "fadd" => r_type(0x53, f(0)?, mode(3)?, f(1)?, f(2)?, format),
            "fsub" => r_type(0x53, f(0)?, mode(3)?, f(1)?, f(2)?, 0x04 | format),
            "fmul" => r_type(0x53, f(0)?, mode(3)?, f(1)?, f(2)?, 0x08 | format),
            "fdiv" => r_type(0x53, f(0)?, mode(3)?, f(1)?, f(2)?, 0x0c | format),
            "fsqrt" => r_type(0x53, f(0)?, mode(2)?, f(1)?, 0, 0x2c | format),
            "fsgnj" => r_type(0x53, f(0)?, 0, f(1)?, f(2)?, 0x10 | format),
            "fsgnjn" => r_type(0x53, f(0)?, 1, f(1)?, f(2)?, 0x10 | format),
            "fsgnjx" => r_type(0x53, f(0)?, 2, f(1)?, f(2)?, 0x10 | format),
            "fmin" => r_type(0x53, f(0)?, 0, f(1)?, f(2)?, 0x14 | format),
            "fmax" => r_type(0x53, f(0)?, 1, f(1)?, f(2)?, 0x14 | format),
            "fle" => r_type(0x53, r(0)?, 0, f(1)?, f(2)?, 0x50 | format),
            "flt" => r_type(0x53, r(0)?, 1, f(1)?, f(2)?, 0x50 | format),
            "feq" => r_type(0x53, r(0)?, 2, f(1)?, f(2)?, 0x50 | format),
            "fclass" => r_type(0x53, r(0)?, 1, f(1)?, 0, 0x70 | format),
            _ => return None,
        })
    }
}
