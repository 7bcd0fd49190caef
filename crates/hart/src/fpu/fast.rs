//! Where answers from the host's own floating-point unit will go; for now every operation takes `soft`.

use super::Flags;

/// The operations that may be answered without the exact path; `None` leaves them to it.
pub trait Fast: Sized {
    /// `a + b`.
    fn fast_add(_a: Self, _b: Self, _flags: &mut Flags) -> Option<Self> {
        None
    }
    /// `a * b`.
    fn fast_mul(_a: Self, _b: Self, _flags: &mut Flags) -> Option<Self> {
        None
    }
    /// `a / b`.
    fn fast_div(_a: Self, _b: Self, _flags: &mut Flags) -> Option<Self> {
        None
    }
    /// The square root of `a`.
    fn fast_sqrt(_a: Self, _flags: &mut Flags) -> Option<Self> {
        None
    }
    /// `a * b + c`, rounded once.
    fn fast_fused_multiply_add(_a: Self, _b: Self, _c: Self, _flags: &mut Flags) -> Option<Self> {
        None
    }
}

impl Fast for u32 {}
impl Fast for u64 {}
