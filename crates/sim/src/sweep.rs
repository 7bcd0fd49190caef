//! The kill sweep: one calm run, and then the same run again for every point at which a process can die.
//!
//! A point is an action, of a node or of a handshake (the process dies instead of carrying it out), or an
//! entry (the process dies right after something went into its guest or came out, before anything of it is
//! visible). Whatever the point, the client must get its answers and nothing may be lost or contradicted. A
//! sweep draws nothing: its worlds are those of a calm run with one death more each. A run may have several
//! lives; then every process is killed that was started in it.

use toy_outside::names::ProcessId;

use crate::{
    checker::Violation,
    faults::{Armed, Death, Fault, Trigger},
    options::Options,
    run::{Outcome, run},
    subject::Subject,
};

/// What was seen in the worlds of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// How many worlds were run.
    pub runs: u64,
    /// How often a process went live after a claim, over all worlds.
    pub failovers: u64,
    /// How many outputs were seen twice, over all worlds.
    pub repeated: u64,
    /// What went wrong, and in which world.
    pub violations: Vec<(Options, Violation)>,
}

/// The worlds of a sweep over the calm run of `options`: every `stride`-th point of each process, each with
/// either death.
pub fn points<G: Subject>(options: &Options, config: &G::Config, stride: u64) -> Vec<Options> {
    let calm: Outcome = run::<G>(options.clone(), config.clone(), None);
    let mut worlds = Vec::new();
    let counts = calm.actions.iter().zip(&calm.entries).zip(&calm.words);
    for (index, ((actions, entries), words)) in counts.enumerate() {
        let who = ProcessId::nth(index);
        let actions = (1..=*actions).map(Trigger::Action);
        let entries = (1..=*entries).map(Trigger::Entry);
        let words = (1..=*words).map(Trigger::Word);
        for (index, trigger) in actions.chain(entries).chain(words).enumerate() {
            if !(index as u64).is_multiple_of(stride) {
                continue;
            }
            for death in [Death::Process, Death::Host] {
                let armed = vec![Armed {
                    who,
                    trigger,
                    fault: Fault::Crash(who, death),
                }];
                worlds.push(Options {
                    armed,
                    armed_for_ever: true,
                    ..options.clone()
                });
            }
        }
    }
    worlds
}

/// Runs a sweep. `watch` hears of every world before it is run.
pub fn sweep<G: Subject>(
    options: &Options,
    config: &G::Config,
    stride: u64,
    mut watch: impl FnMut(&Options, u64),
) -> Swept {
    let mut swept = Swept::default();
    let worlds = points::<G>(options, config, stride);
    let count = worlds.len() as u64;
    for world in worlds {
        watch(&world, count);
        let outcome = run::<G>(world.clone(), config.clone(), None);
        swept.runs += 1;
        swept.failovers += outcome.failovers;
        swept.repeated += outcome.repeated;
        if let Some(violation) = outcome.violation {
            swept.violations.push((world, violation));
        }
    }
    swept
}
