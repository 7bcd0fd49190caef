//! `Guest`: what the protocol needs of a machine, and how a guest lives by its log.
//!
//! `Machine` implements the trait (`computer`), and so does the simulator's toy. `record` injects what comes
//! from the world and appends it to the log, `replay` injects what stands in a log and `playback` a whole
//! file of it; nobody else may inject. `clock` is the guest's time of day, `outputs` tells which effects
//! others can see, `disks` the order of requests. The roles use all of these.
//!
//! Nothing here knows a peer, or decides whether an output may leave.

pub mod clock;
mod computer;
pub mod disks;
pub mod outputs;
pub mod playback;
pub mod record;
pub mod replay;

use crate::log::entry::Digest;
use machine::{Cut, Effect, Input, Step, Stop};

/// A deterministic computer: state is a function of the configuration and of the inputs at their steps.
pub trait Guest {
    /// Runs until `until`, an effect, or a wait; never past `until`. The answer says why it came back; when
    /// it was cut, running on gives what it would have given without.
    fn run(&mut self, until: Step, cut: &dyn Cut) -> Stop;
    /// Gives the guest an input at the present step. Only the recorder and the replayer call this.
    fn inject(&mut self, input: &Input);
    /// Takes out the next effect, in the order in which the guest caused them; `None`: there is none.
    fn take_effect(&mut self) -> Option<Effect>;
    /// The present step.
    fn now(&self) -> Step;
    /// `mtime` at the present step, in ticks of 100 ns.
    fn mtime(&self) -> u64;
    /// The digest at the present step.
    fn digest(&mut self) -> Digest;
    /// How many bytes of console input the guest takes now without losing any. Nothing but such an input
    /// makes it less.
    fn console_room(&self, port: u8) -> usize;
    /// Pages of memory that the last digest had to hash, which is what it costs.
    fn pages_hashed(&self) -> u64;
    /// The disk requests submitted and not completed, in order of submission (FT 3.4-c).
    fn pending_disk(&self) -> Vec<machine::DiskRequest>;
}
