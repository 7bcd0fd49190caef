//! A process's turns, as the host's loop makes them: look at the events, run the guest, carry out what the
//! node wants.
//!
//! The schedule holds at most one turn of each process that counts: a process that is woken earlier gets a
//! new ticket, and the old turn is void. Between the start of a slice and its actions virtual time passes, in
//! which the process may die or stand still. A turn must never take a decision for the node, only give it
//! events and time.

use std::sync::atomic::AtomicBool;

use machine::Input;
use replica::{Event, Guest, Next, RoleName, Span, Time};

use toy_outside::names::ProcessId;

use crate::{
    checker::{Check, Violation, ensure, memory},
    faults::{Fault, Trigger},
    process::{Life, Phase},
    schedule::What,
    subject::Subject,
    trace,
    world::World,
};

/// A process that takes so many turns without any time passing between them spins.
const SPIN_MAX: u64 = 20_000;

/// The longest slice; then the host interrupts the guest.
const SLICE_MAX: Span = Span::from_ms(2);

impl<G: Subject> World<G> {
    /// Schedules the next turn of a process; earlier appointments are void.
    pub(crate) fn turn_at(&mut self, who: ProcessId, at: Time) {
        let process = &mut self.processes[who];
        process.ticket += 1;
        process.turn_at = Some(at);
        let ticket = process.ticket;
        self.schedule(at, What::Turn(who, ticket));
    }

    /// A process looks at its events, unless it goes on behind that point (`look`), and runs its guest for a
    /// slice.
    pub(crate) fn turn(&mut self, who: ProcessId, look: bool) {
        if !self.process(who).is_running() || self.spins(who) {
            return;
        }
        if self.process(who).greeting.is_some() || self.process(who).candidate.is_some() {
            self.greeting_turn(who);
            return;
        }
        self.processes[who].turn_at = None;
        let eager = self.random.permille(500);
        while look && let Some(event) = self.processes[who].inbox.pop_front() {
            self.trace(Some(who), || trace::event(&event));
            if let Event::Peer(_, bytes) = &event {
                self.read_for_guard(who, bytes);
            }
            if matches!(event, Event::Input(Input::NetFrame { .. }) | Event::DiskDone(_)) {
                let tape = self.processes[who].tape.borrow();
                self.checks.still.on_input(who, self.now, &tape);
            }
            let process = &mut self.processes[who];
            let local = process.clock.shows(self.now);
            if let Some(node) = &mut process.node {
                node.handle(local, event);
            }
            if eager && !self.carry_all(who) {
                return;
            }
        }
        self.look_at_state(who);
        let wishes = self.process(who).wishes;
        self.judge(ensure(wishes == 0, Check::Liveness, || {
            format!("{who} went live and does not ask for the random bytes that its guest waits for")
        }));
        self.compare();
        let fuel = self.fuel(who);
        let process = &mut self.processes[who];
        let Some(node) = &mut process.node else {
            return;
        };
        process.fuel.set(fuel);
        let begin = node.guest().now();
        process.next = node.slice(process.clock.shows(self.now), &AtomicBool::new(false));
        let (here, steps) = (node.guest().now(), node.guest().now().since(begin));
        let result = memory::check(who, node.metrics());
        if self.options.calm {
            let metrics = node.metrics();
            let cloned = metrics.role == RoleName::Solo && metrics.clone.is_some();
            let tape = process.tape.borrow();
            let still = self.checks.still.check(who, self.now, cloned, &tape);
            drop(tape);
            self.judge(still);
        }
        let process = &mut self.processes[who];
        process.phase = Phase::Runs;
        process.ticket += 1;
        let (at, ticket) = (self.now.after(process.cost(steps)), process.ticket);
        self.judge(result);
        if who == self.owner() {
            self.judge(self.checks.paused.check(who, here));
        }
        self.compare();
        self.follow();
        let entries = self.process(who).tape.borrow().own_len() as u64;
        if let Some(Fault::Crash(_, death)) = self.triggered(who, Trigger::Entry(entries)) {
            self.crash(who, death);
            return;
        }
        self.schedule(at, What::Act(who, ticket));
    }

    /// Steps until the host interrupts the guest: when something is known to arrive, and at random.
    pub(crate) fn fuel(&mut self, who: ProcessId) -> u64 {
        let arrival = self.schedule.next_arrival(who);
        let soon = arrival.map(|at| at.after(Span(self.random.below(20_000))));
        // What is sent to the process during the slice is not on the schedule yet, and would interrupt the
        // guest too.
        let longest = self.now.after(SLICE_MAX);
        let until = soon.map_or(longest, |soon| soon.min(longest));
        let fuel = 1 + until.since(self.now).0.saturating_mul(self.process(who).speed) / 1000;
        if self.random.permille(self.options.cut_permille) {
            return fuel.min(self.random.span(Span(1), Span(100_000)).0);
        }
        fuel
    }

