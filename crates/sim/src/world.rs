//! The world: a heap of things to come, two processes, and what lies between them.
//!
//! A process takes turns as the host's loop does: it looks at its events, runs its guest for a slice that takes
//! virtual time, and then carries out what its node wants (`carry.rs`). Everything that takes time or can go
//! wrong is drawn; nothing else is random.

use std::{cmp::Reverse, collections::BinaryHeap, fmt, sync::atomic::AtomicBool};

use machine::Input;
use replica::{Claim, Epoch, Event, Guest, Next, RoleName, Span, Time, Verdict};

use crate::{
    arbiter::Arbiter,
    checker::{Check, Violation, disk::Disk, ensure, lockstep::Lockstep, output::Outputs, single_primary::SinglePrimary},
    client::Client,
    faults::{Armed, Death, Fault, Options, Trigger},
    network::{Arrival, Link},
    process::{Life, Phase, Process},
    random::Random,
    storage::Storage,
    subject::Subject,
    trace,
};

/// The epoch that the handshake gave to the pair.
pub const PAIR: Epoch = Epoch(1);
/// Turns of one process without any time passing between them that count as spinning.
const SPIN_MAX: u64 = 20_000;

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
    /// Something goes wrong.
    Fault(Fault),
}

struct Scheduled {
    at: Time,
    order: u64,
    what: What,
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
}

/// A simulated world.
pub struct World<G: Subject> {
    /// How it behaves.
    pub options: Options,
    pub(crate) config: G::Config,
    pub(crate) random: Random,
    pub(crate) now: Time,
    heap: BinaryHeap<Reverse<Scheduled>>,
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
    pub(crate) no_heartbeats: Time,
    armed: Vec<Armed>,
    healed: bool,
    pub(crate) checks: Checks,
    pub(crate) violation: Option<Violation>,
    tracer: Option<Tracer>,
    /// Turns at the present time.
    turns: (Time, u64),
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
            storage: Storage::new(options.storage.clone(), G::SECTORS, PAIR),
            arbiter: Arbiter::new(options.arbiter.clone(), PAIR, processes[0].owner),
            client: Client::new(options.patience, options.think),
            processes,
            attached: Side::A,
            no_heartbeats: Time(0),
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
            self.trace(None, || format!("VIOLATION {:?}: {}", violation.check, violation.what));
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

    // Processes.

    pub(crate) fn turn_at(&mut self, side: Side, at: Time) {
        let process = &mut self.processes[side.index()];
        process.ticket += 1;
        process.turn_at = Some(at);
        let ticket = process.ticket;
        self.schedule(at, What::Turn(side, ticket));
    }

    /// A process looks at its events (unless it continues behind that point) and runs its guest.
    fn turn(&mut self, side: Side, look: bool) {
        if !self.process(side).is_running() || self.spins(side) {
            return;
        }
        self.processes[side.index()].turn_at = None;
        let eager = self.random.permille(500);
        while look && let Some(event) = self.processes[side.index()].inbox.pop_front() {
            self.trace(Some(side), || trace::event(&event));
            let process = &mut self.processes[side.index()];
            let local = process.clock.shows(self.now);
            if let Some(node) = &mut process.node {
                node.handle(local, event);
            }
            if eager && !self.carry_all(side) {
                return;
            }
        }
        self.compare();
        let cut = self.random.permille(self.options.cut_permille);
        let fuel = if cut { self.random.span(Span(1), Span(100_000)).0 } else { u64::MAX };
        let process = &mut self.processes[side.index()];
        let Some(node) = &mut process.node else {
            return;
        };
        process.fuel.set(fuel);
        let begin = node.guest().now();
        process.next = node.slice(process.clock.shows(self.now), &AtomicBool::new(false));
        let steps = node.guest().now().since(begin);
        process.phase = Phase::Runs;
        process.ticket += 1;
        let (at, ticket) = (self.now.after(process.cost(steps)), process.ticket);
        self.compare();
        let entries = self.process(side).tape.borrow().len() as u64;
        if let Some(Fault::Crash(_, death)) = self.triggered(side, Trigger::Entry(entries)) {
            self.crash(side, death);
            return;
        }
        self.schedule(at, What::Act(side, ticket));
    }

    /// Does it take turn after turn without any time passing?
    fn spins(&mut self, side: Side) -> bool {
        let (since, count) = self.turns;
        let same = self.now.since(since) < Span::from_us(100);
        self.turns = if same { (since, count + 1) } else { (self.now, 0) };
        let spins = self.turns.1 > SPIN_MAX;
        self.judge(ensure(!spins, Check::Sanity, || format!("{side} spins")));
        spins
    }

    /// The backup's life so far is a beginning of the primary's, for as long as it replays.
    fn compare(&mut self) {
        let replays = matches!(self.role(Side::B), Some(RoleName::Backup | RoleName::Claiming));
        if replays && self.checks.single.live() != Some(Side::B) {
            let [a, b] = &self.processes;
            let result = self.checks.lockstep.compare(&a.tape.borrow(), &b.tape.borrow());
            self.judge(result);
        }
    }

