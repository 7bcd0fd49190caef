//! What integer instructions compute that are more than one operator of Rust's (manual, chapters "M", "B" and
//! "Zicond").
//!
//! Pure functions of operands, for the dispatch loop and for the functions that it leaves to. What is one
//! operator stands in the loop (`int`) itself.

use crate::op::Code;

/// The low 32 bits, sign-extended: how a register holds a word.
#[inline(always)]
pub(super) const fn word(value: u64) -> u64 {
    value as i32 as i64 as u64
}

/// High products, and division with its defined results for zero divisors and overflow (chapter "M").
#[inline(always)]
pub(super) fn multiply_divide(code: Code, a: u64, b: u64) -> u64 {
    let (sa, sb) = (a as i64, b as i64);
    let (wa, wb) = (a as i32, b as i32);
    match code {
        Code::Mulh => ((i128::from(sa) * i128::from(sb)) >> 64) as u64,
        Code::Mulhsu => ((i128::from(sa) * i128::from(b)) >> 64) as u64,
        Code::Mulhu => ((u128::from(a) * u128::from(b)) >> 64) as u64,
        Code::Div if b == 0 => u64::MAX,
        Code::Div => sa.wrapping_div(sb) as u64,
        Code::Divu => a.checked_div(b).unwrap_or(u64::MAX),
        Code::Rem if b == 0 => a,
        Code::Rem => sa.wrapping_rem(sb) as u64,
        Code::Remu => a.checked_rem(b).unwrap_or(a),
        Code::Divw if wb == 0 => u64::MAX,
        Code::Divw => wa.wrapping_div(wb) as i64 as u64,
        Code::Divuw => word(u64::from((a as u32).checked_div(b as u32).unwrap_or(u32::MAX))),
        Code::Remw if wb == 0 => word(a),
        Code::Remw => wa.wrapping_rem(wb) as i64 as u64,
        _ => word(u64::from((a as u32).checked_rem(b as u32).unwrap_or(a as u32))),
    }
}

/// What an instruction of Zba, Zbb, Zbs or Zicond computes of `a` in `rs1` and of `b`, which is in `rs2` or
/// is the immediate.
#[inline(always)]
pub(super) const fn compute(code: Code, a: u64, b: u64) -> u64 {
    use Code::*;
    let (low, amount, bit) = (a as u32, b as u32 & 63, 1 << (b & 63));
    match code {
        AddUw => b.wrapping_add(low as u64),
        Sh1add => b.wrapping_add(a << 1),
        Sh2add => b.wrapping_add(a << 2),
        Sh3add => b.wrapping_add(a << 3),
        Sh1addUw => b.wrapping_add((low as u64) << 1),
        Sh2addUw => b.wrapping_add((low as u64) << 2),
        Sh3addUw => b.wrapping_add((low as u64) << 3),
        SlliUw => (low as u64) << amount,
        Andn => a & !b,
        Orn => a | !b,
        Xnor => a ^ !b,
        Min => {
            if (a as i64) < b as i64 {
                a
            } else {
                b
            }
        }
        Max => {
            if (a as i64) < b as i64 {
                b
            } else {
                a
            }
        }
        Minu => {
            if a < b {
                a
            } else {
                b
            }
        }
        Maxu => {
            if a < b {
                b
            } else {
                a
            }
        }
        Rol => a.rotate_left(amount),
        Ror | Rori => a.rotate_right(amount),
        Rolw => word(low.rotate_left(amount & 31) as u64),
        Rorw | Roriw => word(low.rotate_right(amount & 31) as u64),
        Bclr | Bclri => a & !bit,
        Bext | Bexti => a >> amount & 1,
        Binv | Binvi => a ^ bit,
        Bset | Bseti => a | bit,
        CzeroEqz => {
            if b == 0 {
                0
            } else {
                a
            }
        }
        CzeroNez => {
            if b != 0 {
                0
            } else {
                a
            }
        }
        _ => of_one(code, a),
    }
}

