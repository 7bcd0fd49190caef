//! `Witness`: a guest and what can be seen of its life from outside: whether its kernel has panicked, whether
//! its plug was pulled, and which disks were enlarged. The drive loop asks it.
//!
//! It stands around the guest of each replica and passes every call on. It looks at what the guest writes to
//! its console when the guest runs, not when that is shown; so a backup has seen what its primary has seen,
//! and a survivor knows of a panic that happened just before its peer died. It must never change anything:
//! what is done about a panic enters the guest as an input, through the log, like all else.

use std::collections::BTreeMap;

use machine::{Batch, Control, Copied, Cut, DiskRequest, Effect, Input, PageContent, Step, Stop};
use replica::Guest;
use replica::log::entry::Digest;

use crate::limits::CONSOLE_LINE_MAX;

/// What Linux writes to its console when it panics, and once more when it has written all that it has to say.
const PANIC: &[u8] = b"Kernel panic - not syncing";
/// What stands before [`PANIC`] in the last line of a kernel that stays as it is.
const END: &[u8] = b"---[ end ";

/// A guest that is watched.
#[derive(Debug)]
pub struct Witness<G> {
    guest: G,
    panic: PanicWatch,
    unplugged: bool,
    /// The sectors that the guest was last told of disks, by the numbers of those whose size was told.
    sizes: BTreeMap<u8, u64>,
    /// How often the guest was told a size.
    sizes_told: u64,
}

/// What the console has said of a panic.
#[derive(Debug, Default)]
struct PanicWatch {
    /// The line that the guest writes at present, as far as it is kept.
    line: Vec<u8>,
    /// How many panics there were.
    count: u64,
    /// What the kernel said of the last one; `None`: none since the guest was reset.
    said: Option<String>,
    /// Has the kernel said that this was all?
    ended: bool,
}

impl<G: Guest> Witness<G> {
    /// A witness of this guest's life from here on.
    pub fn new(guest: G) -> Witness<G> {
        Witness {
            guest,
            panic: PanicWatch::default(),
            unplugged: false,
            sizes: BTreeMap::new(),
            sizes_told: 0,
        }
    }

    /// The sectors that the guest was last told of disks, by their numbers.
    pub fn sizes(&self) -> impl Iterator<Item = (u8, u64)> {
        self.sizes.iter().map(|(disk, sectors)| (*disk, *sectors))
    }

    /// How often the guest was told the size of a disk.
    #[must_use]
    pub fn sizes_told(&self) -> u64 {
        self.sizes_told
    }

    /// How many panics of its kernel the guest has written to its console.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panic.count
    }

    /// What the kernel said of its last panic; `None`: there was none since the guest was reset from outside.
    #[must_use]
    pub fn panic(&self) -> Option<&str> {
        self.panic.said.as_deref()
    }

    /// Has a panicked kernel said all that it has to say, and does it stay as it is?
    #[must_use]
    pub fn stands_in_panic(&self) -> bool {
        self.panic.said.is_some() && self.panic.ended
    }

    /// Was the guest switched off from outside?
    #[must_use]
    pub fn is_unplugged(&self) -> bool {
        self.unplugged
    }
}

impl PanicWatch {
    /// Takes what the guest has written.
    fn look(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.end_of_line();
            } else if self.line.len() < CONSOLE_LINE_MAX {
                self.line.push(byte);
            }
        }
    }

    fn end_of_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let Some(at) = line.windows(PANIC.len()).position(|part| part == PANIC) else {
            return;
        };
        if line[..at].ends_with(END) {
            self.ended = true;
            return;
        }
        self.count += 1;
        self.ended = false;
        // What a guest writes ends up in a terminal and a log: nothing in it may be more than text.
        let text = String::from_utf8_lossy(&line[at..]);
        let text = text.trim_end();
        self.said = Some(
            text.chars()
                .map(|sign| if sign.is_control() { '?' } else { sign })
                .collect(),
        );
    }
}

impl<G: Guest> Guest for Witness<G> {
    fn run(&mut self, until: Step, cut: &dyn Cut) -> Stop {
        self.guest.run(until, cut)
    }

    fn inject(&mut self, input: &Input) {
        match input {
            Input::Control(Control::PowerOff) => self.unplugged = true,
            Input::Control(Control::Reset) => self.panic.said = None,
            Input::DiskSize { disk, sectors } => {
                self.sizes.insert(*disk, *sectors);
                self.sizes_told += 1;
            }
            _ => {}
        }
        self.guest.inject(input);
    }

    fn console_room(&self, port: u8) -> usize {
        self.guest.console_room(port)
    }

    fn take_effect(&mut self) -> Option<Effect> {
        let effect = self.guest.take_effect();
        if let Some(Effect::ConsoleWrite { bytes, .. }) = &effect {
            self.panic.look(bytes);
        }
        effect
    }

    fn now(&self) -> Step {
        self.guest.now()
    }

    fn mtime(&self) -> u64 {
        self.guest.mtime()
    }

    fn timer_late(&self) -> u64 {
        self.guest.timer_late()
    }

    fn digest(&mut self) -> Digest {
        self.guest.digest()
    }

    fn pages_to_hash(&self) -> u32 {
        self.guest.pages_to_hash()
    }

    fn begin_digest(&mut self) {
        self.guest.begin_digest();
    }

    fn hash_some(&mut self, budget: u32) -> Option<Digest> {
        self.guest.hash_some(budget)
    }

    fn pages_hashed(&self) -> u64 {
        self.guest.pages_hashed()
    }

    fn pending_disk(&self) -> Vec<DiskRequest> {
        self.guest.pending_disk()
    }

    const PAGE: usize = G::PAGE;

    fn pages(&self) -> u32 {
        self.guest.pages()
    }

    fn begin_round(&mut self) -> u32 {
        self.guest.begin_round()
    }

    fn owed(&self) -> u32 {
        self.guest.owed()
    }

    fn copy_owed(&mut self, batch: &mut Batch, max: u32) -> Copied {
        self.guest.copy_owed(batch, max)
    }

    fn freeze(&mut self, room: u32) -> Result<Vec<u8>, String> {
        self.guest.freeze(room)
    }

    fn frozen_room(&self) -> u32 {
        self.guest.frozen_room()
    }

    fn thaw(&mut self) {
        self.guest.thaw();
    }

    fn place(&mut self, page: u32, content: PageContent<'_>) -> Result<(), String> {
        self.guest.place(page, content)
    }

    fn adopt(&mut self, state: &[u8]) -> Result<(), String> {
        self.guest.adopt(state)
    }

    fn pending_entropy(&self) -> Vec<u32> {
        self.guest.pending_entropy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_line_of_the_kernel_and_its_end_another() {
        let mut watch = PanicWatch::default();
        watch.look(b"[    0.4] VFS: Cannot open root device\r\n[    0.5] Kernel panic - not");
        assert_eq!(watch.said, None);
        watch.look(b" syncing: VFS: Unable to mount\x1b root fs\r\n");
        assert_eq!(
            watch.said.as_deref(),
            Some("Kernel panic - not syncing: VFS: Unable to mount? root fs")
        );
        assert!(!watch.ended);
        watch.look(b"[    0.6] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs ]---\n");
        assert!(watch.ended);
        assert_eq!(watch.count, 1);
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_room_than_a_line() {
        let mut watch = PanicWatch::default();
        watch.look(&vec![b'x'; 10 * CONSOLE_LINE_MAX]);
        assert_eq!(watch.line.len(), CONSOLE_LINE_MAX);
        watch.look(b"\nKernel panic - not syncing: x\n");
        assert_eq!(watch.count, 1);
    }
}
