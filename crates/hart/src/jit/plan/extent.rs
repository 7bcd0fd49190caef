//! The bytes that accesses through one register reach, as offsets from that register.
//!
//! Where the register points is not known when code is made, but how far apart two such accesses are is.
//!
//! `sharing` and `streams` put extents together, and the generator looks up whole extents and asks
//! [`Extent::covers`] before it leaves a lookup out (`generate/lookup.rs`). An extent that is too small, or
//! that hides a store, would let generated code reach memory that no lookup has allowed; one that is too
//! great costs speed.

use crate::op::{Code, Op};

/// Bytes that one lookup in the TLB may serve.
pub const SPAN_MAX: i32 = 1024;

/// The bytes that one access or several accesses through one register reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The offset of the first byte.
    pub low: i32,
    /// The offset of the byte after the last one; greater than `low`.
    pub high: i32,
    /// Is one of the accesses a store? Then its page must be one that can be written.
    pub stores: bool,
}

impl Extent {
    /// The extent of a load or store that can share a lookup with others; `None` for any other op.
    pub fn of(op: Op) -> Option<Extent> {
        use Code::*;
        let (size, stores) = match op.code {
            Lb | Lbu => (1, false),
            Lh | Lhu => (2, false),
            Lw | Lwu | Flw => (4, false),
            Ld | Fld => (8, false),
            Sb => (1, true),
            Sh => (2, true),
            Sw | Fsw => (4, true),
            Sd | Fsd => (8, true),
            _ => return None,
        };
        Some(Extent {
            low: op.imm,
            high: op.imm + size,
            stores,
        })
    }

    /// The extent of the byte that the register points to.
    pub fn first_byte(stores: bool) -> Extent {
        Extent {
            low: 0,
            high: 1,
            stores,
        }
    }

    /// The extent of both, and of what lies between them.
    pub fn and(self, other: Extent) -> Extent {
        Extent {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            stores: self.stores | other.stores,
        }
    }

    /// The same bytes, as seen from a register that is greater by so many bytes.
    pub fn moved(self, by: i32) -> Extent {
        Extent {
            low: self.low - by,
            high: self.high - by,
            ..self
        }
    }

    /// The number of bytes.
    pub fn span(self) -> i32 {
        self.high - self.low
    }

    /// Does a lookup for this extent serve the other one too?
    pub fn covers(self, other: Extent) -> bool {
        self.low <= other.low && other.high <= self.high && (self.stores || !other.stores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_for_loads_serves_no_store() {
        let load = Extent::of(Op::new(Code::Ld, 10, 2, 0, 16)).unwrap();
        let store = Extent::of(Op::new(Code::Sw, 0, 2, 10, 16)).unwrap();
        assert!(!load.covers(store));
        assert!(load.and(store).covers(store) && load.and(store).covers(load));
        assert_eq!((load.and(store).low, load.and(store).span()), (16, 8));
        assert_eq!((load.moved(24).low, load.moved(24).high), (-8, 0));
    }
}
