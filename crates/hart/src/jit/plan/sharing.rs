//! Accesses that share a lookup in the TLB: those that go through one register and lie close together, and
//! the nodes of a chain of pointers.
//!
//! What is found here is a proposal: whether the accesses really lie in one page is asked by the code that is
//! made.

use super::{
    course::is_loop,
    extent::{Extent, SPAN_MAX},
    instruction::{adds, is_branch, native, writes},
};
use crate::op::{Code, Op};

/// The stack pointer's number.
const SP: u8 = 2;

/// Accesses of a superblock that one lookup serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The guest register through which all of them go. Constants may be added to it on the way.
    pub base: u8,
    /// What all of them reach, as seen from the register as it is.
    pub extent: Extent,
}

impl Group {
    /// What remains of the group after an op: `None` if the op makes the register point elsewhere.
    pub fn after(self, op: Op) -> Option<Group> {
        if writes(op) != Some(self.base) {
            return Some(self);
        }
        let extent = self.extent.moved(adds(op)?);
        Some(Group { extent, ..self })
    }

    /// Does the group serve this op, a load or a store?
    pub fn serves(self, op: Op) -> bool {
        self.base == op.rs1 && Extent::of(op).is_some_and(|extent| self.extent.covers(extent))
    }
}

/// Does a group serve one of these ops, if nothing is looked up anew?
pub fn is_used(mut group: Group, ops: &[(usize, Op)]) -> bool {
    for &(_, op) in ops {
        if !native(op) {
            return false;
        }
        if group.serves(op) {
            return true;
        }
        let Some(after) = group.after(op) else {
            return false;
        };
        group = after;
    }
    false
}

/// The accesses that the lookup for the first of these ops can serve; `None` if it would serve that op alone.
pub fn group(ops: &[(usize, Op)]) -> Option<Group> {
    let (_, first) = *ops.first()?;
    let mut extent = Extent::of(first)?;
    let base = first.rs1;
    let (mut count, mut branched) = (0, false);
    // What was added to the register since the first op.
    let mut moved = 0;
    for &(_, op) in ops {
        if !native(op) {
            break;
        }
        branched |= is_branch(op);
        if let Some(more) = Extent::of(op).filter(|_| op.rs1 == base) {
            let both = extent.and(more.moved(-moved));
            // A page that is only read must not be looked up for a store that may not come.
            if both.span() > SPAN_MAX || (more.stores && branched && !extent.stores) {
                break;
            }
            extent = both;
            count += 1;
        }
        if writes(op) == Some(base) {
            let Some(added) = adds(op) else { break };
            moved += added;
        }
    }
    (count > 1).then_some(Group { base, extent })
}

/// Does a group that begins after the ops `before` lie across two pages of the stack, if `sp` is the stack
/// pointer at their beginning? Then its lookup would fail each time. The superblock that begins after the
/// access at which such a lookup fails is made when that has happened a few times, and asks the question
/// again with the stack pointer of that moment.
pub fn straddles(before: &[(usize, Op)], group: Group, mut sp: u64) -> bool {
    if group.base != SP {
        return false;
    }
    for &(_, op) in before {
        if writes(op) == Some(SP) {
            if (op.code, op.rs1) != (Code::Addi, SP) {
                return false;
            }
            sp = sp.wrapping_add_signed(i64::from(op.imm));
        }
    }
    let page = |offset| sp.wrapping_add_signed(i64::from(offset)) >> 12;
    page(group.extent.low) != page(group.extent.high - 1)
}

/// The register through which a loop follows a chain of pointers; `None` if it follows none, or if accesses
/// through another register share a lookup.
pub fn chain(ops: &[(usize, Op)]) -> Option<u8> {
    if !is_loop(ops) {
        return None;
    }
    let load = (0..ops.len()).find(|&load| leads_to_itself(ops, load))?;
    let chain = ops[load].1.rs1;
    let mut accesses = [0; 32];
    for &(_, op) in ops.iter().filter(|&&(_, op)| op.rs1 != chain) {
        accesses[usize::from(op.rs1)] += usize::from(Extent::of(op).is_some());
    }
    accesses.iter().all(|&count| count <= 1).then_some(chain)
}

