//! How a process ends itself: whether it may, and that its node does nothing more afterwards.
//!
//! `carry.rs` comes here with the last action of a node. Nothing here may revive a process.

use std::sync::atomic::AtomicBool;

use machine::{Effect, Input};
use replica::{Claim, ClaimKind, Epoch, Event, Guest, Halt, Next, PeerId, Span, Time, Verdict};
use toy::hash::mix;

use toy_outside::names::ProcessId;

use crate::{
    checker::{Check, Violation, ensure},
    process::Life,
    subject::Subject,
    world::World,
};

impl<G: Subject> World<G> {
    /// May a process end itself for this reason?
    pub(crate) fn judge_halt(&mut self, who: ProcessId, halt: &Halt) -> Result<(), Violation> {
        match halt {
            Halt::Off(_) => {
                let tape = self.processes[who].tape.borrow();
                let is_off = tape
                    .effects
                    .iter()
                    .rev()
                    .any(|at| matches!(at.what, Effect::PoweredOff(_)));
                ensure(is_off, Check::Halt, || {
                    format!("{who} halts as off though its guest is not")
                })
            }
            Halt::Lost(epoch) => {
                let owner = self.arbiter.owner(who, *epoch);
                let other = owner.is_some_and(|owner| owner != self.processes[who].owner);
                ensure(other, Check::Halt, || {
                    format!("{who} halts for epoch {}, which nobody else has", epoch.0)
                })?;
                let is_heir = self
                    .arbiter
                    .heirs(who, *epoch)
                    .contains(&self.processes[who].owner);
                ensure(!is_heir, Check::Halt, || {
                    format!("{who} halts though it is a member of epoch {}", epoch.0)
                })
            }
            Halt::Diverged { at, part } => {
                let what = format!("{who} says it diverged at step {at} in {part}");
                Err(Violation::new(Check::Lockstep, what))
            }
            Halt::Abandoned(why) => {
                let may = self.processes[who].joined && self.checks.guard.may_ask(who).is_err();
                ensure(may, Check::Halt, || {
                    format!("{who} gives itself up though it is a member: {why}")
                })
            }
            Halt::Dismissed => {
                let next = Epoch(self.processes[who].epoch.0 + 1);
                // The arbiter of a process that sees another one than its owner may know nothing of that.
                let has_moved = self.processes[who].follows != Some(self.checks.single.owner());
                let is_over = has_moved || self.arbiter.owner(who, next).is_some();
                let is_spare = is_over || self.checks.guard.is_spare(who);
                self.checks.guard.on_dismissed(who);
                let owner = self.processes[who].follows;
                let owner = owner.map(|owner| &self.processes[owner]);
                let is_unwanted = owner.is_some_and(|owner| owner.told_to_dismiss);
                let is_replaced = owner.is_some_and(|owner| owner.told_to_replace);
                ensure(is_unwanted || is_replaced, Check::Halt, || {
                    format!("{who} is dismissed though nobody wanted it to be")
                })?;
                ensure(is_unwanted || is_spare, Check::Guard, || {
                    format!(
                        "{who} is dismissed before the process that replaces it knows that it is a member"
                    )
                })
            }
            Halt::Left => ensure(self.processes[who].told_to_leave, Check::Halt, || {
                format!("{who} leaves though nobody wanted it to")
            }),
            Halt::Peer(why) => Err(Violation::new(
                Check::Sanity,
                format!("{who} halts over its peer: {why}"),
            )),
        }
    }

    /// A process ends itself. Its node must do nothing more from here on, whatever events it is given.
    pub(crate) fn halt(&mut self, who: ProcessId, halt: Halt) {
        self.on_end(who);
        for link in self.network.links_of(who) {
            let other = self.network.other_end(link, who);
            let under_way = self.network.under_way(link, other);
            self.close_link(link, other, under_way, Some(Span::from_us(100)));
            self.close_link(link, who, 0, None);
        }
        let process = &mut self.processes[who];
        process.life = Life::Halted(halt);
        process.inbox.clear();
        self.storage.caches().close(process.host);
        let claim = Claim {
            epoch: Epoch(process.epoch.0 + 1),
            owner: process.owner,
            after: Some(process.primary),
            heirs: Vec::new(),
            kind: ClaimKind::Failover,
        };
        let events = [
            Event::LinkLost(PeerId(0)),
            Event::Verdict(claim.clone(), Verdict::Won),
            Event::Verdict(claim, Verdict::Unreachable),
            Event::Peer(PeerId(0), vec![16, 1, 2, 3]),
            Event::Heartbeat(PeerId(0), mix(1, 2).to_le_bytes().to_vec()),
            Event::Input(Input::Console {
                port: 0,
                bytes: vec![1],
            }),
        ];
        let local = process.clock.shows(self.now);
        let Some(node) = &mut process.node else {
            return;
        };
        let step = node.guest().now();
        let mut dead = true;
        process.fuel.set(u64::MAX);
        for (index, event) in events.into_iter().enumerate() {
            let later = Time(local.0 + index as u64 * self.options.timeout.0);
            node.handle(later, event);
            dead &= node.slice(later, &AtomicBool::new(false)) == Next::Ended && node.poll(later).is_none();
        }
        dead &= node.guest().now() == step;
        self.judge(ensure(dead, Check::Halt, || {
            format!("{who} does something after it halted")
        }));
    }
}
