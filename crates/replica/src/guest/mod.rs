//! `Guest`: what the protocol needs of a machine, and how a guest lives by its log.
//!
//! `Machine` implements the trait (`computer`), and so does the simulator's toy. `record` injects what comes
//! from the world and appends it to the log, which `framing` makes frames of, `replay` injects what stands in
//! a log and `playback` a whole file of it; nobody else may inject. `clock` is the guest's time of day,
//! `outputs` tells which effects others can see, `disks` the order of requests, `digests` when the log gets a
//! digest. The roles use all of these.
//!
//! Nothing here knows a peer, or decides whether an output may leave.

pub mod clock;
mod computer;
pub mod digests;
pub mod disks;
pub mod framing;
pub mod outputs;
pub mod playback;
pub mod record;
pub mod replay;

use machine::{Batch, Copied, Cut, Effect, Input, PageContent, Step, Stop};
use vmlog::entry::Digest;

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
    /// For how long a timer interrupt has been due that the guest holds off, in ticks of 100 ns of its time.
    fn timer_late(&self) -> u64;
    /// The digest at the present step. One that has begun goes on.
    fn digest(&mut self) -> Digest;
    /// How many pages of memory a digest would hash now, at most.
    fn pages_to_hash(&self) -> u32;
    /// Begins a digest of the state at the present step, between two runs. One that had begun is dropped.
    fn begin_digest(&mut self);
    /// Hashes at most `budget` pages of the digest that has begun, and ends it if none is left: gives the
    /// digest at the step of its begin. `None`: some are left, or none has begun.
    fn hash_some(&mut self, budget: u32) -> Option<Digest>;
    /// How many bytes of console input the guest takes now without losing any. Nothing but such an input
    /// makes it less.
    fn console_room(&self, port: u8) -> usize;
    /// Pages of memory that the last digest had to hash, which is what it costs.
    fn pages_hashed(&self) -> u64;
    /// The disk requests submitted and not completed, in order of submission (FT 3.4-c).
    fn pending_disk(&self) -> Vec<machine::DiskRequest>;

    /// Bytes of a page of memory.
    const PAGE: usize;
    /// How many pages of memory there are.
    fn pages(&self) -> u32;
    /// Begins a round of a clone, between two runs: what was written since the last round is owed again. The
    /// first call begins the clone. Gives how many pages are owed.
    fn begin_round(&mut self) -> u32;
    /// How many pages are owed: neither copied since they were last written, nor never written.
    fn owed(&self) -> u32;
    /// Copies at most `max` owed pages to the end of `batch`.
    fn copy_owed(&mut self, batch: &mut Batch, max: u32) -> Copied;
    /// The cut: gives the state of everything but memory. From here on the pages that are owed are kept as
    /// they are now, in at most `room` pages more.
    ///
    /// # Errors
    /// The host has no memory for that; nothing has changed.
    fn freeze(&mut self, room: u32) -> Result<Vec<u8>, String>;
    /// How many more pages may be kept; `u32::MAX`: none need be. Below
    /// [`crate::limits::FROZEN_RESERVE`] the guest must not run or get an input.
    fn frozen_room(&self) -> u32;
    /// Ends the clone, in whatever phase it is.
    fn thaw(&mut self);
    /// Writes a page as it came from another replica.
    ///
    /// # Errors
    /// There is no such page.
    fn place(&mut self, page: u32, content: PageContent<'_>) -> Result<(), String>;
    /// Takes over the state of everything but memory, as [`Guest::freeze`] gave it.
    ///
    /// # Errors
    /// The bytes are no state of this guest.
    fn adopt(&mut self, state: &[u8]) -> Result<(), String>;
    /// The guest's wishes for entropy that have no answer, in order.
    fn pending_entropy(&self) -> Vec<u32>;
}
