//! The simulator's command line: seeds, one seed with a trace, kill sweeps, broken variants.
//!
//! Only this file of the crate has a clock, arguments and an exit code; the worlds know none of them.

use std::{
    io::Write, ops::Range, process::ExitCode, sync::atomic::AtomicU64, sync::atomic::Ordering, time::Instant,
};

use machine::Machine;
use sim::{Options, Outcome, Toy, Violation, run, subject::Subject, sweep};

const HELP: &str = "\
sim toy|machine N [FIRST]       N seeds of the toy guest, or of the real machine
sim seed toy|machine SEED       one seed with a line per action
sim life toy|machine N [FIRST]  N seeds, in all of which the guest is protected again after each failover
sim life-seed toy|machine SEED  one of those, with a line per action
sim agents toy|machine N [FIRST]  N seeds, in all of which agents look after the guest
sim agents-seed toy|machine SEED  one of those, with a line per action
sim form toy|machine N [FIRST]  N seeds, all of which begin without a pair
sim form-seed toy|machine SEED  one of those, with a line per action
sim sweep toy|machine [SEED]    kills each process at every entry and every action of a calm run
sim sweep life [SEED]           the same for a run with three failovers, with the toy guest
sim sweep moves [SEED]          the same for a run in which backups are replaced and roles are changed
sim sweep form [SEED]           the same for a run that begins without a pair
sim broken                      deliberately broken variants: each must be caught (needs --features mutations)
sim broken WORD N               how many of N seeds catch the variants with this word in their name
";

/// The seed that is running, for the panic message: a panic ends the process.
static SEED: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        eprintln!(
            "the seed was {}; replay it with: sim seed toy|machine SEED",
            SEED.load(Ordering::Relaxed)
        );
    }));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["toy", range @ ..] => numbers(range).map(|range| seeds::<Toy>(&ALL, "toy", range)),
        ["machine", range @ ..] => numbers(range).map(|range| seeds::<Machine>(&ALL, "machine", range)),
        ["life", "toy", range @ ..] => numbers(range).map(|range| seeds::<Toy>(&LIVES, "toy", range)),
        ["life", "machine", range @ ..] => {
            numbers(range).map(|range| seeds::<Machine>(&LIVES, "machine", range))
        }
        ["agents", "toy", range @ ..] => numbers(range).map(|range| seeds::<Toy>(&AGENTS, "toy", range)),
        ["agents", "machine", range @ ..] => {
            numbers(range).map(|range| seeds::<Machine>(&AGENTS, "machine", range))
        }
        ["agents-seed", "toy", seed] => number(seed).map(|seed| one::<Toy>(&AGENTS, seed)),
        ["agents-seed", "machine", seed] => number(seed).map(|seed| one::<Machine>(&AGENTS, seed)),
        ["form", "toy", range @ ..] => numbers(range).map(|range| seeds::<Toy>(&FORMING, "toy", range)),
        ["form", "machine", range @ ..] => {
            numbers(range).map(|range| seeds::<Machine>(&FORMING, "machine", range))
        }
        ["form-seed", "toy", seed] => number(seed).map(|seed| one::<Toy>(&FORMING, seed)),
        ["form-seed", "machine", seed] => number(seed).map(|seed| one::<Machine>(&FORMING, seed)),
        ["seed", "toy", seed] => number(seed).map(|seed| one::<Toy>(&ALL, seed)),
        ["seed", "machine", seed] => number(seed).map(|seed| one::<Machine>(&ALL, seed)),
        ["life-seed", "toy", seed] => number(seed).map(|seed| one::<Toy>(&LIVES, seed)),
        ["life-seed", "machine", seed] => number(seed).map(|seed| one::<Machine>(&LIVES, seed)),
        ["sweep", "toy"] => Some(sweeps::<Toy>("toy", &Options::calm(0))),
        ["sweep", "toy", seed] => number(seed).map(|seed| sweeps::<Toy>("toy", &Options::calm(seed))),
        ["sweep", "life"] => Some(sweeps::<Toy>("life", &Options::calm_life(0))),
        ["sweep", "life", seed] => number(seed).map(|seed| sweeps::<Toy>("life", &Options::calm_life(seed))),
        ["sweep", "moves"] => Some(sweeps::<Toy>("moves", &Options::calm_moves(0))),
        ["sweep", "moves", seed] => {
            number(seed).map(|seed| sweeps::<Toy>("moves", &Options::calm_moves(seed)))
        }
        ["sweep", "form"] => Some(sweeps::<Toy>("form", &Options::calm_forming(0))),
        ["sweep", "form", seed] => {
            number(seed).map(|seed| sweeps::<Toy>("form", &Options::calm_forming(seed)))
        }
        ["sweep", "machine"] => Some(sweeps::<Machine>("machine", &Options::calm(0))),
        ["sweep", "machine", seed] => {
            number(seed).map(|seed| sweeps::<Machine>("machine", &Options::calm(seed)))
        }
        ["broken"] => broken(),
        ["broken", word, count] => number(count).and_then(|count| broken_counts(word, count)),
        _ => None,
    };
    match done {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None => {
            eprint!("{HELP}");
            ExitCode::from(2)
        }
    }
}

