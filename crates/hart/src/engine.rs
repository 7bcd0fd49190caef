//! `Engine`: the seam between the machine and whatever executes instructions.
//!
//! `Machine::run` (crate `machine`) calls [`Engine::run`] each time that it lets a hart execute: at least
//! once for each turn of a hart, and so many times in one slice of a replica's node.
//! [`Interpreter`](crate::Interpreter) is an engine, and [`Sampler`](crate::profile::Sampler) one around
//! another engine.
//!
//! An engine holds caches, never guest state: dropping it, or [`Engine::forget`] at any moment, cannot be
//! observed by the guest (docs/determinism.md).

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
    /// The host asked for a stop through [`Cut`], or the pages that RAM keeps as they were have nearly used
    /// up their pool ([`Ram::steps_allowed`]). Never visible to the guest: it may run on exactly here.
    Cut,
}

/// The result of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// How many steps were executed; never more than the budget.
    pub steps: u64,
    /// Why the run ended.
    pub reason: Reason,
}

/// Says whether the host wants a run to end soon, at any block edge. Asked every few ten thousand steps;
/// affects when a run returns, never what the guest computes.
pub trait Cut {
    /// Does the host want the run to end now?
    fn is_wanted(&self) -> bool;
}

/// A flag that another thread sets.
impl Cut for AtomicBool {
    fn is_wanted(&self) -> bool {
        self.load(Ordering::Relaxed)
    }
}

/// What a hart runs in: everything outside it that a run needs.
pub struct Environment<'a> {
    /// Guest memory.
    pub ram: &'a mut Ram,
    /// Everything else that has a physical address.
    pub bus: &'a mut dyn Bus,
    /// The step at which the run starts: how many were completed before it.
    pub now: Step,
    /// Asked now and then whether the run shall end soon.
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

    /// Drops every cache, which the guest cannot observe.
    fn forget(&mut self);
}
