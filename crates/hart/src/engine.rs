//! `Engine`: whatever executes instructions. The seam between interpreter and translators.
//!
//! An engine holds caches, never guest state: dropping it, or [`Engine::forget`] at any moment, cannot be
//! observed by the guest (docs/determinism.md). It is called once per slice.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Bus, Ram, Step, hart::Hart};

/// Why [`Engine::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The budget is used up.
    Budget,
    /// The hart executed WFI and nothing is pending: `hart.waiting` is set.
    Wait,
    /// The machine must look before the next instruction: the bus asked for attention, or the hart moved
    /// its own timer (`stimecmp`, or anything that can change when a timer interrupt is due).
    Attention,
    /// The host asked for a stop through [`Cut`]. Never visible to the guest: it may run on exactly
    /// here.
    Cut,
}

/// The result of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Steps executed; never more than the budget.
    pub steps: u64,
    /// Why it stopped.
    pub reason: Reason,
}

/// Whether the host wants a run to end soon, at any block edge. Asked every few thousand steps; affects when
/// a run returns, never what the guest computes.
pub trait Cut {
    /// Does it, now?
    fn is_wanted(&self) -> bool;
}

/// Set by another thread.
impl Cut for AtomicBool {
    fn is_wanted(&self) -> bool {
        self.load(Ordering::Relaxed)
    }
}

/// What one run needs from the machine.
pub struct Environment<'a> {
    /// Guest memory.
    pub ram: &'a mut Ram,
    /// Everything else.
    pub bus: &'a mut dyn Bus,
    /// Steps completed when the run starts.
    pub now: Step,
    /// Whether the run shall end soon.
    pub cut: &'a dyn Cut,
}

/// Executes instructions of the harts of one machine, one at a time.
///
/// All harts of a machine run on the same engine: a store by one must reach what was derived for another.
/// An engine may be replaced at any moment; one that has been away, while another ran on the same RAM, must
/// [`Engine::forget`] before it runs again.
pub trait Engine {
    /// Runs `hart` for at most `budget` steps (at least 1). Takes pending enabled interrupts first; taking
    /// an interrupt costs no step. An instruction that traps costs its step like any other.
    ///
    /// For every k: `run(k)` then `run(n - k)` leaves the same state as `run(n)`.
    fn run(&mut self, hart: &mut Hart, environment: Environment<'_>, budget: u64) -> Exit;

    /// Drops every cache. Unobservable.
    fn forget(&mut self);
}
