//! FT 3.1-a: what is copied while a guest runs is what was in RAM at the cut, and the guest notices nothing.
//!
//! `SEED=n SEEDS=m` tests m guests from the n-th on instead of the usual few.

#![allow(
    clippy::disallowed_methods,
    reason = "longer runs are asked for in the environment"
)]

mod support;

use std::sync::atomic::AtomicBool;

use hart::{
    Access, Bus, BusError, Engine, Environment, Hart, InterpreterOptions, Lines, Ram, Reason, Step,
    Translate::{self, Always, Hot, Never},
    Visit,
    limits::{FROZEN_RESERVE, STEP_PAGES_MAX},
    ram::{BASE, DIRTY, PAGE, PageSet, Pool},
};
use support::{
    Computer, List, State, asm,
    loops::{prepare_floats, prepare_loops},
    random::{Random, prepare},
};

/// Fills a computer with a guest.
type Prepare = fn(&mut Computer, &mut Random);

/// A copy of a guest's RAM that is made while the guest runs: rounds, a freeze, the rest.
struct Copy {
    random: Random,
    /// What was copied so far.
    copied: Vec<Vec<u8>>,
    /// The pages that are not copied, or were written since, before the cut.
    owed: PageSet,
    /// The whole RAM at the cut; `None` before it.
    cut: Option<Vec<Vec<u8>>>,
}

fn whole(ram: &Ram) -> Vec<Vec<u8>> {
    (0..ram.pages()).map(|page| ram.page(page).to_vec()).collect()
}

impl Copy {
    /// A copy that begins with all pages owed.
    fn begin(ram: &mut Ram, random: Random) -> Copy {
        let mut owed = PageSet::new(ram.pages());
        ram.begin_round(&mut owed);
        for page in 0..ram.pages() {
            owed.insert(page);
        }
        Copy {
            random,
            copied: vec![vec![0xee; PAGE]; ram.pages()],
            owed,
            cut: None,
        }
    }

    /// Does some part of it between two runs. True: it is finished, and was right.
    fn go_on(&mut self, ram: &mut Ram) -> bool {
        if self.cut.is_some() {
            return self.go_on_after_cut(ram);
        }
        match self.random.below(40) {
            0 => {
                ram.begin_round(&mut self.owed);
                let pool = Pool::new(FROZEN_RESERVE + 4 + self.random.below(300) as usize);
                ram.freeze(std::mem::take(&mut self.owed), pool.expect("host memory"));
                self.cut = Some(whole(ram));
            }
            1..4 => ram.begin_round(&mut self.owed),
            _ => {
                let page = self.random.below(ram.pages() as u64) as usize;
                if ram.flags(page) & DIRTY == 0 && self.owed.remove(page) {
                    self.copied[page] = ram.page(page).to_vec();
                }
            }
        }
        false
    }

    fn go_on_after_cut(&mut self, ram: &mut Ram) -> bool {
        let copied = &mut self.copied;
        let take = self.random.below(4) as usize;
        // Kept pages stay there for a while, unless the guest cannot go on with them.
        if self.random.below(4) == 0 || ram.steps_allowed() == 0 {
            ram.take_kept(take, |page, content| copied[page as usize] = content.to_vec());
        }
        for _ in 0..self.random.below(8) {
            let owed = ram.owed().expect("it is frozen");
            let start = self.random.below(256) as usize;
            if let Some(page) = owed.next(start).or_else(|| owed.next(0)) {
                owed.remove(page);
                copied[page] = ram.page(page).to_vec();
            }
        }
        assert!(!ram.has_overflowed());
        let over = ram.frozen() == 0;
        if over {
            ram.thaw();
            assert!(
                self.cut.take().as_ref() == Some(&self.copied),
                "the copy is not of the cut"
            );
        }
        over
    }
}

