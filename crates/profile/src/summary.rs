//! `Summary`: where a guest's time went, and what executed its steps, for people and for programs.
//!
//! `cli` makes a summary when a run that was watched (`--profile`) has ended: of what `hart` counted and
//! sampled, and of the names in `symbols`. People read it as tables, programs as JSON with more rows. A
//! summary only tells: it must change nothing of what it was made of.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use hart::Privilege;
use hart::profile::{Counts, Place, Profile, Samples, Why};
use report::amount::grouped;
use serde::Serialize;

use super::symbols::{Symbols, mode_letter, name};

/// Rows of a table that are shown to people, and to programs.
const TOP_SHOWN: usize = 20;
const TOP_KEPT: usize = 200;
const PAGE: u64 = 4096;

/// What a profile tells: its text (`Display`) has the first 20 rows of each table, its JSON (`Serialize`) the
/// first 200. docs/profiling.md explains the rows.
#[derive(Debug, Serialize)]
pub struct Summary {
    steps: u64,
    every: u64,
    samples: u64,
    modes: Vec<Share>,
    /// Steps by function, or by page where there are no symbols.
    functions: Vec<Share>,
    instructions: Vec<Share>,
    /// User mode's steps, by the page of the root page table.
    address_spaces: Vec<Share>,
    /// Steps by the part of the program that executed them.
    executed: Vec<Share>,
    /// Operations that the interpreter did for generated code.
    interpreted_ops: Vec<Share>,
    translator: Translator,
}

/// A number with a name.
#[derive(Debug, Serialize)]
struct Share {
    name: String,
    count: u64,
}

/// What the translator did in the run.
#[derive(Debug, Serialize)]
struct Translator {
    entries: u64,
    superblocks: u64,
    ops: u64,
    hot_bytes: u64,
    rare_bytes: u64,
    flushes: u64,
    pages_dropped: u64,
    translating_ms: f64,
    running_ms: f64,
    tlb_loads: u64,
    tlb_stores: u64,
    tlb_fetches: u64,
    tlb_drops: u64,
}

impl Summary {
    /// What `profile` has gathered so far, with the guest's addresses named by `symbols`.
    #[must_use]
    pub fn new(profile: &Profile, symbols: &Symbols) -> Summary {
        let (samples, counts) = (profile.samples(), profile.counts());
        let helped = counts.helped().into_iter();
        Summary {
            steps: counts.steps(),
            every: profile.every(),
            samples: samples.total(),
            modes: by(&samples, |place| Some(mode(place.privilege).to_owned())),
            functions: by(&samples, |place| Some(function(place, symbols))),
            instructions: by(&samples, |place| Some(with_space(place, name(place, symbols)))),
            address_spaces: by(&samples, |place| {
                (place.privilege == Privilege::User).then(|| format!("{:#x}", place.root))
            }),
            executed: executed(&counts),
            interpreted_ops: helped.map(|(name, count)| Share { name, count }).collect(),
            translator: Translator::new(&counts),
        }
    }
}

impl Translator {
    fn new(counts: &Counts) -> Translator {
        let tally = counts.tally;
        let [tlb_loads, tlb_stores, tlb_fetches] = counts.fills;
        Translator {
            entries: counts.entries,
            superblocks: tally.superblocks,
            ops: tally.ops,
            hot_bytes: tally.hot_bytes,
            rare_bytes: tally.cold_bytes,
            flushes: tally.flushes,
            pages_dropped: tally.pages_dropped,
            translating_ms: counts.translating_ns as f64 / 1e6,
            running_ms: counts.running_ns as f64 / 1e6,
            tlb_loads,
            tlb_stores,
            tlb_fetches,
            tlb_drops: counts.drops,
        }
    }
}

/// Samples by something about their places, the most frequent first.
fn by(samples: &Samples, about: impl Fn(Place) -> Option<String>) -> Vec<Share> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for (&place, &count) in &samples.places {
        if let Some(name) = about(place) {
            *sums.entry(name).or_default() += count;
        }
    }
    let mut list: Vec<Share> = sums
        .into_iter()
        .map(|(name, count)| Share { name, count })
        .collect();
    list.sort_by_key(|share| std::cmp::Reverse(share.count));
    list.truncate(TOP_KEPT);
    list
}

