//! How a site of agents looks after the guest, in place of the keeper: what their hosts' processes say of
//! themselves, how orders are carried out, and what is demanded of the agents in a healed world.
//!
//! The agents are the crate `toy-site`, and they think with `plan` as real ones do. Nothing here may decide
//! anything for them, or tell them more than a process tells.

use plan::{Action, Health, HostName, Process};
use replica::{Event, Guest, News, RoleName, Span};
use report::{GuestWord, PhaseWord, Protection, Reason, RoleWord, StateWord};
use toy_site::{Errand, Mishap, Site, Told};

use toy_outside::names::{HostId, ProcessId};

use crate::{
    checker::{Check, Violation, ensure},
    faults::Fault,
    keeper::Attempt,
    process::Life,
    run::CLONING,
    schedule::What,
    subject::Subject,
    world::World,
};

/// In a healed world the agents have done what takes neither a clone nor a wait after this much time.
const ACTING: Span = Span::from_ms(20_000);
/// Agents look whether there is a pair no more often than this.
const FORMING_LOOK: Span = Span::from_ms(20);

impl<G: Subject> World<G> {
    /// Puts on the schedule what the site wants to happen.
    pub(crate) fn errands(&mut self, errands: impl IntoIterator<Item = (replica::Time, Errand)>) {
        for (at, errand) in errands {
            self.schedule(at, What::Errand(errand));
        }
    }

    /// Something that an agent does or waits for happens.
    pub(crate) fn on_errand(&mut self, errand: Errand) {
        let now = self.now;
        match errand {
            Errand::Look(_) if !self.is_anybody_alive() || self.is_off() => {}
            // Nobody looks after a guest that is not there yet.
            Errand::Look(_) if self.is_forming() => {
                self.schedule(now.after(FORMING_LOOK), What::Errand(errand));
            }
            Errand::Look(host) => {
                let told = self.told(HostId(host));
                let Some(site) = &mut self.site else {
                    return;
                };
                let looked = site.look(now, host, told);
                let thought = site.thought(host);
                if let Some(thought) = thought.filter(|_| self.is_traced()) {
                    self.trace(None, || format!("= agent of host {host}: {thought}"));
                }
                match looked {
                    Ok(errands) => self.errands(errands),
                    Err(what) => self.judge(Err(Violation::new(Check::Agents, what))),
                }
            }
            Errand::Order {
                host,
                generation,
                action,
                to,
            } => self.on_order((host, generation), action, to),
            Errand::Own(own) => {
                let errands = self.site.as_mut().map(|site| site.on(now, own));
                self.errands(errands.unwrap_or_default());
            }
        }
    }

    /// What the processes of a host say of themselves.
    fn told(&self, host: HostId) -> Vec<Told> {
        let here = |who: &ProcessId| self.process(*who).host == host && self.process(*who).is_alive();
        let told = self.processes.names().filter(here).map(|who| Told {
            number: who.index() as u64,
            process: self.status(who),
            health: Health {
                is_net_down: self.host_of(who).ports_lost > self.now,
                ..Health::default()
            },
            answers: self.process(who).is_running(),
        });
        told.collect()
    }

    /// What a process says of itself.
    fn status(&self, who: ProcessId) -> Process {
        let process = self.process(who);
        let role = self.role(who).map(RoleWord::from);
        let at = |other: ProcessId| HostName::new(self.process(other).host.0.to_string());
        let peer = match role {
            Some(RoleWord::Primary) => process.partner.or_else(|| self.member_of(who)).map(at),
            Some(RoleWord::Solo) | None => None,
            Some(_) => process.follows.map(at),
        };
        let attempt = self.keeper.attempt.filter(|attempt| attempt.owner == who);
        let phase = process.node.as_ref().and_then(|node| node.metrics().clone);
        let clone = attempt.map(|attempt| plan::Cloning {
            to: at(attempt.newcomer),
            phase: phase.map_or(PhaseWord::Connecting, |clone| PhaseWord::from(clone.phase)),
            done_bytes: 0,
            total_bytes: 0,
            bytes_per_second: None,
            lag: Span(0),
            outputs: 0,
        });
        let node = process.node.as_ref();
        Process {
            number: who.index() as u64,
            role,
            guest: GuestWord::Running,
            is_paused: process.is_paused,
            protection: Protection::only(StateWord::Unknown, Reason::new("", "")),
            epoch: process.epoch.0,
            first_epoch: None,
            peer,
            clone,
            sync: None,
            is_dismissing: node.is_some_and(|node| node.is_dismissing()),
            is_swapping: node.is_some_and(|node| node.is_swapping()),
            has_snapshot: false,
            can_have_backup: node.is_some_and(|node| node.guest().pages() > 0),
            has_power_button: false,
            panic: None,
            output_delay: None,
        }
    }

