//! Cutting numbers down to size: the only place of the crate with `as`.
//!
//! Devices use these functions where a register is narrower than what is stored to it: the upper bits are
//! dropped, as hardware drops them. No length or index of a guest may go through the functions that drop
//! bits.

#![allow(
    clippy::as_conversions,
    reason = "every conversion here is meant to truncate, or cannot"
)]

/// The low 8 bits.
#[must_use]
pub const fn low8(value: u64) -> u8 {
    value as u8
}

/// The low 16 bits.
#[must_use]
pub const fn low16(value: u64) -> u16 {
    value as u16
}

/// The low 32 bits.
#[must_use]
pub const fn low32(value: u64) -> u32 {
    value as u32
}

/// A length or index as a number: `usize` is at most 64 bits wide.
#[must_use]
pub const fn wide(value: usize) -> u64 {
    value as u64
}

/// A number as an index; on a host with a narrower `usize`, what does not fit is an index that nothing has.
#[must_use]
pub const fn index(value: u64) -> usize {
    if value > usize::MAX as u64 {
        usize::MAX
    } else {
        value as usize
    }
}

/// `value` with its half at `shift` (0 or 32) replaced by `half`.
#[must_use]
pub const fn with_half(value: u64, shift: u32, half: u64) -> u64 {
    let mask = 0xffff_ffff_u64 << shift;
    value & !mask | half << shift & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_replaced_alone() {
        assert_eq!(
            with_half(0x1111_2222_3333_4444, 0, 0xf_aaaa_bbbb),
            0x1111_2222_aaaa_bbbb
        );
        assert_eq!(
            with_half(0x1111_2222_3333_4444, 32, 0xaaaa_bbbb),
            0xaaaa_bbbb_3333_4444
        );
    }
}
