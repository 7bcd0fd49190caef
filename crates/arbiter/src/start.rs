//! A start of a VM at an arbiter: nobody starts a VM whose owner may live.
//!
//! The start itself is a claim of the epoch after the last one, so of two starts that see the same end one
//! wins, and members of the ended epoch are excluded: the VM begins anew, with nothing of its memory.

use replica::{Claim, ClaimKind, Epoch, Verdict, VmName};

use crate::limits::STARTS_MAX;
use crate::record::{Closing, Record};
use crate::{Arbiter, ArbiterError};

/// What a look before a start has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nobody owns the VM; this is the last epoch that was claimed, 0 if none was.
    Free(Epoch),
    /// The owner of this record has surely ended, and has not said so: its process was killed, or its host
    /// was started anew. A member of its epoch may be about to go on with the VM.
    Ended(Box<Record>),
}

/// Looks who owns the VM, before `owner` starts it. Changes nothing.
///
/// # Errors
/// Somebody owns it who may live, or the arbiter cannot be reached.
pub fn look(arbiter: &mut dyn Arbiter, vm: &VmName, owner: u128) -> Result<Found, ArbiterError> {
    match arbiter.last(vm)? {
        None => Ok(Found::Free(Epoch(0))),
        Some(last) if last.closed.is_some() || last.owner == owner => Ok(Found::Free(last.epoch)),
        Some(last) if last.has_surely_ended() => Ok(Found::Ended(Box::new(last))),
        Some(last) => Err(ArbiterError::Open {
            vm: vm.to_string(),
            epoch: last.epoch.0,
            whereabouts: last.whereabouts(),
            flag: arbiter.flag(),
        }),
    }
}

/// As [`look`], and closes a record whose owner has surely ended. The epoch is the last one.
///
/// # Errors
/// As those of [`look`].
pub fn clear(arbiter: &mut dyn Arbiter, vm: &VmName, owner: u128) -> Result<Epoch, ArbiterError> {
    match look(arbiter, vm, owner)? {
        Found::Free(epoch) => Ok(epoch),
        Found::Ended(last) => {
            arbiter.close(vm, last.epoch, last.owner, &Closing::Gone)?;
            Ok(last.epoch)
        }
    }
}

/// Wins an epoch for a start by `owner`: the first after the last one, which must be closed.
///
/// # Errors
/// As those of [`look`].
pub fn begin(arbiter: &mut dyn Arbiter, vm: &VmName, owner: u128) -> Result<Epoch, ArbiterError> {
    for _ in 0..STARTS_MAX {
        let epoch = clear(arbiter, vm, owner)?.next();
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
    Err(ArbiterError::Unreachable(format!(
        "'{vm}' is started and ended elsewhere, over and over"
    )))
}