    /// The process on which `owner` counts as its backup.
    fn member_of(&self, owner: ProcessId) -> Option<ProcessId> {
        let counts = |who: &ProcessId| self.checks.guard.counts_on(owner, *who);
        self.processes.names().filter(counts).last()
    }

    /// An agent's order comes to the live process of its host, which takes or refuses it, as soon as it
    /// answers anybody.
    fn on_order(&mut self, from: (usize, u64), action: Action, to: Option<usize>) {
        let is_live = |who: &ProcessId| {
            let role = self.role(*who);
            let is_here = self.process(*who).host.0 == from.0 && self.process(*who).is_alive();
            is_here && matches!(role, Some(RoleName::Solo | RoleName::Primary))
        };
        let live = self.processes.names().filter(is_live).last();
        if let Some(Life::Stalled { until }) = live.map(|who| self.process(who).life.clone()) {
            let (host, generation) = from;
            let order = Errand::Order {
                host,
                generation,
                action,
                to,
            };
            return self.schedule(until, What::Errand(order));
        }
        self.trace(live, || format!("= its agent wants {action:?}"));
        let refused = match live {
            Some(who) => self.obey(who, &action, to.map(HostId)).err(),
            None => Some("the VM does not run in this process"),
        };
        let takes = Span(self.agents_random.below(1_000_000));
        let Some(site) = &mut self.site else {
            return;
        };
        match site.answer((self.now, takes), from, action, refused) {
            Ok(answer) => self.errands([answer]),
            Err(what) => self.judge(Err(Violation::new(Check::Agents, what))),
        }
    }