/// What happens to a guest at steps that its seed draws, whether it is copied or not: the harts take turns, a
/// device writes, the machine is reset.
struct Outside {
    random: Random,
    /// The step at which something happens next.
    at: u64,
    /// The hart whose turn it is not.
    other: Hart,
    /// What fills RAM and a hart when the guest begins, and from which seed.
    prepare: Prepare,
    seed: u64,
}

impl Outside {
    /// Begins the guest. Nothing happens to one of three.
    fn begin(computer: &mut Computer, prepare: Prepare, seed: u64) -> Outside {
        let mut outside = Outside {
            random: Random(seed ^ 0x0075),
            at: if seed.is_multiple_of(3) { u64::MAX } else { 0 },
            other: Hart::new(1, BASE),
            prepare,
            seed,
        };
        outside.reset(computer);
        outside
    }

    fn reset(&mut self, computer: &mut Computer) {
        for id in [1, 0] {
            computer.hart = Hart::new(id, BASE);
            (self.prepare)(computer, &mut Random(self.seed));
            if id == 1 {
                std::mem::swap(&mut computer.hart, &mut self.other);
            }
        }
    }

    fn happen(&mut self, computer: &mut Computer) {
        let random = &mut self.random;
        self.at = computer.now.0 + 50 + random.below(700);
        match random.below(16) {
            0 => self.reset(computer),
            // Up to four pages, from somewhere else in RAM: what was written so may be run, too.
            1..6 => {
                let mut bytes = vec![0; 1 + random.below(3 * PAGE as u64) as usize];
                let place = |random: &mut Random| BASE + random.below(64 * PAGE as u64);
                computer.ram.read(place(random), &mut bytes).unwrap();
                computer.ram.write(place(random), &bytes).unwrap();
            }
            _ => std::mem::swap(&mut computer.hart, &mut self.other),
        }
    }
}

/// Runs a guest, and copies it meanwhile if so many steps lie at most between two acts of copying. Returns
/// its state and how many copies were finished.
fn run(
    (prepare, steps): (Prepare, u64),
    seed: u64,
    options: InterpreterOptions,
    longest: Option<u64>,
) -> (State, u64, usize) {
    let mut computer = Computer::new(&[], options);
    computer.board.steps_per_tick = 3;
    let mut outside = Outside::begin(&mut computer, prepare, seed);
    let mut random = Random(seed ^ 0xc0b1);
    let mut copies = 0;
    let mut copy: Option<Copy> = None;
    while computer.now.0 < steps {
        if computer.now.0 >= outside.at {
            outside.happen(&mut computer);
        }
        let mut until = steps.min(outside.at);
        if let Some(longest) = longest {
            until = until.min(computer.now.0 + 1 + random.below(longest));
            let copying = copy.get_or_insert_with(|| Copy::begin(&mut computer.ram, Random(random.next())));
            if copying.go_on(&mut computer.ram) {
                copy = None;
                copies += 1;
            }
            match random.below(400) {
                0..8 => computer.engine.forget(),
                // As a digest finds pages unchanged. What it makes clean is owed again.
                8..16 => settle(&mut computer.ram, copy.as_mut()),
                // The copy is given up, wherever it is, and another one begins.
                16 => {
                    computer.ram.thaw();
                    copy = None;
                }
                _ => {}
            }
        }
        if computer.run_some(until) == Reason::Wait {
            computer.hart.waiting = false;
        }
    }
    let now = computer.now.0;
    let mut state = computer.state();
    let mut other = List::default();
    outside.other.visit(&mut other);
    state.hart.extend(other.values);
    (state, now, copies)
}

fn settle(ram: &mut Ram, mut copy: Option<&mut Copy>) {
    ram.settle(|page, _| {
        let cleaned = page % 2 == 0;
        if let (true, Some(copy)) = (cleaned, copy.as_mut()) {
            copy.owed.insert(page as usize);
        }
        !cleaned
    });
}

trait RunSome {
    /// Runs until that step at most, or until RAM can keep no more.
    fn run_some(&mut self, until: u64) -> Reason;
}

