//! `Memory`: what an agent remembers of a VM from one look to the next, and how that follows from what it is
//! told. Nothing of it is needed to go on: an agent that has just started has none of it.
//!
//! It stands between what is told and what the planner looks at (`Seen`). It never decides: whom to blame for
//! a failure, and for how long, is all that it knows beside what it was told.

use messages::time::Time;
use messages::vm_name::VmName;
use report::{PhaseWord, RoleWord, SuspicionWord};

use crate::action::Action;
use crate::backoff::Backoff;
use crate::hang::Hang;
use crate::health::{Health, Swap, Watch};
use crate::host::HostName;
use crate::limits::{STALE_REMOTE, TRIES_MAX};
use crate::moment::{Now, Wall};
use crate::vm::{Ended, Failures, Given, Lost, Ownership, Prepared, Process, Refused, Seen, View};
use crate::why::Loss;

/// An order that was given to a process, until its status shows what came of it.
#[derive(Clone, Debug)]
struct Ordered {
    given: Given,
    action: Action,
    /// The process that has it; `None`: none was seen when it was given.
    by: Option<Live>,
}

/// A process here that shows the guest to the world, as far as orders to it are concerned: one of another
/// number or another epoch has not got what this one was told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Live {
    number: u64,
    epoch: u64,
}

/// What an agent remembers of a VM.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    starting: Option<Time>,
    asking: Option<(HostName, Time)>,
    prepared: Option<Prepared>,
    /// The live process here, as the last look has found it; `None`: there was none.
    live: Option<Live>,
    /// The host of its backup then; `None`: it had none.
    member: Option<HostName>,
    ordered: Option<Ordered>,
    refused: Option<Refused>,
    not_handed_over: Option<(HostName, Failures)>,
    lost: Option<Lost>,
    watch: Watch,
    gone_since: Option<Time>,
}

/// The views of a VM's processes, each in its place for the planner.
#[derive(Clone, Debug, Default)]
pub struct Views {
    /// The process on this agent's host; of several the live one, or the one of the newest epoch.
    pub here: Option<View>,
    /// The live process on another host; of several the one of the newest epoch.
    pub elsewhere: Option<View>,
    /// The process on another host that is not live; of several a backup of which the news is not old, then
    /// one that has not ended, then one of which the news is not old, and of these the one of the newest
    /// epoch.
    pub member: Option<View>,
}

impl Views {
    /// Sorts all that was told of a VM's processes to the agent of `me`.
    #[must_use]
    pub fn of(me: &HostName, all: Vec<View>) -> Views {
        let (mut here, away): (Vec<View>, Vec<View>) = all.into_iter().partition(|view| view.host == *me);
        let (mut live, mut others): (Vec<View>, Vec<View>) =
            away.into_iter().partition(|view| view.process.is_live());
        let process = |view: &View| {
            let process = &view.process;
            (process.is_live(), !process.is_over(), process.epoch)
        };
        here.sort_by_key(process);
        live.sort_by_key(|view| view.process.epoch);
        others.sort_by_key(|view| {
            let (is_fresh, role) = (view.age <= STALE_REMOTE, view.process.role);
            let is_backup = is_fresh && role == Some(RoleWord::Backup);
            (is_backup, !view.process.is_over(), is_fresh, view.process.epoch)
        });
        Views {
            here: here.pop(),
            elsewhere: live.pop(),
            member: others.pop(),
        }
    }

    /// Is any process of the VM seen? What a host told that is silent by now is no sight of a process.
    #[must_use]
    pub fn is_any(&self) -> bool {
        let is_fresh = |view: &View| view.age <= STALE_REMOTE;
        self.here.is_some()
            || self.elsewhere.as_ref().is_some_and(is_fresh)
            || self.member.as_ref().is_some_and(is_fresh)
    }
}

impl Memory {
    /// A process of the VM is started here at this time.
    pub fn starts(&mut self, at: Time) {
        self.starting = Some(at);
    }

