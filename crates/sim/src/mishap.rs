//! Faults as they happen, and the healing of a world.
//!
//! `draw.rs` says beforehand which faults a world has; `course.rs` strikes those that have a time, `turns.rs`
//! and `carry.rs` ask here for those that wait for what a process does. A fault changes what lies around a
//! node and must never reach into the node: that is what a real fault cannot do.

use machine::{Control, Input};
use replica::{Event, Span, Time};

use toy_outside::{
    names::{HostId, ProcessId},
    network::LinkId,
};

use crate::{
    faults::{Armed, Death, Fault, Part, Trigger},
    process::Life,
    schedule::What,
    subject::Subject,
    world::World,
};

/// The longest pause between two attempts of TCP to send again what was not acknowledged.
const TCP_RESENDS: Span = Span::from_ms(200);

impl<G: Subject> World<G> {
    /// A process dies, or its host with all its processes, with what they had in their hands. Their peers
    /// learn of that at once, later or never.
    pub fn crash(&mut self, who: ProcessId, death: Death) {
        if !self.process(who).is_alive() {
            return;
        }
        let host = self.process(who).host;
        match death {
            Death::Process => {
                self.kill(who);
                self.storage.caches().close(host);
                self.lose_links(who, death);
                self.on_end(who);
            }
            Death::Host => {
                let alive =
                    |who: &ProcessId| self.process(*who).host == host && self.process(*who).is_alive();
                let victims: Vec<ProcessId> = self.processes.names().filter(alive).collect();
                for victim in &victims {
                    self.kill(*victim);
                }
                self.storage.caches().host_dies(host);
                if let Some(site) = &mut self.site {
                    site.host_dies(host.0);
                }
                let host = &mut self.hosts[host.0];
                host.is_up = false;
                host.deaths += 1;
                for victim in victims {
                    self.lose_links(victim, death);
                }
            }
        }
    }

    fn kill(&mut self, who: ProcessId) {
        self.trace(Some(who), || "! dies".to_owned());
        let process = &mut self.processes[who];
        process.life = Life::Crashed;
        process.node = None;
        process.greeting = None;
        process.candidate = None;
        process.inbox.clear();
        process.in_hand = None;
        self.storage.crash(&mut self.random, who);
    }

    /// The links of a process that died break: a kernel that lives sends what it was given before it says so.
    fn lose_links(&mut self, who: ProcessId, death: Death) {
        for link in self.network.links_of(who) {
            let other = self.network.other_end(link, who);
            let under_way = self.network.under_way(link, other);
            let random = &mut self.random;
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
            self.close_link(link, other, kept, after);
            self.close_link(link, who, 0, None);
        }
    }

    /// The sender towards `to` is gone: see [`toy_outside::network::Network::close`].
    pub(crate) fn close_link(&mut self, link: LinkId, to: ProcessId, kept: u64, after: Option<Span>) {
        if let Some(at) = self.network.close(self.now, (link, to), kept, after) {
            self.link_appointment(link, to, at);
        }
    }