impl RunSome for Computer {
    fn run_some(&mut self, until: u64) -> Reason {
        while self.now.0 < until {
            let mut budget = until - self.now.0;
            if let (Some(due), 1..) = (self.hart.timer(), self.board.steps_per_tick) {
                let step = due.saturating_mul(self.board.steps_per_tick);
                if step > self.now.0 {
                    budget = budget.min(step - self.now.0);
                }
            }
            let exit = self.run(budget);
            if matches!(exit.reason, Reason::Wait | Reason::Cut) || self.board.exit.is_some() {
                return exit.reason;
            }
        }
        Reason::Budget
    }
}

fn number(name: &str, usual: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.and_then(|value| value.parse().ok()).unwrap_or(usual)
}

fn compare_all(guest: (Prepare, u64)) {
    let first = number("SEED", 0);
    let mut copies = 0;
    for seed in first..first + number("SEEDS", 40) {
        let (expected, end, _) = run(guest, seed, InterpreterOptions::default(), None);
        let zeals = [None, Some(seed)];
        for (translate, zeal) in [Never, Hot, Always]
            .into_iter()
            .flat_map(|t| zeals.map(|z| (t, z)))
        {
            let longest = [3, 30, 300][seed as usize % 3];
            let options = InterpreterOptions {
                zeal,
                translate,
                ..InterpreterOptions::default()
            };
            let (state, now, made) = run(guest, seed, options, Some(longest));
            assert_eq!(end, now, "seed {seed}, {translate:?}, {zeal:?}");
            assert_eq!(
                expected.differences(&state),
                "",
                "seed {seed}, {translate:?}, {zeal:?}"
            );
            copies += made;
        }
    }
    assert!(copies > 100, "only {copies} copies were finished");
}

#[test]
fn a_guest_of_nonsense_is_copied_as_it_was_at_the_cut() {
    compare_all((prepare, 3_000));
}

#[test]
fn a_guest_of_loops_is_copied_as_it_was_at_the_cut() {
    compare_all((prepare_loops, 12_000));
}

#[test]
fn a_guest_that_computes_with_floats_is_copied_as_it_was_at_the_cut() {
    compare_all((prepare_floats, 12_000));
}

/// Pages of RAM of a guest that writes all it can.
const PAGES: usize = 4096;

/// A guest that writes to two pages with every second step, across their edge, all over RAM; with `amo` to
/// one by an atomic access, and with `zero` to one by `cbo.zero`.
fn greedy(store: &str, translate: Translate) -> Computer {
    let source = format!(
        "   li   a0, 0x80002ffc
            li   a2, 0x2000
            li   a3, 2000
            li   a4, 0x80003000
            li   a5, 0xf0
            csrs menvcfg, a5
        a:  {store}
            add  a0, a0, a2
            add  a4, a4, a2
            addi a3, a3, -1
            bnez a3, a
        b:  j    b"
    );
    let options = InterpreterOptions {
        translate,
        ..InterpreterOptions::default()
    };
    let mut computer = Computer::new(&[], options);
    computer.ram = Ram::new((PAGES * PAGE) as u64).unwrap();
    computer
        .ram
        .write(BASE, &asm::assemble(&source, BASE).bytes)
        .unwrap();
    computer
}

