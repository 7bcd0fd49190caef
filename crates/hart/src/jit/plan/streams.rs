//! The streams of a loop: the memory that it walks through.
//!
//! A *stream* is all accesses of a loop through a register that grows or shrinks by a constant in each turn,
//! or stays. The pages of streams are looked up once for many turns, which then do without lookups for them.
//!
//! `superblock` asks [`streams`], and `generate/streams.rs` computes from stride and extent how many turns
//! stay in the pages. The accesses of those turns check nothing, so a stride or an extent that is too small
//! would let them reach the wrong memory. Which streams are kept is a matter of speed.

use super::{
    course::is_loop,
    extent::{Extent, SPAN_MAX},
    instruction::{native, writes},
};
use crate::op::{Code, Op};

/// How many streams a loop has at most. Accesses through further registers are looked up in each turn.
pub const STREAMS_MAX: usize = 4;
/// How many ops a turn may have for each stream of its loop. A loop with longer turns has no streams, as its
/// lookups are too small a part of the turn.
pub const OPS_PER_STREAM: usize = 10;
/// Longest stride in bytes: several turns must fit into a page.
const STRIDE_MAX: i32 = 256;

/// The accesses of a loop through one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The guest register.
    pub base: u8,
    /// What a turn adds to the register, in bytes. A turn that skips some of its ops may add less, but never
    /// changes the sign.
    pub stride: i32,
    /// What the accesses of a turn reach, each relative to the register's value at that access. The register
    /// may move within the turn, so relative to its value at the turn's start they reach up to one `stride`
    /// more.
    pub extent: Extent,
    /// The number of ops that access it.
    accesses: usize,
}

/// The streams of a loop, those with most accesses first; none if the turns that do without their lookups
/// would not be worth it.
pub fn streams(ops: &[(usize, Op)]) -> Vec<Stream> {
    if !is_loop(ops) || !ops.iter().all(|&(_, op)| is_simple(op)) {
        return Vec::new();
    }
    let mut streams: Vec<_> = (1..32).filter_map(|base| stream(ops, base)).collect();
    streams.sort_by_key(|stream| std::cmp::Reverse(stream.accesses));
    streams.truncate(STREAMS_MAX);
    if streams.len() * OPS_PER_STREAM < ops.len() {
        streams.clear();
    }
    streams
}

/// May this op be in a loop with streams? What the interpreter does for a CSR instruction may change the
/// address space, and loops with fences are too rare.
fn is_simple(op: Op) -> bool {
    native(op) && !matches!(op.code, Code::Csr | Code::SfenceVma | Code::SinvalVma)
}

/// The stream through a register, if there is one. A turn may leave some of its ops out, so all that is added
/// must have one sign.
fn stream(ops: &[(usize, Op)], base: u8) -> Option<Stream> {
    let mut extent: Option<Extent> = None;
    let (mut stride, mut accesses) = (0i32, 0);
    for &(_, op) in ops {
        if let Some(more) = Extent::of(op).filter(|_| op.rs1 == base) {
            extent = Some(extent.map_or(more, |known| known.and(more)));
            accesses += 1;
        }
        if writes(op) == Some(base) {
            let adds = op.code == Code::Addi && op.rs1 == base && op.imm.signum() * stride.signum() >= 0;
            stride = stride.checked_add(op.imm).filter(|_| adds)?;
        }
    }
    let extent = extent?;
    (stride.abs() <= STRIDE_MAX && extent.span() <= SPAN_MAX).then_some(Stream {
        base,
        stride,
        extent,
        accesses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(base: u32, offset: i32) -> Op {
        Op::new(Code::Ld, 10, base, 0, offset)
    }

    fn add(register: u32, constant: i32) -> Op {
        Op::new(Code::Addi, register, register, 0, constant)
    }

    /// The streams of a loop of these ops and the jump back, by register and stride.
    fn streams_of(ops: &[Op]) -> Vec<(u8, i32)> {
        let back = Op::new(Code::J, 0, 0, 0, -2 * ops.len() as i32);
        let ops = ops.iter().chain([&back]).enumerate();
        let ops: Vec<_> = ops.map(|(index, op)| (2 * index, op.with_halves(2))).collect();
        let streams = streams(&ops);
        streams
            .iter()
            .map(|stream| (stream.base, stream.stride))
            .collect()
    }

    #[test]
    fn accesses_through_a_register_that_a_turn_moves_by_a_constant_are_a_stream() {
        assert_eq!(streams_of(&[load(11, 0), add(11, 8)]), [(11, 8)]);
        assert_eq!(streams_of(&[load(11, 0), add(11, -4), add(11, -4)]), [(11, -8)]);
        assert_eq!(streams_of(&[load(11, 0)]), [(11, 0)]);
    }

    #[test]
    fn a_register_that_moves_otherwise_makes_no_stream() {
        let other = Op::new(Code::Add, 11, 11, 12, 0);
        assert_eq!(streams_of(&[load(11, 0), other]), []);
        // To and fro: a turn that leaves one of both out would go elsewhere.
        assert_eq!(streams_of(&[load(11, 0), add(11, 16), add(11, -8)]), []);
        assert_eq!(streams_of(&[load(11, 0), add(11, 512)]), []);
    }

    #[test]
    fn of_many_streams_those_with_most_accesses_are_kept() {
        let mut ops: Vec<_> = (11..16).map(|base| load(base, 0)).collect();
        ops.push(load(15, 8));
        assert_eq!(streams_of(&ops), [(15, 0), (11, 0), (12, 0), (13, 0)]);
    }

    #[test]
    fn a_long_turn_with_few_accesses_has_no_streams() {
        let mut ops = vec![load(11, 0)];
        ops.resize(OPS_PER_STREAM - 1, add(12, 1));
        assert_eq!(streams_of(&ops), [(11, 0)]);
        ops.push(add(12, 1));
        assert_eq!(streams_of(&ops), []);
    }

    #[test]
    fn a_loop_that_may_change_the_address_space_has_no_streams() {
        let fence = Op::new(Code::SfenceVma, 0, 0, 0, 0);
        assert_eq!(streams_of(&[load(11, 0), fence]), []);
    }
}