    /// A live process does what it is told, or says why not, as `lockstep`'s does (docs/control.md).
    fn obey(&mut self, who: ProcessId, action: &Action, to: Option<HostId>) -> Result<(), &'static str> {
        let is_primary = self.role(who) == Some(RoleName::Primary);
        match (action, to) {
            (Action::Protect { .. }, _) if is_primary => return Err("the VM has a backup already"),
            (Action::MoveBackup { .. } | Action::HandOver { .. }, _) if !is_primary => {
                return Err("it has no backup");
            }
            (Action::Protect { .. } | Action::MoveBackup { .. }, Some(to)) => return self.call(who, to),
            (Action::HandOver { .. }, _) => self.deliver(who, Event::HandOver),
            (Action::Dismiss, _) => {
                self.processes[who].told_to_dismiss = true;
                self.deliver(who, Event::Unprotect);
            }
            (Action::Pause, _) => self.deliver(who, Event::Pause(true)),
            (Action::Resume, _) => self.deliver(who, Event::Pause(false)),
            _ => return Err("no agent of the simulator gives this order"),
        }
        Ok(())
    }

    /// A process calls the one that waits on a host, to make it the backup.
    fn call(&mut self, owner: ProcessId, to: HostId) -> Result<(), &'static str> {
        let goes_on = |attempt: Attempt| attempt.owner == owner;
        if self.keeper.attempt.is_some_and(goes_on) {
            return Err("one is being called already");
        }
        let now = self.now;
        let waits = self.site.as_mut().is_some_and(|site| site.call(now, to.0));
        if !waits || !self.hosts[to.0].is_up || owner != self.owner() {
            let news = toy_site::News::Failed(to.0, "cannot be called".to_owned());
            self.tell_agent(owner, &news);
            return Ok(());
        }
        let is_half = |who: &ProcessId| {
            let is_there = self.process(*who).host == to && self.process(*who).is_alive();
            // One that stood still while the VM went on elsewhere is no half of it, whatever it believes.
            let (process, epoch) = (self.process(*who), self.process(owner).epoch);
            let follows = process.follows == Some(owner) && process.epoch == epoch;
            is_there && (*who == owner || follows && self.checks.guard.counts_on(owner, *who))
        };
        let has_half = self.processes.names().any(|who| is_half(&who));
        self.judge(ensure(!has_half, Check::Agents, || {
            format!("{owner} gets a second half on {to}")
        }));
        if self.role(owner) == Some(RoleName::Primary) {
            self.processes[owner].told_to_replace = true;
        }
        self.begin_clone(to, owner);
        Ok(())
    }

    /// The agent of a process's host hears what that says has happened.
    pub(crate) fn tell_agent(&mut self, who: ProcessId, news: &toy_site::News) {
        let host = self.process(who).host.0;
        if let Some(site) = &mut self.site {
            site.tell(self.now, host, news);
        }
    }

    /// The agent of a process's host hears its news, as far as they concern it. `about`: the host of the
    /// process that they are about.
    pub(crate) fn pass_on(&mut self, who: ProcessId, news: &News, about: Option<HostId>) {
        let host = about.map_or(0, |host| host.0);
        let news = match news {
            News::Guarded(_) => toy_site::News::Protected(host),
            News::Abandoned(_, why) => toy_site::News::Failed(host, why.clone()),
            News::HandedOver(_) => toy_site::News::HandedOver,
            News::NotHandedOver(_, why) => toy_site::News::NotHandedOver(why.clone()),
            News::TooSlow(..) => toy_site::News::Alone(report::SuspicionWord::Slow),
            _ => return,
        };
        self.tell_agent(who, &news);
    }

    /// Tells the agents what goes wrong with them, or what somebody wants of them: what an operator would
    /// order a process directly is a wish where there are agents. False: it does not concern them, or there
    /// are none.
    pub(crate) fn is_for_agents(&mut self, fault: &Fault) -> bool {
        let now = self.now;
        let Some(site) = &mut self.site else {
            return false;
        };
        let span = Span::from_ms(self.agents_random.between(1, 300));
        let mishap = match fault {
            Fault::Site(mishap) => mishap.clone(),
            Fault::Unprotect(_) => Mishap::Unprotect(span),
            Fault::HandOver(_) => Mishap::Failover,
            Fault::Replace(_) => Mishap::MoveBackup,
            _ => return false,
        };
        let errand = site.strike(now, &mishap);
        self.errands(errand);
        true
    }

    /// Hosts that can take a backup of the guest for which it does not get slower than it can bear.
    fn able_hosts(&self, site: &Site) -> Vec<HostId> {
        let speed = |host: HostId| self.options.speed(host);
        let owner = self.process(self.owner()).host;
        let member = self.member_of(self.owner()).map(|who| self.process(who).host);
        let fastest = member.map_or(0, speed).max(speed(owner));
        let able = |host: &HostId| {
            let is_up = self.hosts[host.0].is_up && site.is_able(host.0);
            is_up && 4 * speed(*host) >= 3 * fastest
        };
        (0..self.hosts.len()).map(HostId).filter(able).collect()
    }

    /// Is there anything left that the agents must do, and can?
    fn owes(&self) -> Option<&'static str> {
        let site = self.site.as_ref()?;
        if self.is_doomed() || self.is_off() || !self.can_be_copied() {
            return None;
        }
        let (owner, able) = (self.owner(), self.able_hosts(site));
        let home = self.process(owner).host;
        let member = self.member_of(owner).map(|who| self.process(who).host);
        if !self.is_protected() {
            let has_place = able.iter().any(|host| *host != home);
            return has_place.then_some("the guest is not protected");
        }
        let is_drained = |host: HostId| site.is_drained(host.0);
        let is_free = |host: &HostId| *host != home && Some(*host) != member;
        let must_go = is_drained(home) || member.is_some_and(is_drained);
        (must_go && able.iter().any(is_free)).then_some("a host that is drained is not empty")
    }

    /// Demands that the agents do what they can: the guest is protected, and no drained host has a half of
    /// it.
    pub(crate) fn wait_for_agents(&mut self) {
        // One clone may be under way from a time when anything went wrong, and hosts that are not fast enough
        // may be tried first; each that comes to nothing has its host left alone for a while.
        for _ in 0..2 + self.hosts.len() {
            let home = self.process(self.owner()).host.0;
            let rests = self.site.as_ref().map(|site| site.rests(self.now, home));
            let limit = self.now.after(Span(rests.unwrap_or_default().0 + ACTING.0));
            let is_idle = |world: &World<G>| world.owes().is_some() && !world.is_cloning();
            if !self.run_while(limit, is_idle) || self.owes().is_none() {
                break;
            }
            let limit = self.now.after(CLONING);
            if !self.run_while(limit, |world| world.is_cloning() && world.owes().is_some()) {
                break;
            }
        }
        let owes = self.owes().filter(|_| self.violation.is_none());
        self.judge(ensure(owes.is_none(), Check::Liveness, || {
            format!(
                "{} though the agents have had their time",
                owes.unwrap_or_default()
            )
        }));
    }

    /// Is a process on its way to be the backup of the guest where that lives now?
    fn is_cloning(&self) -> bool {
        let owner = self.owner();
        self.keeper.attempt.is_some_and(|attempt| attempt.owner == owner)
    }
}