/// Is the address of the load at this index what the same load found in the turn before, copied or with
/// constants added?
fn leads_to_itself(ops: &[(usize, Op)], load: usize) -> bool {
    if ops[load].1.code != Code::Ld {
        return false;
    }
    let mut wanted = ops[load].1.rs1;
    // The ops between the two loads, the last one first.
    let (before, after) = ops.split_at(load);
    for &(_, op) in before.iter().rev().chain(after[1..].iter().rev()) {
        if writes(op) == Some(wanted) {
            if !matches!(op.code, Code::Mv | Code::Addi) {
                return false;
            }
            wanted = op.rs1;
        }
    }
    ops[load].1.rd == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(to: u32, base: u32, offset: i32) -> Op {
        Op::new(Code::Ld, to, base, 0, offset)
    }

    fn store(base: u32, offset: i32) -> Op {
        Op::new(Code::Sd, 0, base, 11, offset)
    }

    fn block(ops: &[Op]) -> Vec<(usize, Op)> {
        let ops = ops.iter().map(|op| op.with_halves(2));
        ops.enumerate().map(|(index, op)| (2 * index, op)).collect()
    }

    /// A loop of these ops and the jump back.
    fn looped(ops: &[Op]) -> Vec<(usize, Op)> {
        let back = Op::new(Code::J, 0, 0, 0, -2 * ops.len() as i32);
        block(&[ops, &[back]].concat())
    }

    #[test]
    fn accesses_close_together_through_one_register_are_a_group() {
        let group = group(&block(&[load(10, 8, 0), load(11, 9, 0), store(8, 24)]));
        let extent = Extent {
            low: 0,
            high: 32,
            stores: true,
        };
        assert_eq!(group, Some(Group { base: 8, extent }));
    }

    #[test]
    fn an_access_alone_is_no_group() {
        assert_eq!(group(&block(&[load(10, 8, 0), load(11, 9, 8)])), None);
        // The second one is too far away, and the third goes through another value of the register.
        assert_eq!(group(&block(&[load(10, 8, 0), load(11, 8, 1024)])), None);
        assert_eq!(group(&block(&[load(8, 8, 0), load(11, 8, 8)])), None);
    }

    #[test]
    fn a_group_goes_on_when_a_constant_is_added_to_its_register() {
        let add = Op::new(Code::Addi, 8, 8, 0, 16);
        let found = group(&block(&[load(10, 8, 0), add, store(8, -8)])).unwrap();
        assert_eq!((found.extent.low, found.extent.high), (0, 16));
        let moved = found.after(add).unwrap();
        assert_eq!((moved.extent.low, moved.extent.high), (-16, 0));
        assert!(moved.serves(store(8, -8)) && !found.serves(store(8, -8)));
        // The register becomes another one's value and more.
        let elsewhere = Op::new(Code::Addi, 8, 9, 0, 16);
        assert_eq!(group(&block(&[load(10, 8, 0), elsewhere, store(8, -8)])), None);
        assert_eq!(found.after(elsewhere), None);
    }

    #[test]
    fn a_group_is_used_as_long_as_its_register_is_the_same_but_for_constants() {
        let add = Op::new(Code::Addi, 8, 8, 0, 16);
        let found = group(&block(&[load(10, 8, 0), load(11, 8, 8)])).unwrap();
        let is_used = |ops: &[Op]| is_used(found, &block(ops));
        assert!(is_used(&[add, load(11, 9, 0), load(11, 8, -8)]));
        assert!(!is_used(&[add, load(11, 8, 0)]));
        assert!(!is_used(&[load(8, 9, 0), load(11, 8, 0)]));
        assert!(!is_used(&[Op::new(Code::Ecall, 0, 0, 0, 0), load(11, 8, 0)]));
        assert!(!is_used(&[]));
    }

    #[test]
    fn a_store_that_may_not_come_is_no_part_of_a_group_of_loads() {
        let branch = Op::new(Code::Beq, 0, 10, 11, 4);
        assert_eq!(group(&block(&[load(10, 8, 0), branch, store(8, 8)])), None);
        assert!(group(&block(&[store(8, 0), branch, store(8, 8)])).is_some());
    }

    #[test]
    fn a_frame_across_two_pages_straddles() {
        let push = Op::new(Code::Addi, 2, 2, 0, -32);
        let ops = block(&[push, store(2, 8), store(2, 16), store(2, 24)]);
        let group = group(&ops[1..]).unwrap();
        assert!(straddles(&ops[..1], group, 0x5008));
        assert!(!straddles(&ops[..1], group, 0x5000));
        assert!(!straddles(&ops[..1], group, 0x5020));
        // The value of another register is not known.
        assert!(!straddles(&ops[..1], Group { base: 8, ..group }, 0x5008));
    }

    #[test]
    fn a_loop_that_loads_its_next_address_follows_a_chain() {
        assert_eq!(chain(&looped(&[load(10, 10, 8)])), Some(10));
        // By way of a copy.
        let copy = Op::new(Code::Mv, 10, 12, 0, 0);
        assert_eq!(chain(&looped(&[load(12, 10, 8), copy])), Some(10));
        assert_eq!(chain(&block(&[load(10, 10, 8)])), None);
        assert_eq!(chain(&looped(&[load(11, 10, 8)])), None);
    }

    #[test]
    fn a_chain_has_no_shared_lookup_beside_accesses_that_share_another() {
        let ops = [load(10, 10, 8), load(11, 8, 0)];
        assert_eq!(chain(&looped(&ops)), Some(10));
        let ops = [load(10, 10, 8), load(11, 8, 0), load(12, 8, 8)];
        assert_eq!(chain(&looped(&ops)), None);
    }
}