#[test]
fn the_pool_is_never_exceeded_and_the_guest_stands_only_when_it_is_nearly_full() {
    let stores = ["sd a3, 0(a0)", "amoadd.d a1, a3, (a4)", "cbo.zero (a4)"];
    for (store, translate) in stores
        .into_iter()
        .flat_map(|s| [Never, Hot, Always].map(|t| (s, t)))
    {
        let mut computer = greedy(store, translate);
        let mut owed = PageSet::new(PAGES);
        computer.ram.begin_round(&mut owed);
        (0..PAGES).for_each(|page| assert!(owed.insert(page) || page == 0));
        let room = FROZEN_RESERVE + 100;
        let pool = Pool::new(room).expect("host memory");
        let before = whole(&computer.ram);
        computer.ram.freeze(owed, pool);
        let (mut stood, mut taken) = (0, 0);
        while computer.now.0 < 20_000 {
            let exit = computer.run(20_000 - computer.now.0);
            let left = computer.ram.frozen_room();
            assert!(!computer.ram.has_overflowed() && left >= FROZEN_RESERVE - STEP_PAGES_MAX);
            if exit.reason == Reason::Cut {
                stood += 1;
                assert!(left < FROZEN_RESERVE + STEP_PAGES_MAX, "{left} left");
                computer.ram.take_kept(50, |page, content| {
                    taken += 1;
                    assert!(before[page as usize] == content);
                });
            }
        }
        let written = computer.ram.dirty();
        assert!(written > 1900, "{store}: {written} pages written");
        assert!(stood > 30, "{store}, {translate:?}: it stood {stood} times");
        computer.ram.take_kept(usize::MAX, |_, _| taken += 1);
        assert_eq!(taken, written, "{store}, {translate:?}");
    }
}

/// A device that writes so many pages from page 8192 on, with the first store to it.
struct Flood {
    pages: usize,
}

impl Bus for Flood {
    fn load(&mut self, _: &mut Ram, _: Access) -> Result<u64, BusError> {
        Err(BusError)
    }

    fn store(&mut self, ram: &mut Ram, _: Access, _: u64) -> Result<(), BusError> {
        let bytes = vec![1; std::mem::take(&mut self.pages) * PAGE];
        ram.write(BASE + (8192 * PAGE) as u64, &bytes)
            .map_err(|_| BusError)
    }

    fn answers(&self, _: u64) -> bool {
        true
    }

    fn time(&self, _: Step) -> u64 {
        0
    }

    fn lines(&self, _: usize, _: Step) -> Lines {
        Lines(0)
    }

    fn attention(&self) -> bool {
        false
    }
}

#[test]
fn a_device_that_writes_much_leaves_no_more_steps_than_there_is_room_for() {
    // Nearly all of what a chunk of 400 steps may use is gone after the store to the device, and the guest
    // would write 160 pages more in that chunk.
    let (room, flood) = (
        FROZEN_RESERVE + 400 * STEP_PAGES_MAX,
        FROZEN_RESERVE + 400 * STEP_PAGES_MAX - 74,
    );
    for translate in [Never, Hot, Always] {
        let source = "   li   t0, 0x10000000
                         li   a0, 0x80002ffc
                         li   a2, 0x2000
                         sd   t0, 0(t0)
                      a: sd   a3, 0(a0)
                         add  a0, a0, a2
                         j    a";
        let pages = 8192 + flood;
        let options = InterpreterOptions {
            translate,
            ..InterpreterOptions::default()
        };
        let mut computer = Computer::new(&[], options);
        computer.ram = Ram::new((pages * PAGE) as u64).unwrap();
        computer
            .ram
            .write(BASE, &asm::assemble(source, BASE).bytes)
            .unwrap();
        let mut owed = PageSet::new(pages);
        computer.ram.begin_round(&mut owed);
        (0..pages).for_each(|page| assert!(owed.insert(page) || owed.contains(page)));
        computer.ram.freeze(owed, Pool::new(room).expect("host memory"));
        let mut bus = Flood { pages: flood };
        let mut now = Step(0);
        while now < Step(5000) && computer.ram.steps_allowed() > 0 {
            let environment = Environment {
                ram: &mut computer.ram,
                bus: &mut bus,
                now,
                cut: &AtomicBool::new(false),
            };
            now = now.after(computer.engine.run(&mut computer.hart, environment, 5000).steps);
        }
        assert_eq!(bus.pages, 0);
        assert!(!computer.ram.has_overflowed(), "{translate:?}: after {now}");
    }
}
