//! `Step`: the only clock of the guest.
//!
//! A step is one instruction attempted, by any hart, trapped or not. Everything that happens to the guest
//! happens at a step; wall time exists only outside (docs/determinism.md).

/// Instructions attempted since reset, over all harts. Never wraps: at 10^9 steps a second, 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step(pub u64);

impl Step {
    /// A step that is never reached.
    pub const NEVER: Step = Step(u64::MAX);

    /// The step `count` steps later; saturates at [`Step::NEVER`].
    #[must_use]
    pub const fn after(self, count: u64) -> Step {
        Step(self.0.saturating_add(count))
    }

    /// Steps from `earlier` to `self`; 0 if `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Step) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
