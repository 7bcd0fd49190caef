//! `Operator`: what an operator's wish for the end means, by a signal or by Ctrl-A x on the console. `World`
//! asks it, says the course that it gives, and does it.
//!
//! A protected VM does not end because one of its hosts is shut down. So SIGTERM has a primary leave the VM
//! to its backup, and a backup leave; only a question that was answered with yes, or the guest itself,
//! switches a VM off on both sides. A guest alone cannot be asked to switch off, as its board has no power
//! button (docs/decisions/0060-what-signals-mean.md): the first signal says so, the second pulls the plug.
//! Whoever asks once more gets the end of this process, whatever that costs. SIGHUP means nothing to a VM:
//! the terminal in which it was started is gone, and it lives on.
//!
//! No number of signals ever switches off a guest that has a backup.

use replica::RoleName;

use report::{Course, Wish};

/// What the operator has asked for so far.
#[derive(Debug, Default)]
pub struct Operator {
    /// The role in which the operator asked, and how often; in another role the count begins anew. `None`:
    /// nobody has asked.
    asked: Option<(RoleName, u32)>,
    /// Is the guest's plug being pulled? That takes a while if a disk or the backup has to answer first.
    plug_pulled: bool,
    /// Was the operator asked back? Then the next key is the answer.
    question: bool,
}

impl Operator {
    /// What follows from a wish for the end of a replica in `role`.
    pub fn wants_the_end(&mut self, by: Wish, role: RoleName) -> Course {
        self.question = false;
        let times = match &mut self.asked {
            Some((before, times)) if *before == role => {
                *times += 1;
                *times
            }
            asked => {
                *asked = Some((role, 1));
                1
            }
        };
        if self.plug_pulled {
            return Course::Quit;
        }
        match (role, by, times) {
            (RoleName::Primary, Wish::Console, _) => {
                self.question = true;
                Course::AskBack
            }
            (RoleName::Primary, Wish::Signal, 1) => Course::Leave,
            (RoleName::Solo | RoleName::Claiming, Wish::Signal, 1)
            | (RoleName::Claiming, Wish::Console, 1) => Course::Explain,
            (RoleName::Solo, Wish::Console, _) | (RoleName::Solo, Wish::Signal, 2) => {
                self.plug_pulled = true;
                Course::PowerOff
            }
            _ => Course::Quit,
        }
    }

    /// The guest's plug is pulled, on a request that left no doubt.
    pub fn pulls_the_plug(&mut self) {
        self.question = false;
        self.plug_pulled = true;
    }

    /// Was the operator asked back, so that the next key is the answer?
    #[must_use]
    pub fn has_asked(&self) -> bool {
        self.question
    }

    /// What follows from the answer: the first key after [`Course::AskBack`]. The role may have changed
    /// since.
    pub fn answers(&mut self, key: u8, role: RoleName) -> Course {
        self.question = false;
        match (key, role) {
            // The arbiter decides just now whether the VM goes on here, so neither answer means anything. The
            // operator is told how to end this side all the same.
            (_, RoleName::Claiming) => {
                self.asked = Some((role, 1));
                Course::Explain
            }
            // The backup may be gone since the question: then the answer is about the guest here alone.
            (b'y' | b'Y', RoleName::Primary | RoleName::Solo) => {
                self.plug_pulled = true;
                Course::PowerOff
            }
            _ => Course::GoOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows when the same is wished again and again.
    fn courses(by: Wish, role: RoleName) -> Vec<Course> {
        let mut operator = Operator::default();
        (0..3).map(|_| operator.wants_the_end(by, role)).collect()
    }

    #[test]
    fn a_signal_never_switches_a_protected_guest_off() {
        let leaves = [Course::Leave, Course::Quit, Course::Quit];
        assert_eq!(courses(Wish::Signal, RoleName::Primary), leaves);
        assert_eq!(courses(Wish::Signal, RoleName::Backup), [Course::Quit; 3]);
    }

    #[test]
    fn a_guest_alone_is_unplugged_by_the_second_signal() {
        let unplugs = [Course::Explain, Course::PowerOff, Course::Quit];
        assert_eq!(courses(Wish::Signal, RoleName::Solo), unplugs);
        let at_once = [Course::PowerOff, Course::Quit, Course::Quit];
        assert_eq!(courses(Wish::Console, RoleName::Solo), at_once);
    }

    #[test]
    fn a_side_that_waits_for_the_arbiter_warns_before_it_leaves() {
        let warns = [Course::Explain, Course::Quit, Course::Quit];
        assert_eq!(courses(Wish::Signal, RoleName::Claiming), warns);
        assert_eq!(courses(Wish::Console, RoleName::Claiming), warns);
    }

    #[test]
    fn nobody_is_told_that_a_vm_goes_on_while_the_arbiter_decides_that() {
        for key in [b'y', b'n'] {
            let mut operator = Operator::default();
            operator.wants_the_end(Wish::Console, RoleName::Primary);
            assert_eq!(operator.answers(key, RoleName::Claiming), Course::Explain);
            assert_eq!(
                operator.wants_the_end(Wish::Console, RoleName::Claiming),
                Course::Quit
            );
        }
    }

    #[test]
    fn what_was_said_to_a_primary_does_not_count_for_the_survivor() {
        let mut operator = Operator::default();
        assert_eq!(
            operator.wants_the_end(Wish::Signal, RoleName::Primary),
            Course::Leave
        );
        assert_eq!(
            operator.wants_the_end(Wish::Signal, RoleName::Solo),
            Course::Explain
        );
        assert_eq!(
            operator.wants_the_end(Wish::Signal, RoleName::Solo),
            Course::PowerOff
        );
    }

    #[test]
    fn both_sides_are_switched_off_by_a_yes_and_by_nothing_else() {
        let mut operator = Operator::default();
        for no in [b'n', b'\r', 0x1b] {
            assert_eq!(
                operator.wants_the_end(Wish::Console, RoleName::Primary),
                Course::AskBack
            );
            assert!(operator.has_asked());
            assert_eq!(operator.answers(no, RoleName::Primary), Course::GoOn);
            assert!(!operator.has_asked());
        }
        assert_eq!(
            operator.wants_the_end(Wish::Console, RoleName::Primary),
            Course::AskBack
        );
        assert_eq!(operator.answers(b'y', RoleName::Primary), Course::PowerOff);
        assert_eq!(
            operator.wants_the_end(Wish::Console, RoleName::Primary),
            Course::Quit
        );
    }
}