    /// Was a process started here that has not answered yet?
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.starting.is_some()
    }

    /// A process that was started here has ended. True: it had not come to answer.
    pub fn on_exit(&mut self) -> bool {
        self.starting.take().is_some()
    }

    /// The agent of `host` is asked for a reservation at this time.
    pub fn asks(&mut self, host: &HostName, at: Time) {
        self.asking = Some((host.clone(), at));
    }

    /// The agent of `host` has granted a reservation until a time, or refused one with a clause.
    pub fn on_reservation(
        &mut self,
        now: Now,
        (vm, host): (&VmName, &HostName),
        answer: Result<Time, &str>,
        backoff: &mut Backoff,
    ) {
        self.asking = None;
        match answer {
            Ok(until) => {
                let host = host.clone();
                self.prepared = Some(Prepared { host, until });
            }
            Err(why) => backoff.fail(now, vm, host, why),
        }
    }

    /// An order is given to the process here at this time.
    pub fn orders(&mut self, action: Action, at: Time) {
        let (given, by) = (Given { at, is_taken: false }, self.live.clone());
        self.ordered = Some(Ordered { given, action, by });
    }

    /// The process here has taken an order, or refused it with a clause. A refusal is its own: what the order
    /// names, such as a host, has not even been asked.
    pub fn on_answer(&mut self, now: Time, action: &Action, answer: Result<(), &str>) {
        // An order to a process that is gone has no answer.
        let Some(ordered) = self.ordered.as_mut().filter(|ordered| ordered.action == *action) else {
            return;
        };
        let Err(why) = answer else {
            // It is over when that is seen: until then it would be given again.
            ordered.given.is_taken = true;
            self.refused = None;
            return;
        };
        self.ordered = None;
        let before = self.refused.take().filter(|refused| refused.action == *action);
        let failures = Failures::another(before.map(|refused| refused.failures), now, why);
        if failures.count >= TRIES_MAX {
            // Another host may be asked by then.
            self.prepared = None;
        }
        let action = action.clone();
        self.refused = Some(Refused { action, failures });
    }

    /// The store shows that the order for the step under way is confirmed, one that leaves no trace in a
    /// status, or that another operation has been begun since.
    pub fn on_confirmed(&mut self) {
        self.ordered.take_if(|ordered| ordered.action == Action::Reset);
    }

    /// The process here was asked at this time how it is, and has answered.
    pub fn on_status(&mut self, at: Time, process: &Process) {
        let is_done = |ordered: &Ordered| {
            let is_it = ordered.by.as_ref().is_none_or(|by| by.number == process.number);
            is_it && at > ordered.given.at && shows(&ordered.action, process)
        };
        if self.ordered.as_ref().is_some_and(is_done) {
            self.ordered = None;
        }
        if process.is_live() || process.role == Some(RoleWord::Backup) {
            self.starting = None;
        }
    }

    /// How owner and member are off at this time, as far as that was told.
    pub fn on_health(&mut self, now: Time, owner: Health, member: Option<(HostName, Health)>) {
        self.watch.hear(now, owner, member);
    }

    /// The process here says that `host` is the VM's backup from now on.
    pub fn on_protected(&mut self, vm: &VmName, host: &HostName, backoff: &mut Backoff) {
        backoff.succeed(vm, host);
        (self.lost, self.prepared, self.ordered) = (None, None, None);
    }

    /// The process here says that it has gone on without its backup at `host`, since `at`. `now`: nobody is
    /// blamed for it if it is no news (`None`).
    pub fn on_alone(
        &mut self,
        now: Option<Now>,
        (vm, host): (&VmName, &HostName),
        (at, why): (Wall, SuspicionWord),
        backoff: &mut Backoff,
    ) {
        if let Some(now) = now {
            let blame = match why {
                SuspicionWord::Slow => Some("was too slow"),
                SuspicionWord::Diverged | SuspicionWord::Garbage => {
                    Some("computed something else than the primary")
                }
                _ => None,
            };
            if let Some(blame) = blame {
                backoff.shun(now, vm, host, blame);
            }
        }
        (self.prepared, self.ordered) = (None, None);
        self.lost = Some(Lost {
            host: Some(host.clone()),
            at,
            how: Loss::Suspected(why),
        });
    }

    /// The process here says that it has taken the VM over from `from`, at this time.
    pub fn on_takeover(&mut self, at: Wall, from: Option<HostName>) {
        self.lost = Some(Lost {
            host: from,
            at,
            how: Loss::TookOver,
        });
    }

    /// The process here says that the one at `host` does not become the backup. A host that cannot be called
    /// is asked again soon. One to which the copying failed is shunned, unless it is gone: then it is judged
    /// anew when it comes back. `phase`: how far the clone was, as was seen last; `None`: it was not seen.
    pub fn on_failed_clone(
        &mut self,
        now: Now,
        (vm, host): (&VmName, &HostName),
        (phase, why): (Option<PhaseWord>, &str),
        backoff: &mut Backoff,
    ) {
        match phase {
            Some(PhaseWord::Copying | PhaseWord::CatchingUp | PhaseWord::Arming) => {
                backoff.shun(now, vm, host, &format!("did not become the backup: {why}"));
            }
            None | Some(PhaseWord::Connecting) => backoff.fail(now, vm, host, why),
        }
        (self.prepared, self.ordered) = (None, None);
    }

    /// The process here says that the VM's sides have changed their roles.
    pub fn on_handed_over(&mut self) {
        (self.not_handed_over, self.ordered, self.lost) = (None, None, None);
    }

    /// The process here says why the VM was not handed over, or why it will not be.
    pub fn on_not_handed_over(&mut self, now: Time, why: &str) {
        self.ordered = None;
        if let Some(to) = self.member.clone() {
            let before = self.not_handed_over.take().filter(|(before, _)| *before == to);
            let failures = Failures::another(before.map(|(_, failures)| failures), now, why);
            self.not_handed_over = Some((to, failures));
        }
    }

    /// A look at this time finds these processes of a VM. One that never ran (`has_run`) is not gone. What an
    /// earlier process was told, and what has failed with an earlier backup, is no matter any more.
    pub fn looks(&mut self, now: Time, views: &Views, has_run: bool) {
        let is_gone = !views.is_any() && has_run;
        self.gone_since = is_gone.then(|| self.gone_since.unwrap_or(now));
        let here = views.here.as_ref().map(|view| &view.process);
        let here = here.filter(|process| process.is_live());
        let live = here.map(|process| Live {
            number: process.number,
            epoch: process.epoch,
        });
        if self.live != live {
            (self.live, self.refused) = (live, None);
            self.ordered
                .take_if(|ordered| ordered.by.is_some() && ordered.by != self.live);
        }
        self.member = here.and_then(Process::member).cloned();
        self.not_handed_over
            .take_if(|(to, _)| self.member.as_ref() != Some(to));
    }

    /// What the planner looks at, with what the site's store and the arbiter say: how the VM came to have no
    /// process, the changes of its owner, and who owns it.
    #[must_use]
    pub fn seen(&self, views: Views, ended: Option<Ended>, swaps: Vec<Swap>, ownership: Ownership) -> Seen {
        Seen {
            here: views.here,
            elsewhere: views.elsewhere,
            member: views.member,
            ended,
            gone_since: self.gone_since,
            ownership,
            starting: self.starting,
            asking: self.asking.clone(),
            prepared: self.prepared.clone(),
            ordered: self.ordered.as_ref().map(|ordered| ordered.given),
            refused: self.refused.clone(),
            not_handed_over: self.not_handed_over.clone(),
            lost: self.lost.clone(),
            health: self.watch.clone(),
            swaps,
            is_fenced: false,
            outdone: None,
            amiss: Vec::new(),
            hang: Hang::default(),
        }
    }
}

/// Does a status show that this order is carried out, or under way so that the planner sees it?
fn shows(action: &Action, process: &Process) -> bool {
    match action {
        Action::Protect { .. } | Action::MoveBackup { .. } => process.clone.is_some(),
        Action::Dismiss => process.role == Some(RoleWord::Solo) && process.clone.is_none(),
        Action::HandOver { .. } => !process.is_live(),
        Action::Pause => process.is_paused,
        Action::Resume => !process.is_paused,
        _ => false,
    }
}
