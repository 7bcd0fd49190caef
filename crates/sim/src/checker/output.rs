//! What the outside sees is one uninterrupted run (FT 2.2-a).
//!
//! The outputs of all processes are merged into one sequence, and only what one uninterrupted run could have
//! shown is accepted, however many processes show it one after another. A process that goes live may show
//! again what its predecessor perhaps did not (FT 2.2-e); it may never skip an output, never show another one
//! under the same number, and never go back once it goes forward.

use std::collections::BTreeMap;

use toy_outside::names::ProcessId;

use crate::checker::{Check, Violation, ensure};

/// The sequence seen so far.
#[derive(Debug, Default)]
pub struct Outputs {
    /// A hash of each output; output number n is at place n - 1.
    seen: Vec<u64>,
    /// By process: the number of the output that it must show next. A process that has shown nothing yet is
    /// not there.
    next: BTreeMap<ProcessId, u64>,
    /// The number of the output that is the power-off; `None`: the guest was not seen to switch itself off.
    off: Option<u64>,
    /// How many outputs were shown more than once.
    repeated: u64,
}

impl Outputs {
    /// `who` shows output `number` of its guest's life. `own` is the hash of what its guest produced under
    /// that number.
    ///
    /// # Errors
    /// If one uninterrupted run cannot have shown this.
    pub fn on_release(
        &mut self,
        who: ProcessId,
        number: u64,
        hash: u64,
        own: Option<u64>,
        is_off: bool,
    ) -> Result<(), Violation> {
        let count = self.seen.len() as u64;
        ensure(own == Some(hash), Check::Output, || {
            format!("{who} shows output {number} with a content that its guest did not give it")
        })?;
        let next = self.next.insert(who, number + 1);
        ensure(next.is_none_or(|next| next == number), Check::Output, || {
            format!("{who} shows output {number} where {} is next", next.unwrap_or(0))
        })?;
        ensure(number <= count + 1, Check::Output, || {
            format!("loss: {who} shows output {number}, but only {count} were ever seen")
        })?;
        ensure(self.off.is_none_or(|off| number <= off), Check::Output, || {
            format!("{who} shows output {number} though the guest was switched off before")
        })?;
        if number == count + 1 {
            self.seen.push(hash);
        } else {
            self.repeated += 1;
            let before = self.seen[number as usize - 1];
            ensure(before == hash, Check::Output, || {
                format!("contradiction: {who} shows another output {number} than was seen before")
            })?;
        }
        if is_off {
            self.off = Some(number);
        }
        Ok(())
    }

    /// `who` is not live any more. If it ever is again, it may begin anywhere, as any survivor may.
    pub fn on_stand_by(&mut self, who: ProcessId) {
        self.next.remove(&who);
    }

    /// All outputs seen, without repetitions.
    #[must_use]
    pub fn seen(&self) -> &[u64] {
        &self.seen
    }

    /// How many outputs were shown more than once.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Was the guest seen to switch itself off?
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.off.is_some()
    }
}