    /// A slice is over.
    fn act(&mut self, side: Side) {
        if !self.process(side).is_running() {
            return;
        }
        self.processes[side.index()].phase = Phase::Waits;
        if !self.carry_all(side) {
            return;
        }
        let process = &self.processes[side.index()];
        let busy = process.next == Next::Busy || !process.inbox.is_empty();
        let deadline = process.node.as_ref().and_then(replica::Node::deadline);
        if busy {
            self.turn_at(side, self.now);
        } else if let Some(deadline) = deadline {
            let at = process.clock.when(deadline);
            self.turn_at(side, at);
        }
    }

    pub(crate) fn deliver(&mut self, side: Side, event: Event) {
        if let Event::DiskDone(answer) = &event {
            self.checks.disk.on_answer(side, answer);
        }
        if !self.process(side).is_alive() {
            return;
        }
        // It wakes a little later.
        let soon = self.now.after(Span(self.random.below(20_000)));
        let process = &mut self.processes[side.index()];
        process.inbox.push_back(event);
        let sleeps = process.is_running() && process.phase == Phase::Waits;
        if sleeps && process.turn_at.is_none_or(|at| at > soon) {
            self.turn_at(side, soon);
        }
    }

    /// A process stands still from here on, whatever it is in the middle of.
    pub fn stall(&mut self, side: Side, span: Span) {
        if self.process(side).is_alive() {
            let until = self.now.after(span);
            let process = &mut self.processes[side.index()];
            // Appointments are void until it goes on.
            process.ticket += 1;
            process.turn_at = None;
            process.life = Life::Stalled { until };
            self.schedule(until, What::Resume(side));
        }
    }

    fn resume(&mut self, side: Side) {
        let process = &mut self.processes[side.index()];
        match process.life {
            Life::Stalled { until } if until <= self.now => process.life = Life::Running,
            _ => return,
        }
        let in_the_middle = process.phase == Phase::Runs || process.in_hand.is_some();
        self.trace(Some(side), || "! goes on".to_owned());
        if in_the_middle {
            self.act(side);
        } else {
            // It may have stopped right behind the point at which it looks at its events.
            let look = self.random.permille(500);
            self.turn(side, look);
        }
    }

    /// A side dies.
    pub fn crash(&mut self, side: Side, death: Death) {
        if !self.process(side).is_alive() {
            return;
        }
        self.trace(Some(side), || "! dies".to_owned());
        let process = &mut self.processes[side.index()];
        process.life = Life::Crashed;
        process.node = None;
        process.inbox.clear();
        process.in_hand = None;
        self.storage.crash(&mut self.random, side);
        let random = &mut self.random;
        let under_way = self.link.under_way(side.other());
        let (kept, after) = match death {
            Death::Process if random.permille(700) => (under_way, Some(Span::from_us(100))),
            Death::Process => (random.below(under_way + 1), Some(random.span(Span(1), Span::from_ms(5)))),
            Death::Host if random.permille(800) => (random.below(under_way + 1), None),
            Death::Host => (random.below(under_way + 1), Some(random.span(Span(1), self.options.timeout))),
        };
        self.close_link(side.other(), kept, after);
        self.close_link(side, 0, None);
    }

    pub(crate) fn close_link(&mut self, to: Side, kept: u64, after: Option<Span>) {
        if let Some(at) = self.link.close(self.now, to, kept, after) {
            self.link_appointment(to, at);
        }
    }

    /// The fault that is tied to this, if there is one.
    pub(crate) fn triggered(&mut self, side: Side, trigger: Trigger) -> Option<Fault> {
        if self.healed && !self.options.armed_for_ever {
            return None;
        }
        let hit = |armed: &Armed| {
            armed.side == side
                && match (armed.trigger, trigger) {
                    (Trigger::Action(n), Trigger::Action(now)) | (Trigger::Deed(n), Trigger::Deed(now)) => n == now,
                    // Several entries may come to pass in one slice.
                    (Trigger::Entry(n), Trigger::Entry(now)) => n <= now,
                    _ => false,
                }
        };
        let index = self.armed.iter().position(hit)?;
        Some(self.armed.remove(index).fault)
    }

