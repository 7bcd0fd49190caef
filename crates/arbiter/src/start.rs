//! A start of a VM at an arbiter: nobody starts a VM whose owner may live.
//!
//! The start itself is a claim of the epoch after the last one, so of two starts that see the same end one
//! wins, and members of the ended epoch are excluded: the VM begins anew, with nothing of its memory.

use replica::{Claim, ClaimKind, Epoch, Verdict, VmName};

use crate::limits::STARTS_MAX;
use crate::{Arbiter, ArbiterError, Closing, Record};

/// What a start does about an owner that has surely ended, before it takes the VM for nobody's.
pub type Wait<'a> = &'a mut dyn FnMut(&Record);
type Started = Result<Epoch, ArbiterError>;

/// Looks who owns the VM, before `owner` starts it; the last epoch, which is over (0: none was claimed).
///
/// An owner that was killed, or whose host was started anew, has not said that it has ended. `wait` is called
/// once for each such owner, and gives the members of its epoch time to claim the next one. That one's owner
/// may have ended too when `wait` returns, and its members get their time as well. Then the record is closed.
///
/// # Errors
/// Somebody owns the VM who may live, or the arbiter cannot be reached.
pub fn clear(arbiter: &mut dyn Arbiter, vm: &VmName, owner: u128, wait: Wait<'_>) -> Started {
    let mut waited = Epoch(0);
    for _ in 0..STARTS_MAX {
        let last = match arbiter.last(vm)? {
            None => return Ok(Epoch(0)),
            Some(last) if last.closed.is_some() || last.owner == owner => return Ok(last.epoch),
            Some(last) => last,
        };
        if !last.has_surely_ended() {
            return Err(ArbiterError::Open {
                vm: vm.to_string(),
                epoch: last.epoch.0,
                whereabouts: last.whereabouts(),
                flag: arbiter.flag(),
            });
        }
        if waited == last.epoch {
            arbiter.close(vm, last.epoch, last.owner, &Closing::Gone)?;
            return Ok(last.epoch);
        }
        wait(&last);
        waited = last.epoch;
    }
    Err(over_and_over(vm))
}

/// Wins an epoch for a start by `owner`: the first after the last one, which must be closed. `wait` as for
/// [`clear`].
///
/// # Errors
/// As those of [`clear`].
pub fn begin(arbiter: &mut dyn Arbiter, vm: &VmName, owner: u128, wait: Wait<'_>) -> Started {
    for _ in 0..STARTS_MAX {
        let epoch = clear(arbiter, vm, owner, wait)?.next();
        let claim = Claim {
            epoch,
            owner,
            after: None,
            heirs: Vec::new(),
            kind: ClaimKind::Start,
        };
        let answer = arbiter.claim(vm, &claim);
        match answer.verdict {
            Verdict::Won => return Ok(epoch),
            // Somebody was faster: the next look says who, unless it has ended already.
            Verdict::Lost { .. } => {}
            Verdict::Unreachable => {
                return Err(ArbiterError::Unreachable(answer.reason.unwrap_or_default()));
            }
        }
    }
    Err(over_and_over(vm))
}

fn over_and_over(vm: &VmName) -> ArbiterError {
    ArbiterError::Unreachable(format!("'{vm}' is started and ended elsewhere, over and over"))
}
