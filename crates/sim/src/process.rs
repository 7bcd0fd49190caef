//! A replica's process: a node, its clock, what waits for it, and whether it lives.
//!
//! A process keeps what must outlive its node: the tape of the guest, the log file, the cause of death. It
//! stays in the world when it has ended, so that a name always means the same one. It decides nothing;
//! `turns.rs` and `carry.rs` move it.

use std::collections::BTreeSet;
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    ops::{Index, IndexMut},
    rc::Rc,
};

use replica::{
    Action, Epoch, Event, Halt, Handshake, Header, Hello, Next, Node, OnSlow, Options as RunOptions,
    PairOptions, PeerId, Side, Span, Start, Time,
};

use toy_outside::{
    names::{HostId, ProcessId},
    network::{Left, LinkId},
};

use crate::{
    founder::Candidate,
    host::{Drift, HostOptions},
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

/// A process's end of its links to another process: the main link, and the bulk link if there is one.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The main link, which carries the log and its acknowledgements.
    pub link: LinkId,
    /// The bulk link, over which a clone goes.
    pub bulk: Option<LinkId>,
    /// Bytes that the process handed to the bulk link and that have not arrived.
    pub in_flight: u64,
    /// Has all of the clone been handed to the bulk link, or arrived? Then that link means nothing any more.
    pub is_sealed: bool,
    /// Has the process hung up?
    pub is_over: bool,
}

/// A replica's process.
#[derive(Debug)]
pub struct Process<G: Subject> {
    /// The node; `None` before the end of the handshake of a process that joins, and once the process has
    /// crashed.
    pub node: Option<Node<Watched<G>>>,
    /// The handshake of a process that has no node yet; `None`: it is over, or there was none.
    pub greeting: Option<Handshake>,
    /// What the process remembers while it is to be one half of a pair; `None`: it is one, or joins a guest
    /// that runs.
    pub candidate: Option<Candidate>,
    /// The link over which its handshake was led.
    pub peer: PeerId,
    /// How many actions its handshakes have handed out, if it was to be one half of a pair.
    pub words: u64,
    /// The host that the process runs on.
    pub host: HostId,
    /// The process whose log it replays; `None`: it was born to write one, or has gone live.
    pub follows: Option<ProcessId>,
    /// Did it join the guest while that ran?
    pub joined: bool,
    /// Its links to other processes. The node knows each by its place here, as a [`PeerId`].
    pub wires: Vec<Wire>,
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
    /// How many actions the node has handed out.
    pub actions: u64,
    /// How many releases and disk requests were carried out.
    pub deeds: u64,
    /// The epoch under which the process speaks to the disk.
    pub epoch: Epoch,
    /// The number by which the arbiter knows the process.
    pub owner: u128,
    /// The number by which the arbiter knows the primary of the pair that it was born into.
    pub primary: u128,
    /// The number by which the arbiter knows the backup of the pair that it was born into; 0: it has none.
    pub backup: u128,
    /// How many wishes of its guest for entropy it must still make its own, since it went live in place of
    /// the process that it followed.
    pub wishes: usize,
    /// How many of them it has made its own already, in an epoch in which it did not get so far.
    pub wished: usize,
    /// The other half, as it knows it since it has told that or gone live; `None`: that of its birth.
    pub partner: Option<ProcessId>,
    /// Has it told last that its guest stands, as somebody wants?
    pub is_paused: bool,
    /// Has the operator wanted the process to leave the VM to its peer?
    pub told_to_leave: bool,
    /// Has the operator told it to dismiss its backup?
    pub told_to_dismiss: bool,
    /// Has the operator told it to get another backup in place of its own?
    pub told_to_replace: bool,
    /// The epoch that it has asked the arbiter for while its guest runs, and has not won yet; `None`: it has
    /// asked for none.
    pub resolving: Option<Epoch>,
    /// What its watcher is to say once it has ended.
    pub notices: Vec<Left>,
    /// The processes of which its host has been told that they have ended.
    pub told_of_end: BTreeSet<ProcessId>,
}

/// Most bytes of the state at a cut, without memory, of any guest of the simulator.
pub const STATE_MAX: u64 = 1 << 20;

/// How a process comes into the world.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// The name of the process.
    pub who: ProcessId,
    /// The host that it runs on, for its whole life.
    pub host: HostId,
    /// The epoch that it is born into.
    pub epoch: Epoch,
    /// The process whose log it replays, which has the epoch; `None`: it is itself the one that has.
    pub follows: Option<ProcessId>,
    /// Does it join the guest while that runs?
    pub joins: bool,
}

