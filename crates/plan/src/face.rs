//! `face`: how a VM is, in one word, with every reason and the age of the news. Command line, page, API,
//! metrics and events all show what this one function says, so they cannot part.
//!
//! It never says more than the news bears: what is too old is `unknown`, whatever it said.

use std::cmp::Reverse;

use messages::time::Span;
use report::{FlagWord, GuestWord, PhaseWord, Protection, RoleWord, StateWord};

use crate::course::{on_the_way, unwanted};
use crate::decision::{Look, Site};
use crate::host::{self, HostName};
use crate::limits::{SLOW_OUTPUTS, STALE_LOCAL, STALE_REMOTE};
use crate::moment::{Now, Wall};
use crate::placement::Placement;
use crate::vm::{Ended, Ownership, Process, Protected, View, Vm};
use crate::why::{Why, told};

/// Codes of reasons by which a process speaks of its operator's wish: an agent knows that wish better.
const WISHES: [&str; 3] = ["user", "suspended", "dismissed"];
/// Codes of reasons by which a process says how its backup was lost: an agent says the same of hosts.
const LOSSES: [&str; 2] = ["backup-lost", "took-over"];

/// Who has seen a VM, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The host on which the process runs that has told.
    pub by: HostName,
    /// How old its news is.
    pub age: Span,
}

/// How a VM is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Face {
    /// How its protection stands, in a word.
    pub state: StateWord,
    /// How far a process is on its way to be the backup; `None`: none is.
    pub phase: Option<PhaseWord>,
    /// What its guest does.
    pub guest: GuestWord,
    /// What is not as it should be, though the VM goes on.
    pub flags: Vec<FlagWord>,
    /// Why the state is not `protected`, and why each flag is there.
    pub reasons: Vec<Why>,
    /// When the state became what it is; 0 if that is not known.
    pub since: Wall,
    /// Who has seen that; `None`: there is no process of the VM, or no news of one.
    pub observed: Option<Sighting>,
    /// What the state was by the last news, and when that was, where there is no newer one.
    pub last: Option<(StateWord, Wall)>,
}

impl Face {
    /// The part of it that a process tells of itself too, for programs.
    #[must_use]
    pub fn protection(&self) -> Protection {
        Protection {
            state: self.state,
            phase: self.phase,
            flags: self.flags.clone(),
            reasons: self.reasons.iter().map(Why::reason).collect(),
            since_wall_ns: self.since.0,
        }
    }

    /// A face that says only this.
    fn new(state: StateWord, guest: GuestWord, reasons: Vec<Why>, since: Wall) -> Face {
        Face {
            state,
            phase: None,
            guest,
            flags: Vec::new(),
            reasons,
            since,
            observed: None,
            last: None,
        }
    }

    fn flag(&mut self, flag: FlagWord, why: Why) {
        if !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
        self.because(why);
    }

    /// Adds a reason, unless one says the same.
    fn because(&mut self, why: Why) {
        if !self.reasons.contains(&why) {
            self.reasons.push(why);
        }
    }

    /// Adds what a process says, unless there is a reason of that code already.
    fn as_told(&mut self, process: &Process) {
        for flag in &process.protection.flags {
            if !self.flags.contains(flag) {
                self.flags.push(*flag);
            }
        }
        let is_flag = |code: &str| {
            let own = process.protection.flags.iter().any(|flag| flag.as_str() == code);
            // A disk that is ill has a reason of another name.
            own || code == "disk-away"
        };
        let is_loss_known = self.reasons.iter().any(|why| LOSSES.contains(&why.code()));
        for reason in &process.protection.reasons {
            let is_said = self.reasons.iter().any(|why| why.code() == reason.code);
            let is_known = is_said || (is_loss_known && LOSSES.contains(&reason.code.as_str()));
            let is_of_state = self.state != StateWord::Protected && !WISHES.contains(&reason.code.as_str());
            if !is_known && (is_flag(&reason.code) || is_of_state) {
                self.reasons.push(Why::Told(reason.clone()));
            }
        }
    }
}

/// How the VM is. `placement` is that for a further backup (`placement_of`), `planned` the reasons of the
/// controller's last decision; both may be of an agent that is not the controller, then `planned` is empty.
#[must_use]
pub fn face(now: Now, site: &Site<'_>, vm: &Vm, placement: &Placement, planned: &[Why]) -> Face {
    let Some(view) = newest_truth(site, vm) else {
        return without_process(now, site, vm, planned);
    };
    let process = &view.process;
    let mut face = of_process(now, vm, process, placement);
    face.observed = Some(Sighting {
        by: view.host.clone(),
        age: view.age,
    });
    if face.state != StateWord::Protected {
        planned.iter().cloned().for_each(|why| face.because(why));
    }
    add_flags(now, site, vm, process, placement, &mut face);
    face.as_told(process);
    if let (Some(RoleWord::Backup | RoleWord::Apprentice), Some(peer)) = (process.role, &process.peer) {
        // The owner's own news would be newer.
        face.because(agent_away(now, site, vm, peer));
    }
    if face.state != StateWord::Protected
        && let Some(since) = site.directory_away
    {
        face.because(Why::DirectoryAway { since });
    }
    if face.reasons.is_empty() && face.state != StateWord::Protected {
        let sentence = format!("the process of {} does not say why; see its events", vm.name());
        face.because(told(face.state.as_str(), &sentence));
    }
    face
}

