//! FT 3.1-a: a machine is cloned while it runs. The clone is what the machine was at the cut, and both go on
//! equally.

mod rig;

use hart::{Engine, Interpreter, InterpreterOptions, Translate};
use machine::{
    Batch, BootError, Config, Control, Copied, Effect, Input, Machine, PAGE, PageContent, RestoreError, Step,
    Stop, limits::FROZEN_RESERVE,
};
use rig::{
    Random,
    cloner::Cloner,
    guest::{Host, RATE, config, counting, reading, sweeping},
};

const STEPS: Step = Step(400_000);

/// A guest, and what happens to it.
struct Case {
    config: Config,
    seed: u64,
    /// Whether somebody presses its reset button, three times or so.
    is_reset: bool,
}

impl Case {
    fn new(config: Config, seed: u64) -> Case {
        Case {
            config,
            seed,
            is_reset: false,
        }
    }

    fn inputs(&self) -> Vec<(Step, Input)> {
        let mut inputs = inputs(self.seed);
        let mut random = Random(self.seed ^ 0xdead);
        for (_, input) in inputs.iter_mut().filter(|_| self.is_reset).skip(1) {
            if matches!(input, Input::Console { .. }) && random.below(6) == 0 {
                *input = Input::Control(Control::Reset);
            }
        }
        inputs
    }
}

/// What happens to the guest: the clock, and somebody types.
fn inputs(seed: u64) -> Vec<(Step, Input)> {
    let mut random = Random(seed);
    let mut inputs = vec![(Step(0), Input::Clock { mtime: 0, rate: RATE })];
    let mut at = Step(random.below(30_000));
    while at < STEPS {
        let bytes = vec![b'x'; random.below(30) as usize];
        let mtime = at.0 / 10 + random.below(2000);
        inputs.push((at, Input::Console { port: 0, bytes }));
        inputs.push((at, Input::Clock { mtime, rate: RATE }));
        at = at.after(random.below(30_000));
    }
    inputs
}

/// Which engines run a machine: each of them, and with caches that are dropped at random.
const ENGINES: [(Translate, bool); 5] = [
    (Translate::Never, false),
    (Translate::Hot, false),
    (Translate::Always, false),
    (Translate::Never, true),
    (Translate::Always, true),
];

fn engine(translate: Translate, zeal: Option<u64>) -> Box<dyn Engine> {
    Box::new(Interpreter::new(InterpreterOptions {
        zeal,
        translate,
        ..InterpreterOptions::default()
    }))
}

/// A guest that is not cloned, at the end.
fn alone(case: &Case) -> (Machine, Host) {
    let mut machine = Machine::new(case.config.clone(), engine(Translate::Hot, None)).unwrap();
    let mut host = Host::new();
    host.inputs = case.inputs();
    host.run(&mut machine, STEPS);
    (machine, host)
}

/// Runs the guest while it is cloned again and again, with so many steps at most between two acts of cloning;
/// each clone runs to the end too. The number of clones, and how often the guest stood.
fn cloned(case: &Case, longest: u64) -> (usize, usize) {
    let seed = case.seed;
    let (mut expected, out) = alone(case);
    let (mut clones, mut stood, mut digests) = (0, 0, 0);
    for (translate, zeal) in ENGINES {
        let engine = || engine(translate, zeal.then_some(seed | 7));
        let mut machine = Machine::new(case.config.clone(), engine()).unwrap();
        let mut host = Host::new();
        host.inputs = case.inputs();
        let mut random = Random(seed);
        let mut cloner = Cloner::new(seed, true);
        // The inputs that come after the cut, or after now if there is none.
        let mut to_come = Vec::new();
        while machine.now() < STEPS {
            let until = machine.now().after(1 + random.below(longest)).min(STEPS);
            host.run(&mut machine, until);
            stood += usize::from(machine.now() < until);
            assert!(machine.now() == until || machine.frozen_room() < FROZEN_RESERVE as u32 + 8);
            if !cloner.has_cut() {
                to_come = host.inputs.clone();
            }
            if let Some(mut clone) = cloner.disturb(&mut machine, 30, &engine)
                && cloner.clones % 5 == 1
            {
                let mut host = Host::new();
                host.inputs = to_come.clone();
                host.run(&mut clone, STEPS);
                assert_eq!(clone.parts(), expected.parts(), "seed {seed}, {translate:?}");
            }
        }
        assert_eq!(machine.parts(), expected.parts(), "seed {seed}, {translate:?}");
        assert_eq!(host.out, out.out);
        clones += cloner.clones;
        digests += cloner.digests;
        assert_eq!(cloner.overflows, 0);
    }
    assert!(digests > 10, "only {digests} digests ended later than they began");
    (clones, stood)
}

#[test]
fn a_machine_that_is_cloned_goes_on_as_one_that_is_not_and_so_does_the_clone() {
    let mut all = 0;
    for (harts, seed) in [(1, 1), (2, 2), (4, 3), (1, 4), (2, 5)] {
        let longest = [800, 3000][seed as usize % 2];
        let config = config(harts, counting(harts as u32));
        all += cloned(&Case::new(config, seed), longest).0;
    }
    assert!(all > 50, "only {all} clones were finished");
}

#[test]
fn a_machine_that_writes_everything_stands_when_the_pool_is_full_and_loses_nothing() {
    let (mut all, mut stood) = (0, 0);
    for (harts, seed) in [(1, 11), (2, 12), (4, 13)] {
        let mut config = config(harts, sweeping());
        config.memory = 32 << 20;
        let (clones, stops) = cloned(&Case::new(config, seed), 5000);
        (all, stood) = (all + clones, stood + stops);
    }
    assert!(all > 10 && stood > 100, "{all} clones, stood {stood} times");
}