    /// Something goes wrong now.
    pub fn strike(&mut self, fault: &Fault) {
        self.trace(None, || format!("! {fault}"));
        match *fault {
            Fault::Crash(side, death) => self.crash(side, death),
            Fault::Stall(side, span) => self.stall(side, span),
            Fault::Cut(side, span) => self.link.cut(self.now.after(span), side),
            Fault::CutBoth(span) => {
                for side in Side::BOTH {
                    self.link.cut(self.now.after(span), side);
                }
            }
            Fault::Reset => {
                for side in Side::BOTH {
                    let kept = self.random.below(self.link.under_way(side) + 1);
                    let after = self.random.span(Span(1), Span(2 * self.options.timeout.0));
                    self.close_link(side, kept, Some(after));
                }
            }
            Fault::HeartbeatsLost(span) => self.no_heartbeats = self.now.after(span),
            Fault::ArbiterAway(span) => self.arbiter.leave(self.now.after(span)),
            Fault::DiskAway(span) => self.storage.leave(self.now.after(span)),
            Fault::Slow(side, permille) => {
                let process = &mut self.processes[side.index()];
                process.speed = (process.speed * permille / 1000).max(1);
            }
            Fault::Operator(control) => {
                self.deliver(self.attached, Event::Input(Input::Control(control)));
            }
        }
    }

    /// Nothing goes wrong from now on. What is dead stays dead, and a broken link broken.
    pub fn heal(&mut self) {
        self.trace(None, || "= the world is healed".to_owned());
        self.healed = true;
        self.link.mend(self.now);
        self.arbiter.mend(self.now);
        self.storage.mend(self.now);
        self.no_heartbeats = self.now;
        self.options.heartbeats.loss_permille = 0;
        self.options.frames.loss_permille = 0;
        for side in Side::BOTH {
            self.link_appointment(side, self.now);
            self.processes[side.index()].speed = self.options.speed[side.index()];
            if let Life::Stalled { until } = &mut self.processes[side.index()].life {
                *until = self.now;
                self.schedule(self.now, What::Resume(side));
            }
        }
    }

    // Appointments with the parts of the world.

    pub(crate) fn link_appointment(&mut self, to: Side, at: Time) {
        let due = &mut self.link_due[to.index()];
        if due.is_none_or(|due| due > at) {
            *due = Some(at);
            self.schedule(at, What::Link(to));
        }
    }

    fn on_link(&mut self, to: Side) {
        if self.link_due[to.index()].is_none_or(|due| due > self.now) {
            return;
        }
        self.link_due[to.index()] = None;
        let (arrived, next) = self.link.arrive(self.now, to);
        for arrival in arrived {
            self.deliver(to, match arrival {
                Arrival::Message(bytes) => Event::Peer(bytes),
                Arrival::Lost => Event::LinkLost,
            });
        }
        if let Some(next) = next {
            self.link_appointment(to, next);
        }
    }

    pub(crate) fn storage_appointment(&mut self, at: Time) {
        if self.storage_due.is_none_or(|due| due > at) {
            self.storage_due = Some(at);
            self.schedule(at, What::Storage);
        }
    }

    fn on_storage(&mut self) {
        if self.storage_due.is_none_or(|due| due > self.now) {
            return;
        }
        self.storage_due = None;
        for taken in self.storage.take(&mut self.random, self.now) {
            let (side, id) = (taken.request.from, taken.answer.id);
            if taken.refused {
                self.trace(None, || format!("= the disk refuses {side}'s request {id}: its epoch is over"));
            }
            self.schedule(taken.answers, What::Deliver(side, Event::DiskDone(taken.answer)));
        }
        if let Some(next) = self.storage.next() {
            self.storage_appointment(next);
        }
    }

    fn on_arbiter(&mut self, side: Side, claim: Claim, answers: Option<Time>, unreachable: bool) {
        let verdict = self.arbiter.take(claim);
        self.trace(None, || format!("= the arbiter hears {side} about epoch {}: {verdict:?}", claim.epoch.0));
        let verdict = if unreachable { Verdict::Unreachable } else { verdict };
        if let Some(at) = answers {
            self.schedule(at, What::Deliver(side, Event::Verdict(claim, verdict)));
        }
    }

    // The outside.

    pub(crate) fn client_appointment(&mut self) {
        if let Some(due) = self.client.due() {
            self.schedule(due, What::Client);
        }
    }

    fn on_client(&mut self) {
        if self.client.due().is_none_or(|due| due > self.now) {
            return;
        }
        if let Some((seq, payload)) = self.client.wake(&mut self.random, self.now) {
            let input = G::request(seq, payload);
            for at in self.options.frames.arrivals(&mut self.random, self.now) {
                self.schedule(at, What::ToGuest(input.clone()));
            }
        }
        self.client_appointment();
    }

    fn on_frame_to_guest(&mut self, input: Input) {
        if self.random.permille(self.options.stray_permille) {
            self.deliver(self.attached.other(), Event::Input(input.clone()));
        }
        self.deliver(self.attached, Event::Input(input));
    }

    fn on_typing(&mut self) {
        let Some(every) = self.options.typing else {
            return;
        };
        let bytes = vec![self.random.below(256) as u8; 1 + self.random.below(5) as usize];
        self.on_frame_to_guest(Input::Console { port: 0, bytes });
        if !self.client.is_leaving() {
            self.schedule(self.now.after(every), What::Typing);
        }
    }
}