fn number(word: &str) -> Option<u64> {
    word.replace('_', "").parse().ok()
}

/// The seeds that `N [FIRST]` means.
fn numbers(words: &[&str]) -> Option<Range<u64>> {
    let (count, first) = match words {
        [count] => (number(count)?, 0),
        [count, first] => (number(count)?, number(first)?),
        _ => return None,
    };
    Some(first..first.checked_add(count)?)
}

/// A kind of worlds: how a seed is drawn, and the command that replays one.
struct Kind {
    draw: fn(u64) -> Options,
    replay: &'static str,
}

/// All worlds.
const ALL: Kind = Kind {
    draw: Options::draw,
    replay: "seed",
};

/// Worlds in which the guest is protected again after a failover.
const LIVES: Kind = Kind {
    draw: Options::draw_life,
    replay: "life-seed",
};

/// Worlds in which agents look after the guest.
const AGENTS: Kind = Kind {
    draw: Options::draw_kept_by_agents,
    replay: "agents-seed",
};

/// Worlds that begin without a pair.
const FORMING: Kind = Kind {
    draw: Options::draw_formed,
    replay: "form-seed",
};

/// What the worlds of all seeds came to.
#[derive(Default)]
struct Totals {
    virtual_ms: u64,
    outputs: u64,
    repeated: u64,
    replies: u64,
    failovers: u64,
    clones: u64,
    guarded: u64,
    hand_overs: u64,
    replacements: u64,
    doomed: u64,
}

impl Totals {
    fn add(&mut self, outcome: &Outcome) {
        self.virtual_ms += outcome.ended.0 / 1_000_000;
        self.outputs += outcome.outputs;
        self.repeated += outcome.repeated;
        self.replies += outcome.replies;
        self.failovers += outcome.failovers;
        self.clones += outcome.clones;
        self.guarded += outcome.guarded;
        self.hand_overs += outcome.hand_overs;
        self.replacements += outcome.replacements;
        self.doomed += u64::from(!outcome.survived && outcome.violation.is_none());
    }
}

