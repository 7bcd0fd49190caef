//! A replica's process: a node, its clock, what waits for it, and whether it lives.
//!
//! Each side of a world has one, and it keeps what must outlive the node: the tape of the guest, the log
//! file, the cause of death. It decides nothing; `turns.rs` and `carry.rs` move it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use replica::{
    Action, Epoch, Event, Halt, Header, Next, Node, Notice, Options as RunOptions, PairOptions, PeerId, Span,
    Time,
};

use crate::{
    options::Options,
    pair::SideName,
    subject::{Subject, Tape, Watched},
};

/// Whether a process lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// The process runs.
    Running,
    /// The process stands still, and events queue up.
    Stalled {
        /// When it goes on.
        until: Time,
    },
    /// The process died.
    Crashed,
    /// The process ended itself, for this reason.
    Halted(Halt),
}

/// What a process is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The process waits for an event or for its next turn.
    Waits,
    /// The guest runs; then the process looks for actions of its node.
    Runs,
}

/// A clock that is ahead and runs a little too fast or too slow.
#[derive(Clone, Copy, Debug)]
pub struct Drift {
    /// How far the clock is ahead at true time 0, in nanoseconds.
    offset: u64,
    /// How much faster than true time it runs, in millionths.
    ppm: i64,
}

impl Drift {
    /// What the clock shows at a true time.
    #[must_use]
    pub fn shows(self, now: Time) -> Time {
        let drift = i128::from(now.0) * i128::from(self.ppm) / 1_000_000;
        let local = i128::from(now.0) + i128::from(self.offset) + drift;
        Time(u64::try_from(local).unwrap_or(0))
    }

    /// The first true time at which the clock shows `local` or more.
    #[must_use]
    pub fn when(self, local: Time) -> Time {
        let since = i128::from(local.0.saturating_sub(self.offset));
        let mut time =
            Time(u64::try_from(since * 1_000_000 / (1_000_000 + i128::from(self.ppm))).unwrap_or(0));
        while self.shows(time) < local {
            time.0 += 1;
        }
        time
    }
}

/// A replica's process.
#[derive(Debug)]
pub struct Process<G: Subject> {
    /// The node; `None` once the process has crashed.
    pub node: Option<Node<Watched<G>>>,
    /// Whether the process lives.
    pub life: Life,
    /// What the process is in the middle of.
    pub phase: Phase,
    /// Events that the process has not looked at.
    pub inbox: VecDeque<Event>,
    /// The clock that the process reads.
    pub clock: Drift,
    /// What the guest was given and did. The tape outlives the node.
    pub tape: Rc<RefCell<Tape>>,
    /// Steps until the host interrupts the guest.
    pub fuel: Rc<Cell<u64>>,
    /// How fast the guest runs, in steps a microsecond.
    pub speed: u64,
    /// What the node said at the end of its last slice.
    pub next: Next,
    /// The number of the appointment that counts; those with an earlier number are void.
    pub ticket: u64,
    /// When the turn with that ticket is; `None`: there is none, or it has begun.
    pub turn_at: Option<Time>,
    /// An action handed out and not yet carried out, because the process stood still in between.
    pub in_hand: Option<Action>,
    /// What the process appended to its log file.
    pub file: Vec<u8>,
    /// How many actions the node has handed out.
    pub actions: u64,
    /// How many releases and disk requests were carried out.
    pub deeds: u64,
    /// The epoch under which the process speaks to the disk.
    pub epoch: Epoch,
    /// The number by which the arbiter knows the process.
    pub owner: u128,
    /// Has the operator wanted the process to leave the VM to the other side?
    pub told_to_leave: bool,
}

impl<G: Subject> Process<G> {
    /// A process right after the handshake.
    pub fn new(options: &Options, config: &G::Config, side: SideName, epoch: Epoch) -> Process<G> {
        let index = side.index();
        let fuel = Rc::new(Cell::new(u64::MAX));
        let watched = Watched::new(G::boot(config), Rc::clone(&fuel));
        let tape = watched.tape();
        let clock = Drift {
            offset: options.offset[index].0,
            ppm: options.drift_ppm[index],
        };
        let owner = owner(options.seed, side);
        let pair = PairOptions {
            epoch,
            owner,
            primary: crate::process::owner(options.seed, SideName::A),
            peer: PeerId(0),
            timeout: options.timeout,
            notice: Notice::TimeoutOnly,
            run: RunOptions {
                digest_every: Some(options.digest_every),
                record: options.record.then(header),
            },
        };
        let now = clock.shows(Time(0));
        let node = match side {
            SideName::A => Node::primary(watched, now, pair),
            SideName::B => Node::backup(watched, now, pair),
        };
        Process {
            node: Some(node),
            life: Life::Running,
            phase: Phase::Waits,
            inbox: VecDeque::new(),
            clock,
            tape,
            fuel,
            speed: options.speed[index],
            next: Next::Busy,
            ticket: 0,
            turn_at: None,
            in_hand: None,
            file: Vec::new(),
            actions: 0,
            deeds: 0,
            epoch,
            owner,
            told_to_leave: false,
        }
    }

    /// Does the process run?
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.life == Life::Running
    }

    /// Does the process run, or will it run again?
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.life, Life::Running | Life::Stalled { .. })
    }

    /// How long a turn takes in which the guest runs so many steps.
    #[must_use]
    pub fn cost(&self, steps: u64) -> Span {
        // A turn takes some time even if the guest does not run: the host has work of its own.
        Span(2_000 + steps * 1000 / self.speed.max(1))
    }
}

/// The number by which the arbiter knows the process of a side, in the world of a seed.
#[must_use]
pub fn owner(seed: u64, side: SideName) -> u128 {
    u128::from(toy::hash::mix(seed, side.index() as u64)) | 1 << 100
}

/// The header of both log files. The guests take their state from the seed, whatever the header says.
fn header() -> Header {
    let config = machine::Config {
        memory: 2 << 20,
        harts: 1,
        disks: Vec::new(),
        nets: Vec::new(),
        virtio: machine::Transport::default(),
        rng_seed: [0; 32],
        wall_clock_ns: 0,
        boot: machine::Boot::default(),
    };
    Header::new(&config, "sim", 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_when_the_clock_shows_it_and_not_before() {
        for ppm in [-10_000, 0, 777, 10_000] {
            let clock = Drift { offset: 12_345, ppm };
            for local in [0, 12_346, 999_999_999, 123_456_789_012] {
                let when = clock.when(Time(local));
                assert!(clock.shows(when) >= Time(local));
                assert!(when == Time(0) || clock.shows(Time(when.0 - 1)) < Time(local));
            }
        }
    }
}
