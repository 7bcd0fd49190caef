//! A guest that hangs: what is seen of it, from when on it counts as silent, and that it was reset for that.
//!
//! Both halves of a VM compute the same, so a guest that hangs hangs on both, and no hand-over cures it. What
//! may help is a reset, as a watchdog would do it. The agent of the live process looks; `Answers` is what it
//! makes of that from one look to the next, and the planner decides (`watchdog`).

use messages::time::{Span, Time};

use crate::host::HostName;
use crate::moment::{Now, Wall};

/// What tells whether a guest is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Whether it answers at the address that its settings name.
    Probe,
    /// Whether it takes its timer's interrupts: one that does not hangs with its interrupts off.
    Timer,
    /// Whether its kernel has panicked, and stays as it is.
    Panic,
}

/// Failures of one sign without a break.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failing {
    since: Time,
    last: Time,
    /// What the last one was, as a clause.
    why: String,
}

/// That a guest is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// What tells that.
    pub sign: Sign,
    /// When the first of the failures was seen that have gone on since.
    pub since: Time,
    /// What the last one was, as a clause.
    pub why: String,
}

/// What the signs of a guest have told. An agent has one for each VM whose live process is on its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// When its first probe was answered since it began to boot last; `None`: none was.
    answered: Option<Wall>,
    /// When it began to boot last, as far as this agent has seen.
    booted: Wall,
    /// For each sign: what fails at present; `None`: nothing.
    failing: [Option<Failing>; 3],
    /// For each sign: when it said last that the guest is well; `None`: never yet.
    well: [Option<Time>; 3],
}

impl Answers {
    /// What an earlier controller of the VM has noted: when the guest's first probe was answered.
    pub fn go_on(&mut self, noted: Option<Wall>) {
        self.answered = self.answered.or(noted.filter(|at| *at > self.booted));
    }

    /// The guest began to boot at this time, in a new process or by a reset.
    pub fn boots(&mut self, at: Wall) {
        if at > self.booted {
            self.booted = at;
            self.answered = self.answered.filter(|answered| *answered > at);
            self.rest();
        }
    }

    /// The guest's process is not here any more: what becomes of the guest is another agent's to see.
    pub fn leave(&mut self) {
        self.answered = None;
        self.rest();
    }

    /// Nothing can be told of the guest: it stands, or its process is silent.
    pub fn rest(&mut self) {
        self.failing = [None, None, None];
    }

    /// Nothing can be told of the guest by this sign.
    pub fn rest_of(&mut self, sign: Sign) {
        self.failing[sign as usize] = None;
    }

    /// The guest is probed at another address than before, or not any more.
    pub fn probe_changes(&mut self) {
        (self.answered, self.failing[Sign::Probe as usize]) = (None, None);
    }

    /// A sign says that the guest is well, or what is amiss, as a clause. A probe that fails counts only if
    /// one was answered since the guest began to boot: a guest that still boots does not hang.
    pub fn hear(&mut self, now: Now, sign: Sign, said: Result<(), String>) {
        let slot = &mut self.failing[sign as usize];
        let is_probe = sign == Sign::Probe;
        match said {
            Ok(()) => {
                (*slot, self.well[sign as usize]) = (None, Some(now.time));
                if is_probe {
                    self.answered = self.answered.or(Some(now.wall));
                }
            }
            Err(_) if is_probe && self.answered.is_none() => {}
            Err(why) => {
                let since = slot.as_ref().map_or(now.time, |failing| failing.since);
                let last = now.time;
                *slot = Some(Failing { since, last, why });
            }
        }
    }

    /// When this sign said last that the guest is well; `None`: never yet.
    #[must_use]
    pub fn well_at(&self, sign: Sign) -> Option<Time> {
        self.well[sign as usize]
    }

    /// When the guest's first probe was answered since it began to boot; `None`: none was. The next
    /// controller must know.
    #[must_use]
    pub fn answered(&self) -> Option<Wall> {
        self.answered
    }

    /// The guest's silence, if it has lasted for `after` from the first failure to the last: an agent that
    /// stood still meanwhile has seen no silence.
    #[must_use]
    pub fn silence(&self, after: Span) -> Option<Silence> {
        let signs = [Sign::Probe, Sign::Timer, Sign::Panic];
        let failing = signs.into_iter().zip(&self.failing);
        let failing = failing.filter_map(|(sign, failing)| Some((sign, failing.as_ref()?)));
        let silent = failing.filter(|(_, failing)| failing.last.since(failing.since) >= after);
        let (sign, first) = silent.min_by_key(|(_, failing)| failing.since)?;
        let (since, why) = (first.since, first.why.clone());
        Some(Silence { sign, since, why })
    }
}

/// A reset of a guest that hung, which nobody had asked for. Controllers keep the last one of each VM in the
/// site's store: the next one must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// When it was noted, before the order was given.
    pub at: Wall,
    /// The host whose agent has noted it, which alone gives that order.
    pub by: HostName,
    /// Has the process taken the order?
    pub is_done: bool,
}

/// What is seen of a VM whose guest may hang.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hang {
    /// The guest's silence, as the agent of its live process has seen it; `None`: there is none, or it is not
    /// known.
    pub silence: Option<Silence>,
    /// The last reset that nobody had asked for; `None`: there was none.
    pub reset: Option<Reset>,
}
