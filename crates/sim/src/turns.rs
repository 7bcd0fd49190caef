//! A process's turns, as the host's loop makes them: look at the events, run the guest, carry out what the
//! node wants.
//!
//! The schedule holds at most one turn of each process that counts: a process that is woken earlier gets a
//! new ticket, and the old turn is void. Between the start of a slice and its actions virtual time passes, in
//! which the process may die or stand still. A turn must never take a decision for the node, only give it
//! events and time.

use std::sync::atomic::AtomicBool;

use replica::{Event, Guest, Next, RoleName, Span, Time};

use crate::{
    checker::{Check, ensure},
    faults::{Fault, Trigger},
    pair::SideName,
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
    pub(crate) fn turn_at(&mut self, side: SideName, at: Time) {
        let process = &mut self.processes[side.index()];
        process.ticket += 1;
        process.turn_at = Some(at);
        let ticket = process.ticket;
        self.schedule(at, What::Turn(side, ticket));
    }

    /// A process looks at its events, unless it goes on behind that point (`look`), and runs its guest for a
    /// slice.
    pub(crate) fn turn(&mut self, side: SideName, look: bool) {
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
        let fuel = self.fuel(side);
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
        self.follow();
        let entries = self.process(side).tape.borrow().len() as u64;
        if let Some(Fault::Crash(_, death)) = self.triggered(side, Trigger::Entry(entries)) {
            self.crash(side, death);
            return;
        }
        self.schedule(at, What::Act(side, ticket));
    }

    /// Steps until the host interrupts the guest: when something is known to arrive, and at random.
    pub(crate) fn fuel(&mut self, side: SideName) -> u64 {
        let arrival = self.schedule.next_arrival(side);
        let soon = arrival.map(|at| at.after(Span(self.random.below(20_000))));
        // What is sent to the process during the slice is not on the schedule yet, and would interrupt the
        // guest too.
        let longest = self.now.after(SLICE_MAX);
        let until = soon.map_or(longest, |soon| soon.min(longest));
        let fuel = 1 + until.since(self.now).0.saturating_mul(self.process(side).speed) / 1000;
        if self.random.permille(self.options.cut_permille) {
            return fuel.min(self.random.span(Span(1), Span(100_000)).0);
        }
        fuel
    }

    /// Does a process take turn after turn without any time passing?
    pub(crate) fn spins(&mut self, side: SideName) -> bool {
        let (since, count) = self.turns;
        let same = self.now.since(since) < Span::from_us(100);
        self.turns = if same { (since, count + 1) } else { (self.now, 0) };
        let spins = self.turns.1 > SPIN_MAX;
        self.judge(ensure(!spins, Check::Sanity, || format!("{side} spins")));
        spins
    }

    /// Has the checker compare the lives of both guests, for as long as the backup replays.
    pub(crate) fn compare(&mut self) {
        let replays = matches!(
            self.role(SideName::B),
            Some(RoleName::Backup | RoleName::Claiming)
        );
        if replays && self.checks.single.live() != Some(SideName::B) {
            let [a, b] = &self.processes;
            let result = self.checks.lockstep.compare(&a.tape.borrow(), &b.tape.borrow());
            self.judge(result);
        }
    }

    /// Has the checker look at what the guest has read, and at what it was promised, where it lives now.
    pub(crate) fn follow(&mut self) {
        let side = self.checks.single.live().unwrap_or(SideName::A);
        let tape = self.processes[side.index()].tape.borrow();
        let result = self.checks.durability.follow(side, &tape);
        drop(tape);
        self.judge(result);
    }

    /// A slice of a process is over: it does what its node wants, and appoints its next turn.
    pub(crate) fn act(&mut self, side: SideName) {
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

    /// An event comes for a process, which wakes if it waits.
    pub(crate) fn deliver(&mut self, side: SideName, event: Event) {
        if let Event::DiskDone(answer) = &event {
            self.checks.disk.on_answer(side, answer);
        }
        if !self.process(side).is_alive() {
            return;
        }
        // The host's kernel wakes the process a little later.
        let soon = self.now.after(Span(self.random.below(20_000)));
        let process = &mut self.processes[side.index()];
        process.inbox.push_back(event);
        let sleeps = process.is_running() && process.phase == Phase::Waits;
        if sleeps && process.turn_at.is_none_or(|at| at > soon) {
            self.turn_at(side, soon);
        }
    }

    /// A process stands still for a while, whatever it is in the middle of.
    pub fn stall(&mut self, side: SideName, span: Span) {
        if self.process(side).is_alive() {
            let until = self.now.after(span);
            let process = &mut self.processes[side.index()];
            // Its appointments are void until it goes on.
            process.ticket += 1;
            process.turn_at = None;
            process.life = Life::Stalled { until };
            self.schedule(until, What::Resume(side));
        }
    }

    /// A process that stood still goes on where it was, unless somebody has stalled it for longer.
    pub(crate) fn resume(&mut self, side: SideName) {
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
            // The process may have stopped right behind the point at which it looks at its events.
            let look = self.random.permille(500);
            self.turn(side, look);
        }
    }
}