impl<G: Subject> Process<G> {
    /// A process without a node.
    #[must_use]
    pub fn new(options: &Options, birth: Birth) -> Process<G> {
        let HostOptions { clock, .. } = options.hosts[birth.host.0];
        let speed = options.speed(birth.host);
        let owner = owner(options.seed, birth.who);
        let primary = birth
            .follows
            .map_or(owner, |primary| crate::process::owner(options.seed, primary));
        Process {
            node: None,
            greeting: None,
            candidate: None,
            peer: PeerId(0),
            words: 0,
            host: birth.host,
            follows: birth.follows,
            joined: birth.joins,
            wires: Vec::new(),
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
            actions: 0,
            deeds: 0,
            epoch: birth.epoch,
            owner,
            primary,
            backup: if birth.follows.is_none() {
                crate::process::owner(options.seed, ProcessId::B)
            } else {
                0
            },
            wishes: 0,
            wished: 0,
            partner: None,
            is_paused: false,
            told_to_leave: false,
            told_to_dismiss: false,
            told_to_replace: false,
            resolving: None,
            notices: Vec::new(),
            told_of_end: BTreeSet::new(),
        }
    }

    /// The process becomes a half of a pair that boots, right after the handshake, at true time `now`.
    pub fn boot(&mut self, options: &Options, config: &G::Config, now: Time) {
        let watched = Watched::new(G::boot(config), Rc::clone(&self.fuel));
        self.tape = watched.tape();
        let pair = self.pair(options, options.record.then(header));
        let local = self.clock.shows(now);
        self.node = Some(match self.follows {
            None => Node::primary(watched, local, pair),
            Some(_) => Node::backup(watched, local, pair),
        });
    }

    /// The process greets the owner of a guest that runs, at true time `now`, to become its backup.
    pub fn greet(&mut self, options: &Options, now: Time) {
        let me = Hello {
            vm: String::new(),
            side: Side::Backup,
            owner: self.owner,
            timeout: options.timeout,
            header: None,
            settings: String::new(),
        };
        self.greeting = Some(Handshake::new(self.clock.shows(now), me));
    }

    /// The handshake is over, and the process becomes an apprentice of the guest with the tape `origin`, from
    /// cut number `cut` of that tape on. It writes no log file, since that would begin in the middle.
    pub fn become_apprentice(
        &mut self,
        options: &Options,
        config: &G::Config,
        now: Time,
        start: &Start,
        (origin, cut): (Rc<RefCell<Tape>>, usize),
    ) {
        self.greeting = None;
        self.epoch = start.epoch;
        let watched = Watched::new(G::blank(config), Rc::clone(&self.fuel)).of(origin, cut);
        self.tape = watched.tape();
        let pair = self.pair(options, None);
        self.node = Some(Node::apprentice(watched, self.clock.shows(now), pair));
    }

    fn pair(&self, options: &Options, record: Option<Header>) -> PairOptions {
        PairOptions {
            peer: self.peer,
            epoch: self.epoch,
            owner: self.owner,
            primary: self.primary,
            backup: self.backup,
            timeout: options.timeout,
            notice: options.notice,
            on_slow: OnSlow::default(),
            run: RunOptions {
                digest_every: Some(options.digest_every),
                record,
                ..RunOptions::default()
            },
        }
    }

    /// The process is connected with another one; the answer is its node's name for that.
    pub fn connect(&mut self, link: LinkId) -> PeerId {
        self.wires.push(Wire {
            link,
            bulk: None,
            in_flight: 0,
            is_sealed: false,
            is_over: false,
        });
        PeerId(self.wires.len() as u32 - 1)
    }

    /// The links to a peer, unless the process has hung up.
    #[must_use]
    pub fn wire(&self, peer: PeerId) -> Option<&Wire> {
        let wire = self.wires.get(peer.0 as usize)?;
        (!wire.is_over).then_some(wire)
    }

    /// The name of the peer to which one of the process's links leads.
    #[must_use]
    pub fn peer_on(&self, link: LinkId) -> Option<PeerId> {
        let leads = |wire: &Wire| !wire.is_over && (wire.link == link || wire.bulk == Some(link));
        let index = self.wires.iter().position(leads)?;
        Some(PeerId(index as u32))
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

    /// The process that was started last.
    #[must_use]
    pub fn last(&self) -> ProcessId {
        ProcessId::nth(self.0.len().saturating_sub(1))
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

/// The header of all log files, and of the machine that a process which joins is told of. The guests take
/// their state from the seed, whatever the header says.
#[must_use]
pub fn header() -> Header {
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