/// What those of them compute that have one operand.
#[inline(always)]
const fn of_one(code: Code, a: u64) -> u64 {
    use Code::*;
    let low = a as u32;
    match code {
        Clz => a.leading_zeros() as u64,
        Ctz => a.trailing_zeros() as u64,
        Cpop => a.count_ones() as u64,
        Clzw => low.leading_zeros() as u64,
        Ctzw => low.trailing_zeros() as u64,
        Cpopw => low.count_ones() as u64,
        SextB => a as i8 as i64 as u64,
        SextH => a as i16 as i64 as u64,
        ZextH => a as u16 as u64,
        OrcB => or_combine(a),
        // Rev8; the others do not come here.
        _ => a.swap_bytes(),
    }
}

/// Every byte that is not zero becomes all ones.
const fn or_combine(a: u64) -> u64 {
    const REST: u64 = u64::MAX / 255 * 0x7f;
    // The top bit of each byte that is not zero: no sum reaches the next byte.
    let tops = (((a & REST) + REST) | a) & !REST;
    (tops >> 7) * 255
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Code::*;

    #[test]
    fn results_are_those_of_the_manual_at_the_edges() {
        let all = u64::MAX;
        let top = 1 << 63;
        let cases = [
            (AddUw, all, 1, 0x1_0000_0000),
            (Sh1add, top | 1, all, 1),
            (Sh2add, all, 4, 0),
            (Sh3add, 1 << 61, 7, 7),
            (Sh1addUw, all, 2, 0x2_0000_0000),
            (Sh2addUw, 1 << 32, 5, 5),
            (Sh3addUw, 0x8000_0000, 0, 0x4_0000_0000),
            (SlliUw, all, 63, top),
            (SlliUw, all, 0, 0xffff_ffff),
            (Andn, 0b1100, 0b1010, 0b0100),
            (Orn, 0, all, 0),
            (Xnor, 5, 5, all),
            (Min, top, 0, top),
            (Max, top, 0, 0),
            (Minu, top, 0, 0),
            (Maxu, top, 0, top),
            (Rol, top | 1, 65, 3),
            (Ror, 1, 64 + 1, top),
            (Rori, 1, 63, 2),
            (Rolw, 0x4000_0000, 33, 0xffff_ffff_8000_0000),
            (Rorw, all << 32 | 1, 32 + 1, 0xffff_ffff_8000_0000),
            (Roriw, 0x8000_0000, 31, 1),
            (Clz, 0, 0, 64),
            (Clz, 1, 0, 63),
            (Ctz, 0, 0, 64),
            (Ctz, top, 0, 63),
            (Cpop, all, 0, 64),
            (Clzw, all << 32, 0, 32),
            (Ctzw, 1 << 32, 0, 32),
            (Cpopw, all, 0, 32),
            (SextB, 0x180, 0, all << 7),
            (SextH, 0x1_7fff, 0, 0x7fff),
            (ZextH, all, 0, 0xffff),
            (OrcB, 0x8001_0000_1000_00ff, 0, 0xffff_0000_ff00_00ff),
            (OrcB, all, 0, all),
            (Rev8, 0x0102_0304_0506_0708, 0, 0x0807_0605_0403_0201),
            (Bclr, all, 64 + 63, all >> 1),
            (Bclri, 1, 0, 0),
            (Bext, top, all, 1),
            (Bexti, top, 62, 0),
            (Binv, 0, 63, top),
            (Binvi, all, 63, all >> 1),
            (Bset, 0, 64, 1),
            (Bseti, 0, 63, top),
            (CzeroEqz, 7, 0, 0),
            (CzeroEqz, 7, top, 7),
            (CzeroNez, 7, 0, 7),
            (CzeroNez, 7, top, 0),
        ];
        for (code, a, b, expected) in cases {
            assert_eq!(compute(code, a, b), expected, "{code:?} {a:x} {b:x}");
        }
    }
}
