//! `Mutation`: deliberate breakages of the protocol, by which the simulator proves that it would notice them.
//!
//! A rule's code asks [`is`] whether it is to be broken. Only with the feature `mutations` can it ever be,
//! which nothing but `sim -- broken` and its tests switches on. Without it [`is`] is a constant `false` and
//! the compiler removes what hangs on it.

/// A rule of the protocol that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// FT 2.2-c: an output is released before its entry is acknowledged.
    ReleaseBeforeAck,
    /// An output is released though the lease is over.
    ReleaseWithoutLease,
    /// FT 2.3-e: a side goes live without asking the arbiter.
    LiveWithoutClaim,
    /// A backup goes on acknowledging while its claim is under way, and so renews the primary's lease.
    AckWhileClaiming,
    /// A backup claims before the primary's lease is over.
    ClaimTooEarly,
    /// A claim does not say who has the epoch before it, so any arbiter will do
    /// (docs/decisions/0057-a-claim-names-the-owner-before.md).
    ArbiterNotProven,
    /// FT 2.3-b: a backup goes live just before the last output of the log.
    DrainShort,
    /// FT 2.2-a: outputs that may not have left are not shown again.
    KeptNotShown,
    /// FT 3.4-c: pending disk requests are not issued again.
    NoReissue,
    /// A backup's answer to a heartbeat renews the lease, but the backup does not wait for that lease to end.
    BeatWithoutPromise,
    /// A primary says that it leaves, and goes on.
    LeaveAndStay,
    /// A backup believes a death notice of any process, and of any epoch.
    NoticeOfAnyone,
    /// A primary hands over though a request of it is at a disk.
    HandedOverUnquiet,
    /// A snapshot is taken though a request of the guest is at a disk.
    SnapshotUnquiet,
    /// A primary that has handed over does not keep the outputs that have not left.
    HeldNotKept,
    /// A process that has lost an epoch of which it is an heir gives up.
    HeirGivesUp,
    /// A process that has lost an epoch claims the next one though it is no heir.
    EverybodyIsHeir,
    /// A backup believes a death notice of its primary's process in another epoch.
    NoticeOfAnyEpoch,
    /// A backup takes the lease for void by a notice after which a write may still reach a disk.
    NoticeIsLeaseEnd,
    /// A page that is owed is overwritten after the cut without being kept.
    PageNotKept,
    /// A page is overwritten after the begin of a digest without being hashed as it was.
    PageNotHashed,
    /// A page that was written between two rounds is not owed for it.
    PageForgotten,
    /// An apprentice becomes a member as soon as it has the state, however far it is behind and whatever the
    /// arbiter says.
    GuardAtSealed,
    /// An apprentice that is no member claims when it suspects the owner, as a member does.
    ApprenticeClaims,
    /// The log from the cut on goes to an apprentice without the wishes for entropy that were open at the
    /// cut.
    EntropyNotTaken,
    /// The outputs of an apprentice's guest are counted from 0 instead of from the cut.
    OutputsRestart,
    /// A backup that has promised never to claim claims all the same.
    DismissedClaims,
    /// An owner shows outputs as before though the log says that there is a member.
    GuardedNotHeld,
    /// An owner holds outputs only from the member's first acknowledgement on, not from the entry on that
    /// makes it a member.
    HeldFromAck,
    /// An apprentice becomes a member while outputs of before its cut are held.
    GuardedWithHeldOutputs,
    /// A backup that is replaced is dismissed before the other one knows that it is a member.
    DismissedTooEarly,
    /// The arbiter's record names an heir that does not know yet that it is a member.
    HeirsUnproven,
    /// An output leaves once one of two backups has its entry.
    GateOfOne,
    /// The guest's clock begins anew at the cut.
    ClockNotTaken,
    /// The guest stands while its memory is copied.
    StandsWhileCopied,
    /// A clone takes over the guest without its pending disk requests.
    DiskNotTaken,
    /// A backup takes no notice of the mark by which the guest stands.
    PauseForgotten,
    /// A new member is not told that the guest has stood since before the cut.
    PauseNotTakenOver,
    /// FT 3.4-a: overlapping disk requests go to the disk together.
    DiskOverlap,
    /// A primary that calls again uses the epoch of its earlier call.
    EpochAgain,
    /// A primary that ends without a pair gives up what it has surely won, and not what it has asked for
    /// without an answer.
    DoubtForgotten,
    /// A backup builds its machine without the proof that both sides see the same arbiter and disks.
    BuiltUnproven,
    /// A primary begins once it has said `Start`, whatever the backup says.
    BegunBeforeReady,
}

#[cfg(feature = "mutations")]
thread_local! {
    static PRESENT: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Breaks this rule, or none, from now on in this thread.
#[cfg(feature = "mutations")]
pub fn set(mutation: Option<Mutation>) {
    PRESENT.set(mutation);
}

/// Is this rule broken?
#[inline]
#[must_use]
pub fn is(mutation: Mutation) -> bool {
    #[cfg(feature = "mutations")]
    return PRESENT.get() == Some(mutation);
    #[cfg(not(feature = "mutations"))]
    {
        let _ = mutation;
        false
    }
}
