//! A replica's process: a node, its clock, what waits for it, and whether it lives.
//!
//! A process keeps what must outlive its node: the tape of the guest, the log file, the cause of death. It
//! stays in the world when it has ended, so that a name always means the same one. It decides nothing;
//! `turns.rs` and `carry.rs` move it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    ops::{Index, IndexMut},
    rc::Rc,
};

use replica::{
    Action, Epoch, Event, Halt, Header, Next, Node, Notice, Options as RunOptions, PairOptions, PeerId, Span,
    Time,
};

use crate::{
    host::{Drift, HostOptions},
    names::{HostId, ProcessId},
    network::LinkId,
    options::Options,
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

/// A replica's process.
#[derive(Debug)]
pub struct Process<G: Subject> {
    /// The node; `None` once the process has crashed.
    pub node: Option<Node<Watched<G>>>,
    /// The host that the process runs on.
    pub host: HostId,
    /// The process whose log it replays, or did as long as it was a backup; `None`: it is not a backup of the
    /// pair that it joined last.
    pub follows: Option<ProcessId>,
    /// The link on which its node speaks; `None`: nobody was ever connected with it.
    pub link: Option<LinkId>,
    /// The time until which heartbeats towards the process get lost.
    pub no_heartbeats: Time,
    /// Whether the process lives.
    pub life: Life,
    /// What the process is in the middle of.
    pub phase: Phase,
    /// Events that the process has not looked at.
    pub inbox: VecDeque<Event>,
    /// The clock that the process reads, which is its host's.
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
    /// Does the process write a log file?
    pub records: bool,
    /// How many actions the node has handed out.
    pub actions: u64,
    /// How many releases and disk requests were carried out.
    pub deeds: u64,
    /// The epoch under which the process speaks to the disk.
    pub epoch: Epoch,
    /// The number by which the arbiter knows the process.
    pub owner: u128,
    /// The number by which the arbiter knows the primary of the pair that it joined last.
    pub primary: u128,
    /// Has the operator wanted the process to leave the VM to its peer?
    pub told_to_leave: bool,
}

/// One half of a pair, right after the handshake.
#[derive(Debug)]
pub struct Half<G> {
    /// The guest, at the step from which the pair lives.
    pub guest: G,
    /// The life of the guest up to there.
    pub tape: Tape,
    /// The epoch of the pair.
    pub epoch: Epoch,
    /// The process whose log this half replays, which has the epoch; `None`: it is this half that has it.
    pub follows: Option<ProcessId>,
}

impl<G: Subject> Process<G> {
    /// A process right after the handshake, at true time `now`.
    pub fn new(options: &Options, who: ProcessId, host: HostId, half: Half<G>, now: Time) -> Process<G> {
        let HostOptions { speed, clock } = options.hosts[host.0];
        let owner = owner(options.seed, who);
        let mut process = Process {
            node: None,
            host,
            follows: None,
            link: None,
            no_heartbeats: Time(0),
            life: Life::Running,
            phase: Phase::Waits,
            inbox: VecDeque::new(),
            clock,
            tape: Rc::default(),
            fuel: Rc::new(Cell::new(u64::MAX)),
            speed,
            next: Next::Busy,
            ticket: 0,
            turn_at: None,
            in_hand: None,
            file: Vec::new(),
            records: false,
            actions: 0,
            deeds: 0,
            epoch: half.epoch,
            owner,
            primary: owner,
            told_to_leave: false,
        };
        process.join(options, half, now);
        process
    }

    /// Makes the process one half of a pair, right after the handshake.
    pub fn join(&mut self, options: &Options, half: Half<G>, now: Time) {
        self.follows = half.follows;
        self.primary = half
            .follows
            .map_or(self.owner, |primary| owner(options.seed, primary));
        // A log file begins with the life of its guest.
        self.records = options.record && half.tape.is_empty();
        self.file.clear();
        let pair = PairOptions {
            peer: PeerId(0),
            epoch: half.epoch,
            owner: self.owner,
            primary: self.primary,
            timeout: options.timeout,
            notice: Notice::TimeoutOnly,
            run: RunOptions {
                digest_every: Some(options.digest_every),
                record: self.records.then(header),
            },
        };
        let watched = Watched::new(half.guest, Rc::clone(&self.fuel), half.tape);
        self.tape = watched.tape();
        let local = self.clock.shows(now);
        self.node = Some(match half.follows {
            None => Node::primary(watched, local, pair),
            Some(_) => Node::backup(watched, local, pair),
        });
        self.next = Next::Busy;
        let is_of_former_peer =
            |event: &Event| matches!(event, Event::Peer(..) | Event::LinkLost(_) | Event::Heartbeat(..));
        self.inbox.retain(|event| !is_of_former_peer(event));
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

/// All processes that were ever started in a world, by name.
#[derive(Debug)]
pub struct Processes<G: Subject>(Vec<Process<G>>);

impl<G: Subject> Default for Processes<G> {
    fn default() -> Processes<G> {
        Processes(Vec::new())
    }
}

impl<G: Subject> Processes<G> {
    /// The names of all processes, in the order of their births.
    pub fn names(&self) -> impl Iterator<Item = ProcessId> + use<G> {
        (0..self.0.len()).map(ProcessId::nth)
    }

    /// The name of the next process that is born.
    #[must_use]
    pub fn next(&self) -> ProcessId {
        ProcessId::nth(self.0.len())
    }

    /// Adds the process with the name [`Processes::next`].
    pub fn push(&mut self, process: Process<G>) {
        self.0.push(process);
    }

    /// All processes, in the order of their births.
    pub fn iter(&self) -> impl Iterator<Item = &Process<G>> {
        self.0.iter()
    }
}

impl<G: Subject> Index<ProcessId> for Processes<G> {
    type Output = Process<G>;

    fn index(&self, who: ProcessId) -> &Process<G> {
        &self.0[who.index()]
    }
}

impl<G: Subject> IndexMut<ProcessId> for Processes<G> {
    fn index_mut(&mut self, who: ProcessId) -> &mut Process<G> {
        &mut self.0[who.index()]
    }
}

/// The number by which the arbiter knows a process, in the world of a seed.
#[must_use]
pub fn owner(seed: u64, who: ProcessId) -> u128 {
    u128::from(toy::hash::mix(seed, who.index() as u64)) | 1 << 100
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