/// The hosts of the site, as they are judged for a further backup of this VM.
#[must_use]
pub fn placement_of(now: Now, site: &Site<'_>, vm: &Vm, backoff: &crate::backoff::Backoff) -> Placement {
    let look = Look::at(now, site, vm, backoff);
    let (owner, member) = match newest_truth(site, vm) {
        Some(view) if view.process.is_live() => (&view.host, view.process.member()),
        Some(view) if view.process.role == Some(RoleWord::Backup) => {
            let owner = view.process.peer.as_ref();
            (owner.unwrap_or(&vm.need.owner), Some(&view.host))
        }
        _ => (&vm.need.owner, None),
    };
    look.placement(owner, member, None)
}

/// The view by which the VM is told of: that of its live process, or else of its other half; `None`: all news
/// is old.
fn newest_truth<'a>(site: &Site<'_>, vm: &'a Vm) -> Option<&'a View> {
    let weight = |view: &&View| {
        let weight = match view.process.role {
            Some(RoleWord::Halted) => 0,
            _ if view.process.is_live() => 2,
            _ => 1,
        };
        (weight, view.process.epoch, Reverse(view.age))
    };
    views(vm).filter(|view| is_fresh(site, view)).max_by_key(weight)
}

fn views(vm: &Vm) -> impl Iterator<Item = &View> {
    let seen = &vm.seen;
    [&seen.here, &seen.elsewhere, &seen.member].into_iter().flatten()
}

fn is_fresh(site: &Site<'_>, view: &View) -> bool {
    let limit = if view.host == *site.me {
        STALE_LOCAL
    } else {
        STALE_REMOTE
    };
    view.age <= limit
}

/// How a VM is of which there is no fresh news from a process.
fn without_process(now: Now, site: &Site<'_>, vm: &Vm, planned: &[Why]) -> Face {
    let seen = &vm.seen;
    let mut face = match &seen.ended {
        _ if seen.starting.is_some() => Face::new(
            StateWord::Starting,
            GuestWord::Waiting,
            vec![Why::Ordered],
            Wall(0),
        ),
        Some(ended) if ended.age <= STALE_REMOTE => off(vm, ended),
        _ => unknown(now, site, vm),
    };
    planned.iter().cloned().for_each(|why| face.because(why));
    if let Some(since) = site.directory_away {
        face.because(Why::DirectoryAway { since });
    }
    face
}

fn off(vm: &Vm, ended: &Ended) -> Face {
    let mut reasons = vec![Why::Off {
        vm: vm.name().clone(),
        how: ended.how.clone(),
        at: ended.at,
    }];
    if let Ownership::Open { epoch, host } = &vm.seen.ownership {
        reasons.push(Why::ClaimOpen {
            vm: vm.name().clone(),
            epoch: *epoch,
            host: host.clone(),
        });
    }
    Face::new(StateWord::Off, GuestWord::Off, reasons, ended.at)
}

fn unknown(now: Now, site: &Site<'_>, vm: &Vm) -> Face {
    let mut reasons = Vec::new();
    if let Some((epoch, host)) = &vm.seen.outdone {
        let (epoch, host) = (*epoch, host.clone());
        reasons.push(Why::Lost { host, epoch });
    }
    let last = views(vm).min_by_key(|view| view.age);
    match last {
        Some(view) if view.host == *site.me => reasons.push(Why::ProcessSilent {
            vm: vm.name().clone(),
            host: view.host.clone(),
            age: view.age,
        }),
        _ => {
            let owner = last.map_or(&vm.need.owner, |view| &view.host);
            reasons.push(agent_away(now, site, vm, owner));
        }
    }
    if let Ownership::Open { epoch, host } = &vm.seen.ownership {
        reasons.push(Why::ClaimOpen {
            vm: vm.name().clone(),
            epoch: *epoch,
            host: host.clone(),
        });
    }
    let when = last.map(|view| Wall(now.wall.0.saturating_sub(view.age.0)));
    let mut face = Face::new(
        StateWord::Unknown,
        GuestWord::Unknown,
        reasons,
        when.unwrap_or_default(),
    );
    face.last = last
        .zip(when)
        .map(|(view, when)| (view.process.protection.state, when));
    face
}

