//! Faults as they happen, and the healing of a world.
//!
//! `draw.rs` says beforehand which faults a world has; `course.rs` strikes those that have a time, `turns.rs`
//! and `carry.rs` ask here for those that wait for what a side does. A fault changes what lies around a node
//! and must never reach into the node: that is what a real fault cannot do.

use machine::{Control, Input};
use replica::{Event, Span};

use crate::{
    faults::{Armed, Death, Fault, Trigger},
    pair::SideName,
    process::Life,
    schedule::What,
    subject::Subject,
    world::World,
};

/// The longest pause between two attempts of TCP to send again what was not acknowledged.
const TCP_RESENDS: Span = Span::from_ms(200);

impl<G: Subject> World<G> {
    /// A side dies, with what it had in its hands. The other side learns of that at once, later or never.
    pub fn crash(&mut self, side: SideName, death: Death) {
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
        match death {
            Death::Process => self.storage.caches().close(side),
            Death::Host => self.storage.caches().host_dies(side),
        }
        let random = &mut self.random;
        let under_way = self.link.under_way(side.other());
        let (kept, after) = match death {
            Death::Process if random.permille(700) => (under_way, Some(Span::from_us(100))),
            Death::Process => (
                random.below(under_way + 1),
                Some(random.span(Span(1), Span::from_ms(5))),
            ),
            Death::Host if random.permille(800) => (random.below(under_way + 1), None),
            Death::Host => (
                random.below(under_way + 1),
                Some(random.span(Span(1), self.options.timeout)),
            ),
        };
        self.close_link(side.other(), kept, after);
        self.close_link(side, 0, None);
    }

    /// The sender towards `to` is gone: see [`crate::network::Link::close`].
    pub(crate) fn close_link(&mut self, to: SideName, kept: u64, after: Option<Span>) {
        if let Some(at) = self.link.close(self.now, to, kept, after) {
            self.link_appointment(to, at);
        }
    }

    /// Takes the fault that waits for just this doing of a side, if there is one.
    pub(crate) fn triggered(&mut self, side: SideName, trigger: Trigger) -> Option<Fault> {
        if self.healed && !self.options.armed_for_ever {
            return None;
        }
        let hit = |armed: &Armed| {
            armed.side == side
                && match (armed.trigger, trigger) {
                    (Trigger::Action(n), Trigger::Action(now)) | (Trigger::Deed(n), Trigger::Deed(now)) => {
                        n == now
                    }
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
            Fault::Cut(side, span) => self.cut(side, span),
            Fault::CutBoth(span) => {
                for side in SideName::BOTH {
                    self.cut(side, span);
                }
            }
            Fault::LinkStuck(side, span) => self.link.cut(self.now.after(span), side),
            Fault::Reset => {
                for side in SideName::BOTH {
                    let kept = self.random.below(self.link.under_way(side) + 1);
                    let after = self.random.span(Span(1), Span(2 * self.options.timeout.0));
                    self.close_link(side, kept, Some(after));
                }
            }
            Fault::HeartbeatsLost(span) => self.no_heartbeats = [self.now.after(span); 2],
            Fault::PortsLost(side, span) => self.ports_lost[side.index()] = self.now.after(span),
            Fault::Leave(side) => {
                self.processes[side.index()].told_to_leave = true;
                self.deliver(side, Event::Leave);
            }
            Fault::ArbiterAway(span) => self.arbiter.leave(self.now.after(span)),
            Fault::DiskAway(span) => self.storage.leave(self.now.after(span)),
            Fault::Slow(side, permille) => {
                let process = &mut self.processes[side.index()];
                process.speed = (process.speed * permille / 1000).max(1);
            }
            // The client of a guest that forgets its requests would have to begin anew.
            Fault::Operator(Control::Reset) if !G::REMEMBERS => {}
            Fault::Operator(control) => {
                self.deliver(self.attached, Event::Input(Input::Control(control)));
            }
            Fault::FlushFails(side) => self.storage.caches().fail_flush(side),
            // For a guest that is off `run.rs` looks in the end at what a power cut would leave.
            Fault::PowerCut if self.is_off() => {}
            Fault::PowerCut => {
                for side in SideName::BOTH {
                    self.crash(side, Death::Host);
                }
                self.storage.power_cut();
            }
        }
    }

    /// Nothing gets through to a side for a while. TCP notices only when it tries again.
    fn cut(&mut self, side: SideName, span: Span) {
        let until = self.now.after(span);
        let lost = &mut self.no_heartbeats[side.index()];
        *lost = until.max(*lost);
        let tries_again = self.random.span(Span(0), TCP_RESENDS);
        self.link.cut(until.after(tries_again), side);
    }

    /// Nothing goes wrong from now on. A dead side stays dead, and a broken link stays broken.
    pub fn heal(&mut self) {
        self.trace(None, || "= the world is healed".to_owned());
        self.healed = true;
        self.link.mend(self.now);
        self.arbiter.mend(self.now);
        self.storage.mend(self.now);
        self.no_heartbeats = [self.now; 2];
        self.ports_lost = [self.now; 2];
        self.options.heartbeats.loss_permille = 0;
        self.options.frames.loss_permille = 0;
        for side in SideName::BOTH {
            self.link_appointment(side, self.now);
            self.processes[side.index()].speed = self.options.speed[side.index()];
            if let Life::Stalled { until } = &mut self.processes[side.index()].life {
                *until = self.now;
                self.schedule(self.now, What::Resume(side));
            }
        }
    }
}