fn seeds<G: Subject<Config = u64>>(kind: &Kind, guest: &str, range: Range<u64>) -> bool {
    let count = range.end - range.start;
    let (began, mut told) = (Instant::now(), Instant::now());
    let (mut totals, mut violations) = (Totals::default(), 0);
    for (index, seed) in range.enumerate() {
        SEED.store(seed, Ordering::Relaxed);
        let options = (kind.draw)(seed);
        let outcome = run::run::<G>(options.clone(), seed, None);
        totals.add(&outcome);
        if let Some(violation) = &outcome.violation {
            violations += 1;
            report(&options, violation);
            println!(
                "replay: cargo run --release -p sim -- {} {guest} {seed}",
                kind.replay
            );
        }
        if told.elapsed().as_secs() >= 10 {
            told = Instant::now();
            println!("{} of {count} seeds, {violations} violations", index + 1);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let Totals {
        virtual_ms,
        outputs,
        repeated,
        replies,
        failovers,
        clones,
        guarded,
        hand_overs,
        replacements,
        doomed,
    } = totals;
    println!(
        "{failovers} failovers, {clones} clones ({guarded} became members), {hand_overs} hand-overs, \
         {replacements} backups replaced, \
         {doomed} lost the guest, {replies} replies, \
         {outputs} outputs ({repeated} repeated), \
         {} virtual seconds in {seconds:.1} s, {:.0} seeds/s",
        virtual_ms / 1000,
        count as f64 / seconds
    );
    println!("{count} seeds, {violations} violations");
    violations == 0
}

fn report(options: &Options, violation: &Violation) {
    println!("\nVIOLATION {:?}: {}\n{options}", violation.check, violation.what);
}

fn one<G: Subject<Config = u64>>(kind: &Kind, seed: u64) -> bool {
    SEED.store(seed, Ordering::Relaxed);
    let options = (kind.draw)(seed);
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let _ = writeln!(out, "{options}{}", sim::trace::LEGEND);
    let tracer = move |line: &str| {
        // Whoever reads may have seen enough.
        let _ = writeln!(out, "{line}");
    };
    let outcome = run::run::<G>(options, seed, Some(Box::new(tracer)));
    if let Some(violation) = &outcome.violation {
        eprintln!("VIOLATION {:?}: {}", violation.check, violation.what);
    }
    eprintln!("{outcome:#?}");
    outcome.violation.is_none()
}

fn sweeps<G: Subject<Config = u64>>(name: &str, calm: &Options) -> bool {
    let (began, mut told, mut index) = (Instant::now(), Instant::now(), 0);
    let swept = sweep::sweep::<G>(calm, &calm.seed, 1, |_, count| {
        index += 1;
        if told.elapsed().as_secs() >= 10 {
            told = Instant::now();
            println!("{index} of {count} points");
        }
    });
    for (options, violation) in &swept.violations {
        report(options, violation);
    }
    println!(
        "{name}: {} failovers, {} outputs repeated, {:.1} s",
        swept.failovers,
        swept.repeated,
        began.elapsed().as_secs_f64()
    );
    println!("{} points, {} violations", swept.runs, swept.violations.len());
    swept.violations.is_empty()
}

#[cfg(feature = "mutations")]
fn broken() -> Option<bool> {
    let mut all = true;
    println!(
        "{:<38} {:<9} {:>6}  {:<14} what it saw",
        "variant", "rule", "seeds", "caught by"
    );
    for broken in sim::broken::VARIANTS {
        match broken.hunt(60_000) {
            Some(caught) => {
                let check = format!("{:?}", caught.violation.check);
                println!(
                    "{:<38} {:<9} {:>6}  {check:<14} {}",
                    broken.name, broken.rule, caught.seeds, caught.violation.what
                );
            }
            None => {
                all = false;
                println!("{:<38} {:<9}  NOT CAUGHT", broken.name, broken.rule);
            }
        }
    }
    Some(all)
}

#[cfg(feature = "mutations")]
fn broken_counts(word: &str, count: u64) -> Option<bool> {
    let named = |broken: &&sim::broken::Broken| broken.name.contains(word);
    for broken in sim::broken::VARIANTS.iter().filter(named) {
        println!("{}: of {count} seeds {:?}", broken.name, broken.count(count));
    }
    Some(true)
}

#[cfg(not(feature = "mutations"))]
fn broken() -> Option<bool> {
    eprintln!("sim broken: build with --features mutations");
    None
}

#[cfg(not(feature = "mutations"))]
fn broken_counts(_word: &str, _count: u64) -> Option<bool> {
    broken()
}