fn mode(privilege: Privilege) -> &'static str {
    match privilege {
        Privilege::User => "user",
        Privilege::Supervisor => "supervisor",
        Privilege::Machine => "machine",
    }
}

/// The function of a place, or its page.
fn function(place: Place, symbols: &Symbols) -> String {
    let mode = mode_letter(place.privilege);
    match symbols
        .find(place.pc)
        .filter(|_| place.privilege != Privilege::User)
    {
        Some((symbol, _)) => format!("{mode} {symbol}"),
        None => with_space(place, format!("{mode} page {:#x}", place.pc & !(PAGE - 1))),
    }
}

/// Names a place with its address space: equal addresses of two programs are two places.
fn with_space(place: Place, name: String) -> String {
    match place.root {
        0 => name,
        root => format!("{name} of {root:#x}"),
    }
}

fn executed(counts: &Counts) -> Vec<Share> {
    let helped = counts.helped_total();
    let why = |why: Why| counts.interpreted[why as usize];
    [
        ("generated code", counts.entered_steps - helped),
        ("interpreter, called by generated code", helped),
        ("interpreter, not often enough to be translated", why(Why::Cold)),
        (
            "interpreter, where nothing is translated any more",
            why(Why::Never),
        ),
        ("interpreter, last steps before a stop", why(Why::Tail)),
        ("interpreter, as there is no translator", why(Why::Off)),
    ]
    .into_iter()
    .filter(|&(_, count)| count > 0)
    .map(|(name, count)| Share {
        name: name.to_owned(),
        count,
    })
    .collect()
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (steps, samples, every) = (grouped(self.steps), grouped(self.samples), grouped(self.every));
        writeln!(
            f,
            "profile of {steps} steps; {samples} samples, one every {every} steps"
        )?;
        table(f, "samples by mode", &self.modes, self.samples)?;
        table(
            f,
            "samples by function (U, S, M: its mode) or page",
            &self.functions,
            self.samples,
        )?;
        table(f, "samples by instruction", &self.instructions, self.samples)?;
        let title = "samples in user mode by address space (page of its root page table)";
        table(f, title, &self.address_spaces, self.samples)?;
        table(f, "steps by what executed them", &self.executed, self.steps)?;
        let title = "instructions that the interpreter did for generated code, of all steps";
        table(f, title, &self.interpreted_ops, self.steps)?;
        write!(f, "{}", self.translator)
    }
}

impl Display for Translator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ops = self.ops as f64 / self.superblocks.max(1) as f64;
        let lines = [
            (self.entries, "times generated code was entered".to_owned()),
            (
                self.superblocks,
                format!("superblocks made, of {ops:.1} instructions each"),
            ),
            (self.hot_bytes, "bytes of code that is executed often".to_owned()),
            (self.rare_bytes, "bytes of code that is rare".to_owned()),
            (self.flushes, "times that all code was dropped".to_owned()),
            (self.pages_dropped, "pages whose code was dropped".to_owned()),
            (self.tlb_loads, "TLB entries made for loads".to_owned()),
            (self.tlb_stores, "TLB entries made for stores".to_owned()),
            (self.tlb_fetches, "TLB entries made for fetches".to_owned()),
            (
                self.tlb_drops,
                "times that good TLB entries were dropped".to_owned(),
            ),
        ];
        writeln!(f, "\ntranslator and TLB")?;
        for (count, what) in lines {
            writeln!(f, "  {:>14}  {what}", grouped(count))?;
        }
        let (translating, running) = (self.translating_ms, self.running_ms);
        writeln!(
            f,
            "  {translating:>11.1} ms  translating, of {running:.1} ms that the engine ran"
        )
    }
}

fn table(f: &mut Formatter<'_>, title: &str, list: &[Share], whole: u64) -> fmt::Result {
    if list.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}")?;
    for Share { name, count } in list.iter().take(TOP_SHOWN) {
        let percent = 100.0 * *count as f64 / whole.max(1) as f64;
        writeln!(f, "  {percent:>6.2} %  {:>13}  {name}", grouped(*count))?;
    }
    Ok(())
}
