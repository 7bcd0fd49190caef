//! A test of a VM's protection: a half of the VM is killed, as if its host had died, because somebody wants
//! to see what becomes of it. The agent of that half's host does it, at most once, in two looks: first it
//! writes down that the test is not cancelled any more, then it kills.
//!
//! Whether that is done is seen by the epoch alone: the half that is left has won the next one, so whatever
//! agent looks knows that nothing more is to be killed.

use crate::decision::{Action, Decision, Look};
use crate::operation::{Kind, Outcome};
use crate::vm::{Process, Protected};
use crate::why::Why;

/// The next step of a test for this process of the VM, which is a half of it; `None`: there is no test, or
/// the half was killed already.
pub(crate) fn step(look: &Look<'_>, process: &Process) -> Option<Decision> {
    let (host, epoch, is_owner) = match look.kind()? {
        Kind::TestFailover { from, epoch } => (from, *epoch, true),
        Kind::TestBackup { host, epoch } => (host, *epoch, false),
        _ => return None,
    };
    if process.epoch != epoch {
        return None;
    }
    if host != look.site.me || process.is_live() != is_owner {
        // The other half's agent kills it.
        return Some(Decision::wait(vec![Why::Ordered], None));
    }
    let is_decided = look.operation.is_some_and(|operation| operation.is_confirmed);
    Some(Decision::order(if is_decided {
        Action::Kill { epoch }
    } else {
        Action::Decide
    }))
}

/// How a test of this epoch has ended, as the owner's agent sees it; `None`: it goes on. `no_backup`: why the
/// VM has none.
pub(crate) fn outcome(
    look: &Look<'_>,
    process: &Process,
    epoch: u64,
    unwanted: impl Fn() -> Why,
    no_backup: impl Fn() -> Why,
) -> Option<Outcome> {
    let has_backup = process.member().is_some();
    let is_decided = look.operation.is_some_and(|operation| operation.is_confirmed);
    let failed = |why: Why| Some(Outcome::Failed(vec![why]));
    if look.vm.desired.protected != Protected::On {
        return failed(unwanted());
    }
    if process.epoch == epoch {
        return if has_backup { None } else { failed(no_backup()) };
    }
    // A half was lost before anybody killed one.
    if !is_decided {
        return failed(no_backup());
    }
    let is_settled = process.clone.is_none() && !process.is_dismissing && !process.is_swapping;
    (has_backup && is_settled).then_some(Outcome::Done)
}
