//! Clones a machine at random while it runs, which it must not notice.
//!
//! Whoever runs the machine calls [`Cloner::disturb`] between two runs. It goes on with the clone, or gives
//! it up and begins another, and compares each clone that is finished with what the machine was at the cut.
//! For tests and for examples.

#![allow(dead_code, reason = "each test program uses its own part")]

use hart::Engine;
use machine::{Batch, Boot, Copied, Digest, Machine, PAGE, Part, limits::FROZEN_RESERVE, parts::page_digest};

/// What the machine was at the cut.
struct Cut {
    state: Vec<u8>,
    /// The digests of its parts; `None`: a digest of them has begun at the cut, and ends with the clone.
    parts: Option<Vec<Part>>,
    /// All of RAM, if that is asked for.
    memory: Vec<u8>,
}

/// A clone under way.
pub struct Cloner {
    /// The state of a random generator.
    random: u64,
    /// Whether clones are compared byte by byte, and not by their digests alone.
    is_thorough: bool,
    /// What fills with pages; `None`: no clone is under way.
    target: Option<Machine>,
    /// What the machine was at the cut; `None` before it.
    cut: Option<Cut>,
    /// The digest of all of RAM, by the book, when a digest began that has not ended; `None`: none has begun,
    /// or it is that of the cut.
    begun: Option<Digest>,
    /// How many clones were finished.
    pub clones: usize,
    /// How many clones overran their pool.
    pub overflows: usize,
    /// How many digests that had begun before were compared, those of clones not counted.
    pub digests: usize,
}

impl Cloner {
    pub fn new(seed: u64, is_thorough: bool) -> Cloner {
        Cloner {
            random: seed,
            is_thorough,
            target: None,
            cut: None,
            begun: None,
            clones: 0,
            overflows: 0,
            digests: 0,
        }
    }

    /// A number below `end` (SplitMix64).
    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % end
    }

    /// Has the clone under way been cut?
    pub fn has_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Does something for the clone of a machine between two runs; most clones are cut and finished within
    /// `pace` calls. Returns a clone that is finished, as the machine was at the cut.
    pub fn disturb(
        &mut self,
        machine: &mut Machine,
        pace: u64,
        engine: &dyn Fn() -> Box<dyn Engine>,
    ) -> Option<Machine> {
        if self.target.is_none() {
            self.begin(machine, engine());
        }
        if self.below(4 * pace) == 0 {
            self.give_up(machine);
            return None;
        }
        self.digest(machine);
        if self.cut.is_none() && self.below(pace) == 0 && !machine.has_effects() {
            self.cut(machine);
            // Nothing may be wrong with a clone whose machine does not run meanwhile, either.
            if self.below(4) == 0 {
                return self.copy(machine, u32::MAX);
            }
        } else if self.cut.is_none() && self.below(pace) < 3 {
            machine.begin_round();
        }
        let share = u64::from(machine.owed()) / pace + 8;
        let max = 1 + self.below(3 * share) as u32;
        self.copy(machine, max)
    }

    /// Goes on with a digest that has begun, or ends it. In a thorough test, begins one if there is none.
    fn digest(&mut self, machine: &mut Machine) {
        match self.below(16) {
            0..4 => drop(machine.hash_some(self.below(50) as u32)),
            4 if self.has_begun_at_cut() => {}
            4 => {
                let parts = machine.end_digest();
                let ram = parts.and_then(|parts| parts.last().map(|part| part.digest));
                let begun = self.begun.take();
                assert!(begun.is_none() || ram == begun, "at {}", machine.now());
                self.digests += usize::from(begun.is_some());
            }
            5 if self.is_thorough && self.begun.is_none() && !self.has_begun_at_cut() => {
                machine.begin_digest();
                let digests = (0..machine.pages()).map(|page| {
                    let content = machine.read_page(page).unwrap_or_default();
                    page_digest(page, content)
                });
                self.begun = Some(Digest(digests.fold(0, u128::wrapping_add)));
            }
            _ => {}
        }
    }

    fn has_begun_at_cut(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| cut.parts.is_none())
    }

    /// Ends the clone that is under way, if there is one. To be called before another machine takes the place
    /// of this one: it would know nothing of the clone.
    pub fn give_up(&mut self, machine: &mut Machine) {
        machine.thaw();
        machine.end_digest();
        (self.target, self.cut, self.begun) = (None, None, None);
    }

    fn begin(&mut self, machine: &mut Machine, engine: Box<dyn Engine>) {
        let mut config = machine.config().clone();
        // The images come when the clone is finished.
        config.boot = Boot {
            command_line: config.boot.command_line,
            ..Boot::default()
        };
        self.target = Some(Machine::blank(config, engine).expect("the machine could be built once"));
        // Without rounds all that was ever written is owed at the cut.
        if self.below(4) > 0 {
            machine.begin_round();
        }
    }

    fn cut(&mut self, machine: &mut Machine) {
        let room = FROZEN_RESERVE as u64 + 8 + self.below(400);
        let state = machine.freeze(room as u32).expect("the host has memory");
        let mut memory = Vec::new();
        for page in (0..machine.pages()).filter(|_| self.is_thorough) {
            memory.extend_from_slice(machine.read_page(page).unwrap_or_default());
        }
        let parts = if self.below(2) == 0 {
            self.begun = None;
            machine.begin_digest();
            None
        } else {
            Some(machine.parts())
        };
        self.cut = Some(Cut { state, memory, parts });
    }

    /// Copies at most so many pages, and finishes the clone if these were the last ones.
    fn copy(&mut self, machine: &mut Machine, max: u32) -> Option<Machine> {
        let mut batch = Batch::new(PAGE);
        let copied = machine.copy_owed(&mut batch, max);
        for (page, content) in batch.pages() {
            let target = self.target.as_mut()?;
            target.place(page, content).expect("both have as many pages");
        }
        if copied == Copied::Overflowed {
            self.overflows += 1;
            self.give_up(machine);
        }
        if copied != Copied::Over {
            return None;
        }
        let cut = self.cut.take()?;
        let mut target = self.target.take()?;
        assert_eq!((machine.owed(), machine.frozen_room()), (0, u32::MAX));
        target
            .provide(machine.config().boot.clone())
            .expect("the machine could be built once");
        target
            .restore_state(&cut.state)
            .expect("it is of the same machine");
        let pages = (0..target.pages()).zip(cut.memory.chunks(PAGE));
        for (page, expected) in pages {
            assert!(
                target.read_page(page) == Some(expected),
                "page {page} is not as at the cut"
            );
        }
        let parts = cut.parts.or_else(|| machine.end_digest());
        assert_eq!(Some(target.parts()), parts, "the clone at {}", target.now());
        assert_eq!(target.pages_hashed(), 0, "what was placed is hashed");
        self.clones += 1;
        Some(target)
    }
}
