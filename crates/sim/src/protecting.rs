//! What the keeper does in a world: it has a guest that runs alone protected again, as often as hosts last.
//!
//! It does what an agent does: it looks now and then, starts a process on another host and connects it with
//! the owner of the guest (`joining.rs`), and tries again elsewhere when the owner says that this came to
//! nothing. It must never touch a node or a guest.

use replica::{Event, Guest, News, PeerId, RoleName, Span};

use toy_outside::names::{HostId, ProcessId};

use crate::{
    faults::InClone,
    keeper::{Attempt, choose, tries},
    process::Phase,
    schedule::What,
    subject::Subject,
    world::World,
};

/// The longest time for which the operator lets a guest stand.
const PAUSE_MAX: Span = Span::from_ms(1_500);

impl<G: Subject> World<G> {
    /// The keeper looks, has the guest protected if it is alone, and looks again later.
    pub(crate) fn on_keeper(&mut self) {
        let Some(keeper) = &self.options.keeper else {
            return;
        };
        if !self.is_anybody_alive() || self.is_off() {
            return;
        }
        self.schedule(self.now.after(keeper.every), What::Keeper);
        let owner = self.owner();
        // An owner tells when a clone comes to nothing, unless it dies or loses the guest.
        self.keeper.attempt.take_if(|attempt| attempt.owner != owner);
        // Where there are agents, these look after the guest.
        if self.site.is_none()
            && self.keeper.attempt.is_none()
            && self.keeper.not_before <= self.now
            && self.is_alone()
            && let Some(host) = choose(&self.hosts, self.process(owner).host)
        {
            self.begin_clone(host, owner);
        }
    }

    /// The operator has the backup of the guest that lives in this process replaced, if it has one and none
    /// is on its way.
    pub(crate) fn replace_backup(&mut self, owner: ProcessId) {
        if self.options.keeper.is_none() || self.keeper.attempt.is_some() || owner != self.owner() {
            return;
        }
        let process = self.process(owner);
        let is_well = process.is_running() && self.role(owner) == Some(RoleName::Primary);
        let is_there = |who: &ProcessId| self.process(*who).is_alive();
        let backups: Vec<HostId> = self
            .processes
            .names()
            .filter(|who| is_there(who) && self.process(*who).follows == Some(owner))
            .map(|who| self.process(who).host)
            .collect();
        let host = process.host;
        let others = (0..self.hosts.len()).map(HostId);
        let mut free = others.filter(|other| *other != host && !backups.contains(other));
        if let Some(host) = free.find(|other| self.hosts[other.0].is_up).filter(|_| is_well) {
            self.processes[owner].told_to_replace = true;
            self.begin_clone(host, owner);
        }
    }

    /// A process is started on this host, which is to be the backup of the guest in `owner`.
    pub(crate) fn begin_clone(&mut self, host: HostId, owner: ProcessId) {
        let newcomer = self.join(host, owner);
        self.keeper.clones += 1;
        self.keeper.attempt = Some(Attempt {
            owner,
            newcomer,
            began: self.now,
        });
    }

    /// The process where the guest lives.
    #[must_use]
    pub fn owner(&self) -> ProcessId {
        self.checks.single.owner()
    }

    /// Can the guest be copied?
    pub(crate) fn can_be_copied(&self) -> bool {
        let node = self.process(self.owner()).node.as_ref();
        node.is_some_and(|node| node.guest().pages() > 0)
    }

    /// Does the guest run alone, and can it be copied?
    fn is_alone(&self) -> bool {
        let process = self.process(self.owner());
        // In the middle of a slice a process has not told yet that it went live.
        let has_told = process.is_running() && process.phase == Phase::Waits && process.in_hand.is_none();
        has_told && self.role(self.owner()) == Some(RoleName::Solo) && self.can_be_copied()
    }

    /// Is there a host for a backup of the guest, if that can be copied?
    pub(crate) fn has_shelter(&self) -> bool {
        let host = self.process(self.owner()).host;
        self.can_be_copied() && choose(&self.hosts, host).is_some()
    }