    /// Takes the fault that waits for just this doing of a process, if there is one.
    pub(crate) fn triggered(&mut self, who: ProcessId, trigger: Trigger) -> Option<Fault> {
        if self.healed && !self.options.armed_for_ever {
            return None;
        }
        let hit = |armed: &Armed| {
            armed.who == who
                && match (armed.trigger, trigger) {
                    (Trigger::Action(n), Trigger::Action(now))
                    | (Trigger::Deed(n), Trigger::Deed(now))
                    | (Trigger::Word(n), Trigger::Word(now)) => n == now,
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
        // Nothing can happen to a process that was not started.
        if fault.process().is_some_and(|who| who >= self.processes.next()) {
            return;
        }
        self.trace(None, || format!("! {fault}"));
        match *fault {
            _ if self.is_for_agents(fault) => {}
            Fault::Site(_) => {}
            Fault::Part(part, ref fault) => {
                let who = self.part(part);
                self.strike(&fault.of(who));
            }
            Fault::BulkCut(span) => self.cut_bulk(span),
            Fault::BulkReset => self.reset_bulk(),
            Fault::Return(host) => self.bring_back(host),
            Fault::Crash(who, death) => self.crash(who, death),
            Fault::Stall(who, span) => self.stall(who, span),
            Fault::Cut(who, span) => self.cut(who, span),
            Fault::CutAll(span) => {
                for who in self.processes.names() {
                    self.cut(who, span);
                }
            }
            Fault::LinkStuck(who, span) => self.cut_links(who, self.now.after(span)),
            Fault::Reset => self.reset_links(),
            Fault::HeartbeatsLost(span) => {
                for who in self.processes.names() {
                    self.processes[who].no_heartbeats = self.now.after(span);
                }
            }
            Fault::PortsLost(who, span) => {
                let host = self.process(who).host;
                self.hosts[host.0].ports_lost = self.now.after(span);
            }
            Fault::Leave(who) => {
                self.processes[who].told_to_leave = true;
                self.deliver(who, Event::Leave);
            }
            Fault::Unprotect(who) => {
                self.processes[who].told_to_dismiss = true;
                self.deliver(who, Event::Unprotect);
            }
            Fault::HandOver(who) => self.deliver(who, Event::HandOver),
            Fault::Replace(who) => self.replace_backup(who),
            Fault::Pause(who) => self.deliver(who, Event::Pause(true)),
            Fault::Snapshot(who) => self.begin_snapshot(who),
            Fault::ArbiterAway(span) => self.arbiter.leave(self.now.after(span)),
            Fault::DiskAway(span) => self.storage.leave(self.now.after(span)),
            Fault::Slow(who, permille) => {
                let process = &mut self.processes[who];
                process.speed = (process.speed * permille / 1000).max(1);
            }
            // The client of a guest that forgets its requests would have to begin anew.
            Fault::Operator(Control::Reset) if !G::REMEMBERS => {}
            Fault::Operator(control) => {
                self.checks.paused.on_order(None);
                self.deliver(self.attached, Event::Input(Input::Control(control)));
            }
            Fault::FlushFails(who) => self.storage.caches().fail_flush(self.processes[who].host),
            // For a guest that is off `run.rs` looks in the end at what a power cut would leave.
            Fault::PowerCut if self.is_off() => {}
            Fault::PowerCut => {
                for who in self.processes.names() {
                    self.crash(who, Death::Host);
                }
                self.storage.power_cut();
            }
        }
    }

    /// A host runs, and if it was dead its agent starts.
    pub(crate) fn bring_back(&mut self, host: HostId) {
        let was_up = std::mem::replace(&mut self.hosts[host.0].is_up, true);
        let site = self.site.as_mut().filter(|_| !was_up);
        let errand = site.and_then(|site| site.host_returns(self.now, host.0));
        self.errands(errand);
    }

    /// Nothing gets through to a process for a while. TCP notices only when it tries again.
    fn cut(&mut self, who: ProcessId, span: Span) {
        let until = self.now.after(span);
        let lost = &mut self.processes[who].no_heartbeats;
        *lost = until.max(*lost);
        let tries_again = self.random.span(Span(0), TCP_RESENDS);
        self.cut_links(who, until.after(tries_again));
    }

    /// The process that plays a part at present.
    fn part(&self, part: Part) -> ProcessId {
        match part {
            Part::Owner => self.checks.single.owner(),
            Part::Newest => self.processes.last(),
            Part::Backup => {
                let owner = self.checks.single.owner();
                let follows = |who: &ProcessId| {
                    self.process(*who).is_alive() && self.checks.guard.counts_on(owner, *who)
                };
                let mut followers = self.processes.names().filter(follows);
                followers.next().unwrap_or(self.processes.last())
            }
        }
    }

    fn bulk_links(&self) -> Vec<(LinkId, ProcessId)> {
        let of = |who: ProcessId| {
            self.process(who)
                .wires
                .iter()
                .filter_map(move |wire| Some((wire.bulk?, who)))
        };
        self.processes.names().flat_map(of).collect()
    }

    /// Nothing arrives over any bulk link for a while.
    fn cut_bulk(&mut self, span: Span) {
        for (link, to) in self.bulk_links() {
            self.network.cut(self.now.after(span), link, to);
        }
    }

    /// All bulk links break.
    fn reset_bulk(&mut self) {
        for (link, to) in self.bulk_links() {
            let kept = self.random.below(self.network.under_way(link, to) + 1);
            let after = self.random.span(Span(1), Span(2 * self.options.timeout.0));
            self.close_link(link, to, kept, Some(after));
        }
    }

    fn cut_links(&mut self, to: ProcessId, until: Time) {
        for link in self.network.links_of(to) {
            self.network.cut(until, link, to);
        }
    }

    fn reset_links(&mut self) {
        for to in self.processes.names() {
            for link in self.network.links_of(to) {
                let kept = self.random.below(self.network.under_way(link, to) + 1);
                let after = self.random.span(Span(1), Span(2 * self.options.timeout.0));
                self.close_link(link, to, kept, Some(after));
            }
        }
    }

    /// Nothing goes wrong from now on. A dead process stays dead, and a broken link stays broken.
    pub fn heal(&mut self) {
        self.trace(None, || "= the world is healed".to_owned());
        self.healed = true;
        self.network.mend(self.now);
        self.arbiter.mend(self.now);
        self.storage.mend(self.now);
        if let Some(site) = &mut self.site {
            site.heal(self.now, |host| self.hosts[host].is_up);
        }
        for host in &mut self.hosts {
            host.ports_lost = self.now;
        }
        self.options.heartbeats.loss_permille = 0;
        self.options.frames.loss_permille = 0;
        for who in self.processes.names() {
            for link in self.network.links_of(who) {
                self.link_appointment(link, who, self.now);
            }
            let process = &mut self.processes[who];
            process.no_heartbeats = self.now;
            process.speed = self.options.speed(process.host);
            if let Life::Stalled { until } = &mut process.life {
                *until = self.now;
                self.schedule(self.now, What::Resume(who));
            }
        }
    }
}
