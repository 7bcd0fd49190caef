//! A test of a VM's protection: a half of the VM is killed, as if its host had died, because somebody wants
//! to see what becomes of it. The agent of that half's host does it, at most once, in two looks: first it
//! writes down that the test is not cancelled any more, then it kills. It does neither unless it sees the
//! other half well: what is killed must not be all that is left of the VM.
//!
//! Whether that is done is seen by the epoch alone: the half that is left has won the next one, so whatever
//! agent looks knows that nothing more is to be killed.

use report::{RoleWord, StateWord};

use crate::action::Action;
use crate::decision::{Decision, Look};
use crate::host::{self, HostName};
use crate::limits::{DECIDE_PATIENCE, STALE_REMOTE};
use crate::operation::{Kind, Outcome};
use crate::swap;
use crate::vm::{Process, Protected, View};
use crate::why::{Why, told};

/// The half that a test kills.
#[derive(Clone, Copy)]
pub(crate) struct Half<'a> {
    /// The host where it was when the test began.
    host: &'a HostName,
    /// The VM's epoch then.
    epoch: u64,
    is_owner: bool,
}

/// The half that an operation of this kind kills; `None`: it is no test.
pub(crate) fn half(kind: &Kind) -> Option<Half<'_>> {
    let (host, epoch, is_owner) = match kind {
        Kind::TestFailover { from, epoch } => (from, *epoch, true),
        Kind::TestBackup { host, epoch } => (host, *epoch, false),
        _ => return None,
    };
    Some(Half {
        host,
        epoch,
        is_owner,
    })
}

/// The next step of a test for this process of the VM, which is a half of it; `None`: there is no test, or
/// the half was killed already.
pub(crate) fn step(look: &Look<'_>, process: &Process) -> Option<Decision> {
    let half = half(look.kind()?)?;
    if process.epoch != half.epoch {
        return None;
    }
    if half.host != look.site.me || process.is_live() != half.is_owner {
        // The other half's agent kills it.
        return Some(Decision::wait(vec![Why::Ordered], None));
    }
    let obstacle = if half.is_owner {
        no_guard(look, process)
    } else {
        no_owner(look, process)
    };
    Some(match obstacle {
        Some(why) => Decision::wait(vec![why], None),
        None if is_decided(look) => Decision::order(Action::Kill { epoch: half.epoch }),
        None => Decision::order(Action::Decide),
    })
}

/// How the test of this half has ended, as the owner's agent sees it; `None`: it goes on. `no_backup`: why
/// the VM has none.
pub(crate) fn outcome(
    look: &Look<'_>,
    process: &Process,
    half: Half<'_>,
    unwanted: impl Fn() -> Why,
    no_backup: impl Fn() -> Why,
) -> Option<Outcome> {
    let failed = |why: Why| Some(Outcome::Failed(vec![why]));
    if look.vm.desired.protected != Protected::On {
        return failed(unwanted());
    }
    if process.epoch <= half.epoch {
        let Some(member) = process.member() else {
            return failed(no_backup());
        };
        return comes_to_nothing(look, process, half, member).and_then(failed);
    }
    // A half was lost before anybody killed one.
    if !is_decided(look) {
        return failed(no_backup());
    }
    if let Some(why) = is_another(look, process, half) {
        return failed(why);
    }
    let is_settled = process.clone.is_none() && !process.is_dismissing && !process.is_swapping;
    (process.member().is_some() && is_settled).then_some(Outcome::Done)
}

fn is_decided(look: &Look<'_>) -> bool {
    look.operation.is_some_and(|operation| operation.is_confirmed)
}

/// Why nobody will be killed for a test, so that nothing waits for it; `None`: somebody may be soon. Who was
/// not killed soon after that was decided is not killed minutes later.
fn comes_to_nothing(look: &Look<'_>, process: &Process, half: Half<'_>, member: &HostName) -> Option<Why> {
    let place = if half.is_owner { look.site.me } else { member };
    if half.host != place {
        let sentence = format!("the half that was to be killed is on {place} by now");
        return Some(void(sentence));
    }
    let began = look.operation.map_or(look.now.wall, |operation| operation.since);
    let (what, times) = match is_decided(look) {
        false => ("decided on the test", 1),
        true => ("killed the half there", 2),
    };
    let is_late = look.now.since_wall(began).0 > times * DECIDE_PATIENCE.0;
    let late = || void(format!("the agent of {place} has not {what} in time"));
    match no_guard(look, process) {
        // That it was heard and is silent by now is no matter of time.
        Some(why @ Why::HostSilent { age: Some(_), .. }) if !is_decided(look) => Some(why),
        Some(why) => is_late.then_some(why),
        None => is_late.then(late),
    }
}

/// Why the process that is live in a later epoch is not the half that the test was to leave; `None`: it is,
/// or its release does not tell.
fn is_another(look: &Look<'_>, process: &Process, half: Half<'_>) -> Option<Why> {
    let (name, me) = (look.vm.name(), look.site.me);
    let sentence = if half.host == me {
        format!("{name} runs on {me}, where a half was to be killed: the other one has not gone on")
    } else {
        let first = process.first_epoch.filter(|first| *first > half.epoch)?;
        format!("{name} was started anew in epoch {first}, and no half has gone on")
    };
    Some(void(sentence))
}

/// Why a test ends without a result.
fn void(sentence: String) -> Why {
    told("test-void", &sentence)
}

/// Why the owner, whose process this is, may not be killed: its backup is not seen to guard; `None`: it is.
fn no_guard(look: &Look<'_>, process: &Process) -> Option<Why> {
    let Some(member) = process.member() else {
        return Some(Why::Ordered);
    };
    if swap::is_silent(look, member) {
        return Some(silent(look, member, None));
    }
    let guards = |view: &View| {
        let is_it = view.host == *member && view.process.role == Some(RoleWord::Backup);
        is_it && view.process.epoch == process.epoch && view.age <= STALE_REMOTE
    };
    let is_guarded = process.protection.state == StateWord::Protected;
    let is_seen = look.vm.seen.member.as_ref().is_some_and(guards);
    let name = look.vm.name();
    let unseen = || void(format!("the backup on {member} is not seen to guard {name}"));
    (!is_guarded || !is_seen).then(unseen)
}

/// Why the backup, whose process this is, may not be killed: its owner is not seen to live with it; `None`:
/// it is.
fn no_owner(look: &Look<'_>, process: &Process) -> Option<Why> {
    let owner = look.vm.seen.elsewhere.as_ref();
    let lives = |view: &&View| {
        let counts = view.process.is_live() && view.process.member() == Some(look.site.me);
        counts && view.process.epoch == process.epoch && view.age <= STALE_REMOTE
    };
    if owner.filter(lives).is_some() {
        return None;
    }
    let host = process.peer.as_ref().unwrap_or(&look.vm.need.owner);
    Some(silent(look, host, owner))
}

fn silent(look: &Look<'_>, host: &HostName, view: Option<&View>) -> Why {
    let heard = host::find(look.site.hosts, host).and_then(|host| host.age(look.now));
    let age = view.filter(|view| view.host == *host).map(|view| view.age);
    Why::HostSilent {
        host: host.clone(),
        age: age.or(heard),
    }
}
