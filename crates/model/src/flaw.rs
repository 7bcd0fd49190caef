//! The flaws: rules that are left out or wrong, one at a time. The search must find what each leads to.

/// A wrong rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Whoever loses a claim halts, though the winner has named it.
    LostHeirHalts,
    /// Whoever loses a claim asks for the epoch after it, though the winner has not named it.
    EveryLoserIsHeir,
    /// Outputs wait for a new member from its acknowledgement of `Guarded` on, and not from the entry on.
    GuardedFromAck,
    /// A new member is taken while outputs of before its cut are held.
    GuardedWithHeldOutputs,
    /// A new member is taken while the owner asks for the next epoch, and kept when that epoch is won.
    GuardedWhileAsking,
    /// A member that has promised never to claim does.
    DismissedClaims,
    /// A process that is no member yet claims.
    ApprenticeClaims,
    /// A member claims before the time is over for which it has promised not to.
    ClaimTooEarly,
    /// An owner that has lost the next epoch goes on as if it had excluded the member.
    OwnerGoesOnAfterLost,
    /// An output waits for one member and not for all.
    GateOfOne,
    /// An owner shows while one lease runs and others do not.
    LeaseOfOne,
    /// An owner names members as heirs of whom it does not know that they have `Guarded`.
    HeirsUnproven,
    /// A winner takes the heirs that it has asked for last, and not those in the arbiter's record.
    HeirsAsAsked,
    /// A new owner shows what it has kept before its heir has answered: "GoLive, show, `Taken`".
    ShowsBeforeLease,
    /// A member declines a hand-over after it has asked.
    DeclinesAfterAsking,
    /// A member that has declined still claims as if nobody could show.
    WaiverOutlivesDeclined,
    /// A former owner that asks takes `Taken`, and becomes the backup.
    TakenWhileAsking,
    /// An owner hands over while it has asked for the next epoch itself, and goes on if it wins.
    HandsOverWhileAsking,
}

/// All of them.
pub const ALL: [Flaw; 18] = [
    Flaw::LostHeirHalts,
    Flaw::EveryLoserIsHeir,
    Flaw::GuardedFromAck,
    Flaw::GuardedWithHeldOutputs,
    Flaw::GuardedWhileAsking,
    Flaw::DismissedClaims,
    Flaw::ApprenticeClaims,
    Flaw::ClaimTooEarly,
    Flaw::OwnerGoesOnAfterLost,
    Flaw::GateOfOne,
    Flaw::LeaseOfOne,
    Flaw::HeirsUnproven,
    Flaw::HeirsAsAsked,
    Flaw::ShowsBeforeLease,
    Flaw::DeclinesAfterAsking,
    Flaw::WaiverOutlivesDeclined,
    Flaw::TakenWhileAsking,
    Flaw::HandsOverWhileAsking,
];
