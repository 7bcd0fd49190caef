//! `Pending`: what was typed at a console and has not been taken by the guest thread yet, in its order.
//!
//! A hung guest takes nothing, and then whoever types Ctrl-A x or Ctrl-A b behind a paste must be heard all
//! the same. So a console with the escape key is read ahead of the guest, within a bound, and these keys
//! overtake what was typed before them. Nothing here reads or waits; no byte may reach the guest out of its
//! order.

use std::collections::VecDeque;

use crate::limits::CONSOLE_AHEAD_CHUNKS;
use crate::typed::{Typed, Want};

/// What was typed and not taken yet.
#[derive(Debug)]
pub(super) struct Pending {
    queue: VecDeque<Typed>,
    /// How many of the queue's first items were typed before the last Ctrl-A x: they are no answer to the
    /// question that follows it.
    before_quit: usize,
    /// How many Ctrl-A x are in the queue.
    quits: usize,
    /// How many Ctrl-A b are in the queue.
    breaks: usize,
    /// Most items in the queue.
    most: usize,
}

impl Pending {
    /// Nothing is pending. `keys`: the console has the escape key.
    pub(super) fn new(keys: bool) -> Pending {
        Pending {
            queue: VecDeque::new(),
            before_quit: 0,
            quits: 0,
            breaks: 0,
            most: if keys { CONSOLE_AHEAD_CHUNKS } else { 1 },
        }
    }

    /// Is there room for one more item?
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < self.most
    }

    /// Adds what was typed next.
    pub(super) fn push(&mut self, typed: Typed) {
        self.quits += usize::from(typed == Typed::Quit);
        self.breaks += usize::from(typed == Typed::Break);
        self.queue.push_back(typed);
    }

    /// Would [`Pending::take`] give something?
    pub(super) fn has(&self, want: Want) -> bool {
        let next_fits = |room| self.queue.front().is_some_and(|typed| typed.len() <= room);
        match want {
            Want::Answer => self.queue.len() > self.before_quit,
            Want::Next { room } => self.quits > 0 || self.breaks > 0 || next_fits(room),
        }
    }

    /// Takes out what is wanted, and says how many bytes were dropped for it.
    pub(super) fn take(&mut self, want: Want) -> Option<(Typed, u64)> {
        if !self.has(want) {
            return None;
        }
        let mut dropped = 0;
        match want {
            Want::Answer => return Some((self.remove(self.before_quit)?, 0)),
            Want::Next { .. } if self.quits > 0 => {
                let at = self.queue.iter().position(|typed| *typed == Typed::Quit)?;
                self.before_quit = at;
                return Some((self.remove(at)?, 0));
            }
            // The letter behind the break is a command, and must be the one that was typed behind it. So what
            // stands before the break cannot follow it.
            Want::Next { room } if self.queue.front().is_some_and(|typed| typed.len() > room) => {
                while self.queue.front().is_some_and(|typed| *typed != Typed::Break) {
                    dropped += self.remove(0)?.len() as u64;
                }
            }
            Want::Next { .. } => {}
        }
        Some((self.remove(0)?, dropped))
    }

    /// Takes out one item.
    fn remove(&mut self, at: usize) -> Option<Typed> {
        let typed = self.queue.remove(at)?;
        self.before_quit -= usize::from(at < self.before_quit);
        self.quits -= usize::from(typed == Typed::Quit);
        self.breaks -= usize::from(typed == Typed::Break);
        Some(typed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Typed {
        Typed::Bytes(text.into())
    }

    fn pending(typed: &[Typed]) -> Pending {
        let mut pending = Pending::new(true);
        typed.iter().for_each(|typed| pending.push(typed.clone()));
        pending
    }

    const HUNG: Want = Want::Next { room: 0 };
    const FREE: Want = Want::Next { room: 100 };

    #[test]
    fn the_quit_key_overtakes_a_paste_and_the_answer_is_what_was_typed_behind_it() {
        let mut pending = pending(&[bytes("yyy"), bytes("y"), Typed::Quit, bytes("n"), bytes("ls")]);
        assert_eq!(pending.take(HUNG), Some((Typed::Quit, 0)));
        assert_eq!(pending.take(HUNG), None);
        assert_eq!(pending.take(Want::Answer), Some((bytes("n"), 0)));
        for text in ["yyy", "y", "ls"] {
            assert_eq!(
                pending.take(FREE),
                Some((bytes(text), 0)),
                "nothing of the paste is lost"
            );
        }
        assert_eq!(pending.take(FREE), None);
    }

    #[test]
    fn an_answer_that_is_not_typed_yet_is_not_taken_from_the_paste() {
        let mut pending = pending(&[bytes("yyy"), Typed::Quit]);
        assert_eq!(pending.take(HUNG), Some((Typed::Quit, 0)));
        assert!(!pending.has(Want::Answer));
        assert_eq!(pending.take(FREE), Some((bytes("yyy"), 0)));
        pending.push(bytes("n"));
        assert_eq!(pending.take(Want::Answer), Some((bytes("n"), 0)));
    }

    #[test]
    fn a_break_keeps_its_place_or_drops_what_the_guest_has_no_room_for() {
        let typed = [bytes("abc"), bytes("d"), Typed::Break, bytes("h")];
        let mut in_order = pending(&typed);
        for expected in &typed {
            assert_eq!(in_order.take(FREE), Some((expected.clone(), 0)));
        }
        let mut hung = pending(&typed);
        assert!(hung.has(HUNG));
        assert_eq!(hung.take(HUNG), Some((Typed::Break, 4)));
        assert_eq!(hung.take(HUNG), None);
        assert_eq!(hung.take(FREE), Some((bytes("h"), 0)));
    }

    #[test]
    fn a_console_without_keys_is_not_read_ahead_and_one_with_keys_has_a_bound() {
        for (keys, most) in [(false, 1), (true, CONSOLE_AHEAD_CHUNKS)] {
            let mut pending = Pending::new(keys);
            let mut count = 0;
            while pending.has_room() {
                pending.push(bytes("x"));
                count += 1;
            }
            assert_eq!(count, most);
        }
    }
}
