//! The world as data: two processes, what lies between and around them, and the schedule of what will happen.
//!
//! `run.rs` makes a world of options and has it live; `course.rs` has the things on the schedule happen. A
//! process takes turns as the host's loop does (`turns.rs`): it looks at its events, runs its guest for a
//! slice that takes virtual time, and then carries out what its node wants (`carry.rs`). Each action is
//! judged by the checkers. Everything that takes time or can go wrong is drawn from one stream of random
//! numbers, and nothing else may enter a world: no clock, no thread, no container with random order.

use replica::{Guest, RoleName, Time};

use crate::{
    arbiter::Arbiter,
    checker::{
        Violation, disk::Disk, durability::Durability, lockstep::Lockstep, output::Outputs,
        single_primary::SinglePrimary,
    },
    client::Client,
    faults::Armed,
    network::Link,
    options::Options,
    pair::{PAIR, SideName},
    process::Process,
    random::Random,
    schedule::{Schedule, What},
    storage::Storage,
    subject::Subject,
};

/// What takes the lines of a trace, one for each thing that happens.
pub type Tracer = Box<dyn FnMut(&str)>;

/// The checkers that watch a world while it lives.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// What the outside sees is one uninterrupted run.
    pub outputs: Outputs,
    /// At most one side is live.
    pub single: SinglePrimary,
    /// Both guests live the same life.
    pub lockstep: Lockstep,
    /// Disk requests go out once, and never two together that overlap.
    pub disk: Disk,
    /// What the guest was told is on the disk stays there.
    pub durability: Durability,
}

/// A simulated world.
pub struct World<G: Subject> {
    /// How the world behaves and what goes wrong in it. Healing the world changes them.
    pub options: Options,
    /// What both guests are booted from.
    pub(crate) config: G::Config,
    /// Where all draws come from, those of the caches apart.
    pub(crate) random: Random,
    /// The true time; the clocks of the sides differ from it.
    pub(crate) now: Time,
    /// What will happen.
    pub(crate) schedule: Schedule,
    /// The processes of the sides A and B.
    pub(crate) processes: [Process<G>; 2],
    /// The connection between the sides, which carries the log and its acknowledgements.
    pub(crate) link: Link,
    /// By side: when the schedule looks for messages that have arrived there over the link.
    pub(crate) link_due: [Option<Time>; 2],
    /// When the schedule looks for requests that take effect at the disk.
    pub(crate) storage_due: Option<Time>,
    /// The disk that both sides share, with the caches of their hosts.
    pub(crate) storage: Storage,
    /// Who decides which side may go live.
    pub(crate) arbiter: Arbiter,
    /// The user of the guest.
    pub(crate) client: Client,
    /// The side that has the guest's address on the network: it gets the client's frames.
    pub(crate) attached: SideName,
    /// By side: the time until which heartbeats towards it get lost.
    pub(crate) no_heartbeats: [Time; 2],
    /// By side: the time until which its network ports lead nowhere.
    pub(crate) ports_lost: [Time; 2],
    /// Faults that wait for what a side does.
    pub(crate) armed: Vec<Armed>,
    /// Is the time over in which anything may go wrong?
    pub(crate) healed: bool,
    /// The checkers.
    pub(crate) checks: Checks,
    /// The first rule that was broken; the world ends with it.
    pub(crate) violation: Option<Violation>,
    tracer: Option<Tracer>,
    /// A time, and the number of turns that were taken since then without a pause: a side that spins is found
    /// by it.
    pub(crate) turns: (Time, u64),
    /// How many things have happened.
    pub(crate) events: u64,
}

impl<G: Subject> World<G> {
    /// The world of these options, right after the handshake.
    pub fn new(options: Options, config: G::Config, tracer: Option<Tracer>) -> World<G> {
        let processes = SideName::BOTH.map(|side| Process::new(&options, &config, side, PAIR));
        let mut world = World {
            config,
            random: Random::new(options.seed ^ 0x5eed),
            now: Time(0),
            schedule: Schedule::default(),
            link: Link::new(options.link.clone()),
            link_due: [None; 2],
            storage_due: None,
            storage: Storage::new(options.storage.clone(), G::SECTORS, PAIR, options.seed),
            arbiter: Arbiter::new(options.arbiter.clone(), PAIR, processes[0].owner),
            client: Client::new(options.patience, options.think),
            processes,
            attached: SideName::A,
            no_heartbeats: [Time(0); 2],
            ports_lost: [Time(0); 2],
            armed: options.armed.clone(),
            healed: false,
            checks: Checks::default(),
            violation: None,
            tracer,
            turns: (Time(0), 0),
            events: 0,
            options,
        };
        for side in SideName::BOTH {
            world.turn_at(side, Time(0));
            world.schedule(Time(0), What::Ports(side));
        }
        for (at, fault) in world.options.timed.clone() {
            world.schedule(at, What::Fault(fault));
        }
        world.client_appointment();
        if let Some(every) = world.options.typing {
            world.schedule(Time(0).after(every), What::Typing);
        }
        world
    }

    /// The true time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// The process of a side.
    #[must_use]
    pub fn process(&self, side: SideName) -> &Process<G> {
        &self.processes[side.index()]
    }

    /// The user of the guest.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the node of a side says that it is; `None`: its process has died.
    #[must_use]
    pub fn role(&self, side: SideName) -> Option<RoleName> {
        Some(self.process(side).node.as_ref()?.metrics().role)
    }

    /// The first rule that was broken.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Has something happen at a time, or now if that time is over.
    pub(crate) fn schedule(&mut self, at: Time, what: What) {
        self.schedule.put(at.max(self.now), what);
    }

    /// Takes note of what a checker says; only the first violation counts.
    pub(crate) fn judge(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result
            && self.violation.is_none()
        {
            self.trace(None, || {
                format!("VIOLATION {:?}: {}", violation.check, violation.what)
            });
            self.violation = Some(violation);
        }
    }

    /// Adds a line to the trace. `side` is whose line it is; `None`: the world's.
    pub(crate) fn trace(&mut self, side: Option<SideName>, what: impl FnOnce() -> String) {
        if self.tracer.is_none() {
            return;
        }
        let ms = format!("{}.{:06}", self.now.0 / 1_000_000, self.now.0 % 1_000_000);
        let name = side.map_or("-".to_owned(), |side| side.to_string());
        let node = side.and_then(|side| self.process(side).node.as_ref());
        let role = node.map_or(String::new(), |node| format!("{:?}", node.metrics().role));
        let step = node.map_or(String::new(), |node| node.guest().now().to_string());
        let line = format!("{ms:>13}  {name:<4}  {role:<9} {step:>11}  {}", what());
        if let Some(tracer) = &mut self.tracer {
            tracer(&line);
        }
    }
}