#[test]
fn a_machine_whose_disk_writes_into_its_memory_and_that_is_reset_is_cloned_as_it_was_at_the_cut() {
    let (mut clones, mut reads, mut resets) = (0, 0, 0);
    for (harts, seed) in [(1, 21), (2, 22), (4, 23)] {
        let mut case = Case::new(reading(harts), seed);
        case.is_reset = true;
        let is_reset = |(_, input): &(Step, Input)| *input == Input::Control(Control::Reset);
        resets += case.inputs().iter().filter(|input| is_reset(input)).count();
        let (_, host) = alone(&case);
        let is_read = |(_, effect): &(Step, Effect)| matches!(effect, Effect::Disk(_));
        reads += host.out.iter().filter(|effect| is_read(effect)).count();
        clones += cloned(&case, 3000).0;
    }
    assert!(
        reads > 200 && resets > 5,
        "only {reads} reads and {resets} resets"
    );
    assert!(clones > 50, "only {clones} clones were finished");
}

/// A machine without images that has all pages of `machine`, and the state as of the cut.
fn copy_all(machine: &mut Machine) -> (Machine, Vec<u8>) {
    let mut config = machine.config().clone();
    config.boot = Default::default();
    let mut target = Machine::blank(config, engine(Translate::Hot, None)).unwrap();
    let state = machine.freeze(0).unwrap();
    let mut batch = Batch::new(PAGE);
    while machine.copy_owed(&mut batch, 7) == Copied::More {}
    for (page, content) in batch.pages() {
        target.place(page, content).unwrap();
    }
    (target, state)
}

#[test]
fn a_machine_without_images_takes_no_state_before_they_have_come() {
    let mut machine = rig::guest::machine(1, counting(1));
    machine.run(Step(5000), &Host::new().cut);
    let (mut target, state) = copy_all(&mut machine);
    assert!(matches!(
        target.restore_state(&state),
        Err(RestoreError::NoImages)
    ));
    // What makes no machine is refused, and so is what makes another one.
    let mut wrong = machine.config().boot.clone();
    wrong.command_line = "x".repeat(2000);
    assert!(matches!(
        target.provide(wrong),
        Err(BootError::CommandLineLength(2000))
    ));
    let mut other = machine.config().boot.clone();
    other.firmware = counting(2).into();
    target.provide(other).unwrap();
    assert!(matches!(
        target.restore_state(&state),
        Err(RestoreError::OtherConfig)
    ));
    target.provide(machine.config().boot.clone()).unwrap();
    target.restore_state(&state).unwrap();
    assert_eq!(target.digest(), machine.digest());
    // A reset loads the images that came last.
    for machine in [&mut machine, &mut target] {
        machine.inject(Input::Control(machine::Control::Reset));
    }
    assert_eq!(target.parts(), machine.parts());
    let config = config(1, Vec::new());
    let refused = Machine::new(config, engine(Translate::Hot, None));
    assert!(matches!(refused.err(), Some(BootError::NothingToBoot)));
}

#[test]
fn a_pool_without_room_makes_the_guest_stand_until_all_is_copied() {
    let mut machine = rig::guest::machine(1, counting(1));
    machine.inject(Input::Clock { mtime: 0, rate: RATE });
    let host = Host::new();
    machine.run(Step(300), &host.cut);
    machine.freeze(0).unwrap();
    let owed = machine.owed();
    assert!(owed > 0);
    for left in (0..owed).rev() {
        assert_eq!(machine.run(Step(400), &host.cut), Stop::Full);
        assert_eq!(machine.now(), Step(300));
        assert_eq!(machine.copy_owed(&mut Batch::new(PAGE), 1), Copied::More);
        assert_eq!(machine.owed(), left);
    }
    assert_eq!(machine.copy_owed(&mut Batch::new(PAGE), 1), Copied::Over);
    assert_eq!(machine.run(Step(400), &host.cut), Stop::Reached);
}

#[test]
fn what_overruns_the_pool_ends_the_clone_and_not_the_guest() {
    // A reset loads more than the pool has room for.
    let mut config = config(1, counting(1));
    config.memory = 16 << 20;
    config.boot.initrd = vec![7; 3 << 20].into();
    let mut machine = Machine::new(config, engine(Translate::Hot, None)).unwrap();
    machine.freeze(300).unwrap();
    assert_eq!(machine.frozen_room(), 300);
    machine.inject(Input::Control(machine::Control::Reset));
    let mut batch = Batch::new(PAGE);
    assert_eq!(machine.copy_owed(&mut batch, 1), Copied::Overflowed);
    assert_eq!(
        (batch.len(), machine.owed(), machine.frozen_room()),
        (0, 0, u32::MAX)
    );
    assert_eq!(machine.run(Step(100), &Host::new().cut), Stop::Reached);
    machine.thaw();
    let (target, _) = copy_all(&mut machine);
    assert!((0..machine.pages()).all(|page| machine.read_page(page) == target.read_page(page)));
}

#[test]
fn a_page_that_is_none_is_refused() {
    let mut machine = rig::guest::machine(1, counting(1));
    let pages = machine.pages();
    assert!(machine.place(pages, PageContent::Zero).is_err());
    assert!(machine.place(0, PageContent::Bytes(&[0; PAGE - 1])).is_err());
    assert!(machine.place(pages - 1, PageContent::Bytes(&[1; PAGE])).is_ok());
}
