//! The simulator's command line: seeds, one seed with a trace, kill sweeps, broken variants.

use sim::{Options, Outcome, Toy, run};

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["toy", count] => seeds(count.parse().unwrap(), 0),
        ["toy", count, first] => seeds(count.parse().unwrap(), first.parse().unwrap()),
        ["seed", "toy", seed] => one(seed.parse().unwrap()),
        _ => return std::process::ExitCode::from(2),
    }
    std::process::ExitCode::SUCCESS
}
fn seeds(count: u64, first: u64) {
    let mut bad = 0;
    let (mut ev, mut out, mut rep, mut live, mut surv,mut outs) = (0, 0, 0, [0;2], 0,0);
    for seed in first..first + count {
        let o: Outcome = run::run::<Toy>(Options::draw(seed), seed, None);
        ev += o.events; out += o.replies; rep += o.repeated; surv += u64::from(o.survived); outs+=o.outputs;
        if let Some(s) = o.live { live[s.index()] += 1; }
        if let Some(v) = o.violation { bad += 1; println!("seed {seed}: {v:?}"); }
    }
    println!("{count} seeds, {bad} violations; events {ev} replies {out} outputs {outs} repeated {rep} live {live:?} survived {surv}");
}
fn one(seed: u64) {
    let options = Options::draw(seed);
    println!("{options}");
    let o = run::run::<Toy>(options, seed, Some(Box::new(|line: &str| println!("{line}"))));
    println!("{o:?}");
}