fn agent_away(now: Now, site: &Site<'_>, vm: &Vm, host: &HostName) -> Why {
    let seen = views(vm).filter(|view| view.host == *host).map(|view| view.age);
    let heard = host::find(site.hosts, host).and_then(|host| host.age(now));
    Why::AgentAway {
        vm: vm.name().clone(),
        host: host.clone(),
        age: seen.min().or(heard),
    }
}

/// How a VM is by the news of one of its processes, without flags.
fn of_process(now: Now, vm: &Vm, process: &Process, placement: &Placement) -> Face {
    let since = Wall(process.protection.since_wall_ns);
    let new = |state, reasons| Face::new(state, process.guest, reasons, since);
    match process.role {
        _ if process.is_over() => Face::new(StateWord::Off, GuestWord::Off, Vec::new(), since),
        None => new(StateWord::Starting, Vec::new()),
        Some(RoleWord::Claiming | RoleWord::Handing) => new(StateWord::Standing, Vec::new()),
        Some(RoleWord::Apprentice) => new(StateWord::Starting, Vec::new()),
        Some(RoleWord::Primary | RoleWord::Backup) if process.protection.state == StateWord::Protected => {
            let mut face = new(StateWord::Protected, Vec::new());
            face.phase = process.clone.as_ref().map(|clone| clone.phase);
            face
        }
        Some(RoleWord::Solo | RoleWord::Primary | RoleWord::Backup | RoleWord::Halted) => {
            let mut face = alone(now, vm, process, placement);
            face.guest = process.guest;
            // What a wish has made of the state is as old as the younger of both.
            let asked = vm.desired.protected_asked.as_ref();
            face.since = since.max(asked.map_or(Wall(0), |asked| asked.at));
            face
        }
    }
}

/// How a VM is that runs without a backup.
fn alone(now: Now, vm: &Vm, process: &Process, placement: &Placement) -> Face {
    let new = |state, reasons| Face::new(state, process.guest, reasons, now.wall);
    let unwanted = || vec![unwanted(&vm.desired, vm.name())];
    match vm.desired.protected {
        Protected::Suspended => return new(StateWord::Suspended, unwanted()),
        Protected::Off => return new(StateWord::Unprotected, unwanted()),
        Protected::On => {}
    }
    let way = on_the_way(process);
    if !way.is_empty() {
        let mut face = new(StateWord::Starting, way);
        face.phase = process.clone.as_ref().map(|clone| clone.phase);
        return face;
    }
    let is_near = vm.seen.asking.is_some() || vm.seen.prepared.is_some() || placement.best().is_some();
    if is_near && process.can_have_backup {
        return new(StateWord::Starting, vec![Why::Choosing]);
    }
    let lost = vm.seen.lost.as_ref().map(|lost| Why::BackupLost {
        host: lost.host.clone(),
        at: lost.at,
        how: lost.how.clone(),
    });
    let hosts = if process.can_have_backup {
        placement.refusals()
    } else {
        Vec::new()
    };
    new(StateWord::NeedsBackup, lost.into_iter().chain(hosts).collect())
}

/// What is not as it should be, by all that this agent knows.
fn add_flags(now: Now, site: &Site<'_>, vm: &Vm, process: &Process, placement: &Placement, face: &mut Face) {
    if matches!(face.state, StateWord::Off | StateWord::Unknown) {
        return;
    }
    if let Some((place, age)) = site.arbiter_away {
        let place = place.to_owned();
        face.flag(FlagWord::ArbiterAway, Why::ArbiterAway { place, age });
    }
    if let Some(line) = &process.panic {
        face.flag(FlagWord::Panicked, Why::Panicked { line: line.clone() });
    }
    if let Some((disk, since)) = &vm.seen.health.owner().disk_away
        && process.is_live()
    {
        let (disk, age) = (disk.clone(), now.time.since(*since));
        face.flag(FlagWord::DiskTrouble, Why::DiskAway { disk, age });
    }
    if face.state != StateWord::Protected {
        return;
    }
    let mut flag = |flag, what: String| face.flag(flag, Why::Flag { flag, what });
    if let Some(delay) = process.output_delay.filter(|delay| *delay > SLOW_OUTPUTS) {
        flag(FlagWord::SlowOutputs, format!("{} ms", delay.0 / 1_000_000));
    }
    for (word, what) in &vm.seen.amiss {
        flag(*word, what.clone());
    }
    // With two hosts there never is a spare one, and everybody knows.
    if site.hosts.len() > 2 && placement.best().is_none() {
        flag(FlagWord::NoSpareHost, String::new());
    }
}
