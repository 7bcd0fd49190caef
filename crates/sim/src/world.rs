//! The world: a heap of things to come, two processes, and what lies between them.
//!
//! A process takes turns as the host's loop does: it looks at its events, runs its guest for a slice that takes
//! virtual time, and then carries out what its node wants (`carry.rs`). Everything that takes time or can go
//! wrong is drawn; nothing else is random.

use std::{cmp::Reverse, collections::BinaryHeap, fmt};

use machine::Input;
use replica::{Claim, Epoch, Event, Guest, RoleName, Span, Time};

use crate::{
    arbiter::Arbiter,
    checker::{
        Violation, disk::Disk, durability::Durability, lockstep::Lockstep, output::Outputs,
        single_primary::SinglePrimary,
    },
    client::Client,
    faults::{Armed, Fault, Options},
    network::Link,
    process::Process,
    random::Random,
    storage::Storage,
    subject::Subject,
};

/// The epoch that the handshake gave to the pair.
pub const PAIR: Epoch = Epoch(1);

/// A side of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Born primary.
    A,
    /// Born backup.
    B,
}

impl Side {
    /// Both.
    pub const BOTH: [Side; 2] = [Side::A, Side::B];

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Side::A => 0,
            Side::B => 1,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Something to come.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A process looks at its events and runs its guest. The number must be its present ticket.
    Turn(Side, u64),
    /// Its slice is over.
    Act(Side, u64),
    /// A process that stood still goes on.
    Resume(Side),
    /// Look at what has arrived for this side over the link.
    Link(Side),
    /// Look at the disk.
    Storage,
    /// A question reaches the arbiter; when it is answered, and whether the answer gets through.
    Arbiter(Side, Claim, Option<Time>, bool),
    /// Something for a process.
    Deliver(Side, Event),
    /// A frame for whoever has the guest's address.
    ToGuest(Input),
    /// A frame from the guest: which request it answers, and how.
    ToClient(u64, Vec<u8>),
    /// The client does something.
    Client,
    /// Somebody types at the console.
    Typing,
    /// A side's host looks whether its network ports lead somewhere.
    Ports(Side),
    /// Something goes wrong.
    Fault(Fault),
}

pub(crate) struct Scheduled {
    pub at: Time,
    order: u64,
    pub what: What,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Where lines of a trace go.
pub type Tracer = Box<dyn FnMut(&str)>;

/// All checks that watch actions.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub outputs: Outputs,
    pub single: SinglePrimary,
    pub lockstep: Lockstep,
    pub disk: Disk,
    pub durability: Durability,
}

/// A simulated world.
pub struct World<G: Subject> {
    /// How it behaves.
    pub options: Options,
    pub(crate) config: G::Config,
    pub(crate) random: Random,
    pub(crate) now: Time,
    pub(crate) heap: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    pub(crate) processes: [Process<G>; 2],
    pub(crate) link: Link,
    /// The appointment with the link, by side, and with the disk.
    pub(crate) link_due: [Option<Time>; 2],
    pub(crate) storage_due: Option<Time>,
    pub(crate) storage: Storage,
    pub(crate) arbiter: Arbiter,
    pub(crate) client: Client,
    /// Who has the guest's address on the network.
    pub(crate) attached: Side,
    /// Until when heartbeats towards each side get lost.
    pub(crate) no_heartbeats: [Time; 2],
    /// Until when each side's network ports lead nowhere.
    pub(crate) ports_lost: [Time; 2],
    pub(crate) armed: Vec<Armed>,
    pub(crate) healed: bool,
    pub(crate) checks: Checks,
    pub(crate) violation: Option<Violation>,
    tracer: Option<Tracer>,
    /// Turns at the present time.
    pub(crate) turns: (Time, u64),
    /// Things that came to pass.
    pub(crate) events: u64,
}

impl<G: Subject> World<G> {
    /// The world of these options, right after the handshake.
    pub fn new(options: Options, config: G::Config, tracer: Option<Tracer>) -> World<G> {
        let processes = Side::BOTH.map(|side| Process::new(&options, &config, side, PAIR));
        let mut world = World {
            config,
            random: Random::new(options.seed ^ 0x5eed),
            now: Time(0),
            heap: BinaryHeap::new(),
            order: 0,
            link: Link::new(options.link.clone()),
            link_due: [None; 2],
            storage_due: None,
            storage: Storage::new(options.storage.clone(), G::SECTORS, PAIR, options.seed),
            arbiter: Arbiter::new(options.arbiter.clone(), PAIR, processes[0].owner),
            client: Client::new(options.patience, options.think),
            processes,
            attached: Side::A,
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
        for side in Side::BOTH {
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

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// A process.
    #[must_use]
    pub fn process(&self, side: Side) -> &Process<G> {
        &self.processes[side.index()]
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What a replica says that it is.
    #[must_use]
    pub fn role(&self, side: Side) -> Option<RoleName> {
        Some(self.process(side).node.as_ref()?.metrics().role)
    }

    /// The first rule that was broken.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Lets the world go on until `time`, or until a rule is broken.
    pub fn run_until(&mut self, time: Time) {
        self.run_while(time, |_| true);
    }

    /// Lets the world go on for a while.
    pub fn run_for(&mut self, span: Span) {
        self.run_until(self.now.after(span));
    }

    /// Lets the world go on while `condition` holds, until `time` at the latest. False if it still holds.
    pub fn run_while(&mut self, time: Time, condition: impl Fn(&World<G>) -> bool) -> bool {
        loop {
            if self.violation.is_some() {
                return false;
            }
            if !condition(self) {
                return true;
            }
            match self.heap.peek() {
                Some(Reverse(next)) if next.at <= time => self.step(),
                _ => {
                    self.now = self.now.max(time);
                    return false;
                }
            }
        }
    }

    fn step(&mut self) {
        let Some(Reverse(Scheduled { at, what, .. })) = self.heap.pop() else {
            return;
        };
        self.now = at;
        self.events += 1;
        match what {
            What::Turn(side, ticket) if self.process(side).ticket == ticket => self.turn(side, true),
            What::Act(side, ticket) if self.process(side).ticket == ticket => self.act(side),
            What::Turn(..) | What::Act(..) => {}
            What::Resume(side) => self.resume(side),
            What::Link(side) => self.on_link(side),
            What::Storage => self.on_storage(),
            What::Arbiter(side, claim, answers, unreachable) => {
                self.on_arbiter(side, claim, answers, unreachable);
            }
            What::Deliver(side, event) => self.deliver(side, event),
            What::ToGuest(input) => self.on_frame_to_guest(input),
            What::ToClient(seq, content) => {
                let result = self.client.on_reply(self.now, seq, content);
                self.judge(result);
                self.client_appointment();
            }
            What::Client => self.on_client(),
            What::Typing => self.on_typing(),
            What::Ports(side) => self.on_ports(side),
            What::Fault(fault) if !self.healed => self.strike(&fault),
            What::Fault(_) => {}
        }
    }

    pub(crate) fn schedule(&mut self, at: Time, what: What) {
        self.order += 1;
        let order = self.order;
        let at = at.max(self.now);
        self.heap.push(Reverse(Scheduled { at, order, what }));
    }

    /// Notes the first violation.
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

    pub(crate) fn trace(&mut self, side: Option<Side>, what: impl FnOnce() -> String) {
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