    /// After how many clones the guest is protected in a healed world at the latest; `None`: nobody can
    /// follow it, or it cannot be copied.
    pub(crate) fn tries_to_protect(&self) -> Option<u64> {
        if !self.has_shelter() {
            return None;
        }
        let owner = self.process(self.owner()).host;
        let speed = |host: HostId| self.options.hosts[host.0].speed;
        // At the slowest pace for an apprentice's sake a busy guest runs at half of its speed: a host with
        // three quarters of it comes closer by a quarter of the time.
        let fit = |host: HostId| 4 * speed(host) >= 3 * speed(owner);
        tries(&self.hosts, owner, fit)
    }

    /// Has the guest a backup that may go on where it lives now?
    #[must_use]
    pub fn is_protected(&self) -> bool {
        let owner = self.owner();
        let epoch = self.process(owner).epoch;
        let follows = |who: ProcessId| {
            let process = self.process(who);
            let is_backup = process.is_alive() && self.role(who) == Some(RoleName::Backup);
            is_backup && process.follows == Some(owner) && process.epoch == epoch
        };
        self.role(owner) == Some(RoleName::Primary) && self.processes.names().any(follows)
    }

    /// A process tells what becomes of a clone.
    pub(crate) fn on_news(&mut self, who: ProcessId, news: &News) {
        let about = news.peer().and_then(|peer| self.at_end(who, peer));
        self.pass_on(who, news, about.map(|other| self.process(other).host));
        match news {
            News::Cloning(_, phase) => {
                let clone = self.keeper.clones;
                let due = |fault: &&InClone| fault.clone == clone && fault.phase == *phase;
                let faults: Vec<_> = self.options.in_clone.iter().filter(due).cloned().collect();
                for fault in faults {
                    self.schedule(self.now.after(fault.after), What::Fault(fault.fault));
                }
            }
            News::Guarded(peer) => {
                self.processes[who].partner = about;
                self.end_attempt(who, *peer);
            }
            News::HandedOver(_) => self.keeper.hand_overs += 1,
            News::Dismissed(_) if self.role(who) == Some(RoleName::Primary) => {
                self.keeper.replacements += 1;
            }
            News::Paused(paused) => self.on_paused(who, *paused),
            News::Dismissed(_)
            | News::FallsBehind(..)
            | News::TooSlow(..)
            | News::NotDismissed(_)
            | News::NotHandedOver(..) => {}
            News::Abandoned(peer, _) => {
                if let Some(newcomer) = self.at_end(who, *peer) {
                    let host = self.process(newcomer).host;
                    self.hosts[host.0].failures += 1;
                }
                if let Some(keeper) = &self.options.keeper {
                    self.keeper.not_before = self.now.after(keeper.pause);
                }
                self.end_attempt(who, *peer);
            }
        }
    }

    /// A process tells that the guest stands, or runs again. The operator of one that stands has it run on
    /// after a while, as often as a live process tells so: whoever takes it over tells it anew.
    fn on_paused(&mut self, who: ProcessId, paused: bool) {
        self.processes[who].is_paused = paused;
        let is_live = matches!(self.role(who), Some(RoleName::Solo | RoleName::Primary));
        if let Some(node) = self.process(who).node.as_ref().filter(|_| paused && is_live) {
            self.checks.paused.on_told(who, node.guest().now());
            let after = self.random.span(Span::from_ms(1), PAUSE_MAX);
            let order = What::Deliver(who, Event::Pause(false));
            self.schedule(self.now.after(after), order);
        }
    }

    fn end_attempt(&mut self, owner: ProcessId, peer: PeerId) {
        let newcomer = self.at_end(owner, peer);
        let is_it = |attempt: &mut Attempt| attempt.owner == owner && Some(attempt.newcomer) == newcomer;
        self.keeper.attempt.take_if(is_it);
    }

    /// The process to which a peer's name leads or led.
    fn at_end(&self, who: ProcessId, peer: PeerId) -> Option<ProcessId> {
        let wire = self.process(who).wires.get(peer.0 as usize)?;
        Some(self.network.other_end(wire.link, who))
    }
}
