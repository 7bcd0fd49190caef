//! The bounds of the searches: what may happen in each, and how often.

use crate::flaw::Flaw;
use crate::properties::{BACKUP_REPLACED, DECLINED, HEIR_TAKES_OVER, ROLES_SWAPPED};
use crate::properties::{MEMBER, OUTPUT, PROTECTION, SINGLE_PRIMARY, SURVIVAL, WHOLE};
use crate::rules::Model;
use crate::state::Budget;

/// A search.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// Its name.
    pub name: &'static str,
    /// What may happen.
    pub budget: Budget,
    /// Does `HandOver` promise not to claim for a while?
    pub hand_over_promises: bool,
    /// What it must come upon.
    pub sights: &'static [&'static str],
}

impl Scene {
    /// The model that is explored, without a flaw.
    #[must_use]
    pub fn model(&self) -> Model {
        Model {
            flaw: None,
            hand_over_promises: self.hand_over_promises,
            budget: self.budget,
        }
    }
}

/// Nothing happens.
const NOTHING: Budget = Budget {
    failures: 0,
    outputs: 0,
    joins: 0,
    drops: 0,
    dismissals: 0,
    hand_overs: 0,
};

/// A backup is replaced, and the old one is dismissed.
pub const DISMISS: Scene = Scene {
    name: "dismiss",
    sights: &[BACKUP_REPLACED],
    budget: Budget {
        failures: 1,
        outputs: 1,
        joins: 1,
        dismissals: 1,
        ..NOTHING
    },
    hand_over_promises: false,
};

/// A backup is replaced, and the old one is silent or thought to be.
pub const EXCLUDE: Scene = Scene {
    name: "exclude",
    sights: &[BACKUP_REPLACED, HEIR_TAKES_OVER],
    budget: Budget {
        failures: 1,
        outputs: 1,
        joins: 1,
        drops: 1,
        ..NOTHING
    },
    hand_over_promises: false,
};

/// Owner and backup change their roles, and change them again.
pub const HAND_OVER: Scene = Scene {
    name: "hand-over",
    sights: &[ROLES_SWAPPED, HEIR_TAKES_OVER, DECLINED],
    budget: Budget {
        failures: 2,
        outputs: 2,
        drops: 1,
        hand_overs: 2,
        ..NOTHING
    },
    hand_over_promises: false,
};

/// The same, where `HandOver` promises.
pub const HAND_OVER_PROMISES: Scene = Scene {
    name: "hand-over-promises",
    hand_over_promises: true,
    ..HAND_OVER
};

/// An owner hands over to one of two, of which the other is an apprentice or a member.
pub const HAND_OVER_OF_THREE: Scene = Scene {
    name: "hand-over-of-three",
    sights: &[HEIR_TAKES_OVER],
    budget: Budget {
        joins: 1,
        drops: 1,
        hand_overs: 1,
        ..NOTHING
    },
    hand_over_promises: false,
};

/// The searches of the tests.
pub const ALL: &[Scene] = &[
    DISMISS,
    EXCLUDE,
    HAND_OVER,
    HAND_OVER_PROMISES,
    HAND_OVER_OF_THREE,
];

/// Searches that take minutes.
pub const DEEP: &[Scene] = &[
    Scene {
        name: "deep-replace",
        sights: &[BACKUP_REPLACED, HEIR_TAKES_OVER],
        budget: Budget {
            failures: 2,
            outputs: 1,
            joins: 1,
            drops: 1,
            dismissals: 1,
            hand_overs: 0,
        },
        hand_over_promises: false,
    },
    Scene {
        name: "deep-outputs",
        sights: &[BACKUP_REPLACED, HEIR_TAKES_OVER],
        budget: Budget {
            failures: 1,
            outputs: 2,
            joins: 1,
            drops: 1,
            ..NOTHING
        },
        hand_over_promises: false,
    },
    Scene {
        name: "deep-hand-over",
        sights: &[ROLES_SWAPPED, HEIR_TAKES_OVER, DECLINED],
        budget: Budget {
            failures: 2,
            outputs: 3,
            drops: 2,
            hand_overs: 3,
            ..NOTHING
        },
        hand_over_promises: false,
    },
    Scene {
        name: "deep-promises",
        sights: &[ROLES_SWAPPED, HEIR_TAKES_OVER, DECLINED],
        budget: Budget {
            failures: 2,
            outputs: 3,
            drops: 2,
            hand_overs: 3,
            ..NOTHING
        },
        hand_over_promises: true,
    },
    Scene {
        name: "deep-three",
        sights: &[ROLES_SWAPPED, HEIR_TAKES_OVER, DECLINED],
        budget: Budget {
            failures: 1,
            outputs: 1,
            joins: 1,
            drops: 1,
            hand_overs: 1,
            ..NOTHING
        },
        hand_over_promises: false,
    },
];

/// The search that finds a flaw, and the rule that it breaks there.
#[must_use]
pub fn finds(flaw: Flaw) -> (Scene, &'static str) {
    match flaw {
        Flaw::LostHeirHalts | Flaw::HeirsUnproven => (EXCLUDE, SURVIVAL),
        Flaw::GuardedFromAck | Flaw::GateOfOne => (EXCLUDE, OUTPUT),
        Flaw::GuardedWithHeldOutputs => (EXCLUDE, WHOLE),
        Flaw::GuardedWhileAsking => (EXCLUDE, PROTECTION),
        Flaw::ApprenticeClaims => (EXCLUDE, MEMBER),
        Flaw::EveryLoserIsHeir
        | Flaw::ClaimTooEarly
        | Flaw::OwnerGoesOnAfterLost
        | Flaw::LeaseOfOne
        | Flaw::HeirsAsAsked => (EXCLUDE, SINGLE_PRIMARY),
        Flaw::DismissedClaims => (DISMISS, SINGLE_PRIMARY),
        Flaw::ShowsBeforeLease
        | Flaw::DeclinesAfterAsking
        | Flaw::WaiverOutlivesDeclined
        | Flaw::TakenWhileAsking => (HAND_OVER, SINGLE_PRIMARY),
        Flaw::HandsOverWhileAsking => (HAND_OVER_OF_THREE, SINGLE_PRIMARY),
    }
}
