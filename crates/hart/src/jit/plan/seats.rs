//! Which guest registers live in host registers while a superblock runs.
//!
//! A *seat* is a host register that holds a guest register; there are [`SEATS`] of them, and all other guest
//! registers live in memory. Between superblocks the seats hold the registers of [`PINNED`]. Inside a
//! superblock, a register without a seat that is used much oftener than one with a seat takes the seat of the
//! pinned register that is used least: the two are exchanged on the way in, and back on every way out. In a
//! loop the exchange pays as soon as the newcomer is used oftener at all.
//!
//! `superblock` asks [`seats`], and `generate/registers.rs` makes the exchanges. Any choice gives right code
//! if no register has two seats and x0 has none; a bad choice costs speed.

use super::{
    course::is_loop,
    instruction::{native, reads, writes},
};
use crate::op::Op;

/// Host registers that hold guest registers.
pub const SEATS: usize = 8;

/// The guest register in each seat.
pub type Seats = [u8; SEATS];

/// The guest registers that have the seats between superblocks: sp, s0 and a0 to a5.
pub const PINNED: Seats = [2, 8, 10, 11, 12, 13, 14, 15];

/// In a loop, how many uses more a register must have than the one whose seat it takes (a difference, not a
/// factor). The exchange costs two host instructions on the way in and two on each way out, and a loop does
/// many turns in between.
const MORE_IN_LOOP: usize = 1;
/// The same difference for a superblock that is no loop: its ops are executed once for each exchange.
const MORE_ELSEWHERE: usize = 6;

/// The seats for these ops.
pub fn seats(ops: &[(usize, Op)]) -> Seats {
    // The interpreter expects the pinned registers in the seats, so each op that it does would cost an
    // exchange before it and another one after it.
    if ops.iter().any(|&(_, op)| !native(op)) {
        return PINNED;
    }
    let uses = uses(ops);
    let used = |guest: u8| uses[usize::from(guest)];
    let more = if is_loop(ops) {
        MORE_IN_LOOP
    } else {
        MORE_ELSEWHERE
    };
    let mut others: Vec<u8> = (1..32)
        .filter(|&guest| used(guest) >= more && !PINNED.contains(&guest))
        .collect();
    others.sort_by_key(|&guest| std::cmp::Reverse(used(guest)));
    let mut seats = PINNED;
    for other in others {
        let least = seats
            .iter_mut()
            .filter(|guest| PINNED.contains(guest))
            .min_by_key(|guest| used(**guest));
        let Some(guest) = least.filter(|guest| used(other) >= used(**guest) + more) else {
            break;
        };
        *guest = other;
    }
    seats
}

/// How often these ops read or write each integer register. Two registers do not count: x0, and
/// [`SINK`](crate::op::SINK), which is what a load into x0 writes.
fn uses(ops: &[(usize, Op)]) -> [usize; 32] {
    let mut uses = [0; 32];
    for &(_, op) in ops {
        for guest in reads(op).into_iter().chain([writes(op)]) {
            if let Some(guest @ 1..32) = guest {
                uses[usize::from(guest)] += 1;
            }
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Code;

    /// So many ops that add register `with` to register `to`, in a row.
    fn adds(count: usize, to: u32, with: u32) -> Vec<(usize, Op)> {
        let add = Op::new(Code::Add, to, to, with, 0).with_halves(2);
        (0..count).map(|index| (2 * index, add)).collect()
    }

    #[test]
    fn a_register_that_is_used_much_takes_the_seat_of_one_that_is_not() {
        // s2 is used three times by each op, sp never.
        assert_eq!(seats(&adds(2, 18, 18)), [18, 8, 10, 11, 12, 13, 14, 15]);
    }

    #[test]
    fn a_register_that_is_used_little_lives_in_memory() {
        assert_eq!(seats(&adds(1, 18, 18)), PINNED);
    }

    #[test]
    fn in_a_loop_one_use_more_is_enough() {
        let mut ops = adds(1, 18, 18);
        ops.push((2, Op::new(Code::J, 0, 0, 0, -2).with_halves(2)));
        assert_eq!(seats(&ops)[0], 18);
    }

    #[test]
    fn where_the_interpreter_does_an_op_nothing_is_exchanged() {
        let mut ops = adds(10, 18, 18);
        ops.push((20, Op::new(Code::Ecall, 0, 0, 0, 0).with_halves(2)));
        assert_eq!(seats(&ops), PINNED);
    }
}