    /// Does a process take turn after turn without any time passing?
    pub(crate) fn spins(&mut self, who: ProcessId) -> bool {
        let (since, count) = self.turns;
        let same = self.now.since(since) < Span::from_us(100);
        self.turns = if same { (since, count + 1) } else { (self.now, 0) };
        let spins = self.turns.1 > SPIN_MAX;
        self.judge(ensure(!spins, Check::Sanity, || format!("{who} spins")));
        spins
    }

    /// Judges the state that a guest has taken over, once it has.
    fn look_at_state(&mut self, who: ProcessId) {
        let wrong = self.process(who).tape.borrow().wrong.clone();
        if let Some(wrong) = wrong {
            let what = format!("{who} takes over a state of its guest, and {wrong}");
            self.judge(Err(Violation::new(Check::Lockstep, what)));
        }
    }

    /// Has the checker compare the lives of all guests that replay with those that they replay.
    pub(crate) fn compare(&mut self) {
        for who in self.processes.names() {
            let Some(primary) = self.process(who).follows else {
                continue;
            };
            let role = self.role(who);
            let replays = matches!(
                role,
                Some(RoleName::Apprentice | RoleName::Backup | RoleName::Claiming)
            );
            if replays && self.checks.single.owner() != who {
                let ours = self.processes[who].tape.borrow();
                let theirs = self.processes[primary].tape.borrow();
                let result = self.checks.lockstep.compare(who, &ours, &theirs);
                drop((ours, theirs));
                self.judge(result);
            }
        }
    }

    /// Has the checker look at what the guest has read, and at what it was promised, where it lives now.
    pub(crate) fn follow(&mut self) {
        let who = self.checks.single.owner();
        let tape = self.processes[who].tape.borrow();
        let result = self.checks.durability.follow(who, &tape);
        drop(tape);
        self.judge(result);
    }

    /// A slice of a process is over: it does what its node wants, and appoints its next turn.
    pub(crate) fn act(&mut self, who: ProcessId) {
        if !self.process(who).is_running() {
            return;
        }
        self.processes[who].phase = Phase::Waits;
        if !self.carry_all(who) {
            return;
        }
        let process = &self.processes[who];
        let busy = process.next == Next::Busy || !process.inbox.is_empty();
        let deadline = process.node.as_ref().and_then(replica::Node::deadline);
        if busy {
            self.turn_at(who, self.now);
        } else if let Some(deadline) = deadline {
            let at = process.clock.when(deadline);
            self.turn_at(who, at);
        }
    }

    /// An event comes for a process, which wakes if it waits.
    pub(crate) fn deliver(&mut self, who: ProcessId, event: Event) {
        if let Event::DiskDone(answer) = &event {
            self.checks.disk.on_answer(who, answer);
        }
        if !self.process(who).is_alive() {
            return;
        }
        if let Event::Pause(paused) = event {
            self.checks.paused.on_order(paused.then_some(who));
        }
        // The host's kernel wakes the process a little later.
        let soon = self.now.after(Span(self.random.below(20_000)));
        let process = &mut self.processes[who];
        process.inbox.push_back(event);
        let sleeps = process.is_running() && process.phase == Phase::Waits;
        if sleeps && process.turn_at.is_none_or(|at| at > soon) {
            self.turn_at(who, soon);
        }
    }

    /// A process stands still for a while, whatever it is in the middle of.
    pub fn stall(&mut self, who: ProcessId, span: Span) {
        if self.process(who).is_alive() {
            let until = self.now.after(span);
            let process = &mut self.processes[who];
            // Its appointments are void until it goes on.
            process.ticket += 1;
            process.turn_at = None;
            process.life = Life::Stalled { until };
            self.schedule(until, What::Resume(who));
        }
    }

    /// A process that stood still goes on where it was, unless somebody has stalled it for longer.
    pub(crate) fn resume(&mut self, who: ProcessId) {
        let process = &mut self.processes[who];
        match process.life {
            Life::Stalled { until } if until <= self.now => process.life = Life::Running,
            _ => return,
        }
        let in_the_middle = process.phase == Phase::Runs || process.in_hand.is_some();
        self.trace(Some(who), || "! goes on".to_owned());
        if in_the_middle {
            self.act(who);
        } else {
            // The process may have stopped right behind the point at which it looks at its events.
            let look = self.random.permille(500);
            self.turn(who, look);
        }
    }
}
