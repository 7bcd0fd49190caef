//! Watching an engine changes nothing, samples are taken at exact steps, counts add up, and generated code is
//! mapped once.

mod support;

use std::sync::{Arc, Mutex, atomic::AtomicBool};

use hart::{
    Engine, Environment, Interpreter, InterpreterOptions, Step, Translate,
    profile::{CodeMap, Part, Place, Profile, Sampler, Watch},
    ram::BASE,
};
use support::{
    Computer, asm,
    random::{Random, prepare},
};

const STEPS: u64 = 3_000;
const EVERY: u64 = 17;

fn options(translate: Translate) -> InterpreterOptions {
    InterpreterOptions {
        translate,
        ..InterpreterOptions::default()
    }
}

fn guest(seed: u64) -> Computer {
    let mut computer = Computer::new(&[], InterpreterOptions::default());
    computer.board.steps_per_tick = 3;
    prepare(&mut computer, &mut Random(seed));
    computer
}

/// Runs a guest on an engine, `slice` steps at a time.
fn run(computer: &mut Computer, engine: &mut dyn Engine, slice: u64) {
    let cut = AtomicBool::new(false);
    while computer.now.0 < STEPS {
        let mut end = STEPS.min(computer.now.0 + slice);
        if let Some(due) = computer.hart.timer() {
            // As the machine must: no edge of the timer inside a run.
            let step = due.saturating_mul(computer.board.steps_per_tick);
            end = if step > computer.now.0 { end.min(step) } else { end };
        }
        let environment = Environment {
            ram: &mut computer.ram,
            bus: &mut computer.board,
            now: computer.now,
            cut: &cut,
        };
        let exit = engine.run(&mut computer.hart, environment, end - computer.now.0);
        computer.now = computer.now.after(exit.steps);
        if computer.board.exit.is_some() {
            return;
        }
        // WFI may end for no reason.
        computer.hart.waiting = false;
    }
}

fn profiled(seed: u64, translate: Translate, slice: u64) -> (Computer, Arc<Profile>) {
    let profile = Arc::new(Profile::new(EVERY, || 0));
    let watch = Watch {
        profile: Some(profile.clone()),
        map: None,
    };
    let engine = Interpreter::watched(options(translate), watch);
    let mut computer = guest(seed);
    run(&mut computer, &mut Sampler::new(engine, profile.clone()), slice);
    (computer, profile)
}

#[test]
fn a_guest_that_is_profiled_ends_in_the_same_state() {
    for seed in 2000..2060 {
        let mut plain = guest(seed);
        let began = plain.now.0;
        run(
            &mut plain,
            &mut Interpreter::new(options(Translate::Never)),
            STEPS,
        );
        let samples: Vec<_> = [
            (Translate::Never, STEPS),
            (Translate::Hot, STEPS),
            (Translate::Always, STEPS),
            (Translate::Always, 29),
        ]
        .into_iter()
        .map(|(translate, slice)| {
            let (mut other, profile) = profiled(seed, translate, slice);
            assert_eq!(plain.now, other.now, "seed {seed}, {translate:?}");
            let differences = plain.state().differences(&other.state());
            assert_eq!(differences, "", "seed {seed}, {translate:?}");
            let counts = profile.counts();
            assert_eq!(counts.steps(), other.now.0 - began, "seed {seed}, {translate:?}");
            assert!(counts.helped_total() <= counts.entered_steps);
            let samples = profile.samples();
            let due = other.now.0 / EVERY - began / EVERY;
            assert_eq!(samples.total(), due, "seed {seed}, {translate:?}");
            samples.places.clone()
        })
        .collect();
        // However it was executed and cut up, it was at the same places at the same steps.
        assert!(samples.windows(2).all(|two| two[0] == two[1]), "seed {seed}");
    }
}

#[test]
fn a_sample_is_where_the_hart_stands_at_that_step() {
    let (_, profile) = profiled(2000, Translate::Hot, STEPS);
    let mut computer = guest(2000);
    let mut engine = Interpreter::default();
    let mut places = std::collections::BTreeMap::new();
    while computer.now.0 < STEPS && computer.board.exit.is_none() {
        let one = Step(computer.now.0 + 1);
        let cut = AtomicBool::new(false);
        let environment = Environment {
            ram: &mut computer.ram,
            bus: &mut computer.board,
            now: computer.now,
            cut: &cut,
        };
        engine.run(&mut computer.hart, environment, 1);
        computer.hart.waiting = false;
        computer.now = one;
        if one.0.is_multiple_of(EVERY) {
            let place = Place::of(&computer.hart, computer.hart.pc);
            *places.entry(place).or_insert(0) += 1;
        }
    }
    assert_eq!(profile.samples().places, places);
}

/// What is counted while a guest runs of which everything is translated.
fn profile_of(code: &[u8]) -> Arc<Profile> {
    let profile = Arc::new(Profile::new(EVERY, || 0));
    let watch = Watch {
        profile: Some(profile.clone()),
        map: None,
    };
    let mut engine = Interpreter::watched(options(Translate::Always), watch);
    let mut computer = Computer::new(code, InterpreterOptions::default());
    run(&mut computer, &mut engine, STEPS);
    profile
}

#[test]
fn what_generated_code_asks_the_interpreter_for_is_counted_by_name() {
    let code: Vec<u8> = [
        0x00a0_0293_u32, // li t0, 10
        0xc000_2373,     // csrr t1, cycle
        0xfff2_8293,     // addi t0, t0, -1
        0xfe02_9ce3,     // bnez t0, -8
        0x0000_006f,     // j .
    ]
    .into_iter()
    .flat_map(u32::to_le_bytes)
    .collect();
    let profile = profile_of(&code);
    let counts = profile.counts();
    if counts.entries == 0 {
        return; // This host interprets.
    }
    assert_eq!(counts.helped(), [("csr cycle".to_owned(), 10)]);
    assert!(counts.tally.superblocks >= 2 && counts.tally.hot_bytes > 0);
}

#[test]
fn floating_point_asks_the_interpreter_for_no_more_than_its_first_instruction() {
    let code = asm::assemble(
        "
            li   t1, 0x2000
            csrs mstatus, t1
            li   t0, 100
            li   t2, 3
            fcvt.s.w f1, t2         # FS becomes Dirty.
            fcvt.d.s f2, f1
            fdiv.s f3, f1, f1
        loop:
            csrr   t3, fflags
            flt.s  t4, f1, f3
            csrw   fflags, t3
            fadd.s f3, f3, f1
            fmadd.s f4, f3, f1, f3
            fsqrt.s f5, f4
            fdiv.s f6, f5, f3
            fcvt.d.s f7, f6
            fmsub.d f8, f7, f2, f2
            fmin.d f9, f8, f7
            fmax.s f10, f6, f5
            fsgnjx.d f11, f9, f9
            fcvt.s.d f12, f11
            fcvt.w.d t3, f11, rtz
            fcvt.l.s t4, f12, rdn
            fcvt.wu.d t5, f11, rup
            fcvt.lu.s t5, f12
            fclass.d t6, f9
            fcvt.s.lu f13, t4
            fcvt.d.wu f14, t5
            feq.d  t4, f14, f11
            fmv.x.w t5, f13
            addi   t0, t0, -1
            bnez   t0, loop
        end:
            j    end",
        BASE,
    );
    let profile = profile_of(&code.bytes);
    let counts = profile.counts();
    if counts.entries == 0 {
        return; // This host interprets.
    }
    let helped = counts.helped();
    let floats: Vec<_> = helped.iter().filter(|(name, _)| name.starts_with('f')).collect();
    assert_eq!(floats, [&("fcvt.s.w".to_owned(), 1)], "{helped:?}");
    assert!(
        !helped.iter().any(|(name, _)| name.contains("flags")),
        "{helped:?}"
    );
}

/// Remembers what it is told.
#[derive(Clone, Default)]
struct Known(Arc<Mutex<Vec<(u64, u64, Part)>>>);

impl CodeMap for Known {
    fn made(&mut self, start: u64, size: usize, part: Part) {
        self.0.lock().unwrap().push((start, start + size as u64, part));
    }
}

#[test]
fn every_piece_of_generated_code_is_told_of_and_none_overlaps_another() {
    let known = Known::default();
    let watch = Watch {
        profile: None,
        map: Some(Box::new(known.clone())),
    };
    let mut engine = Interpreter::watched(options(Translate::Always), watch);
    let mut computer = guest(2000);
    run(&mut computer, &mut engine, STEPS);
    let mut parts = known.0.lock().unwrap().clone();
    if parts.is_empty() {
        return; // This host interprets.
    }
    let count = |is: fn(Part) -> bool| parts.iter().filter(|&&(.., part)| is(part)).count();
    assert_eq!(count(|part| matches!(part, Part::Shared(_))), 4);
    assert!(count(|part| matches!(part, Part::Hot(_))) > 0);
    assert!(count(|part| matches!(part, Part::Cold(_))) > 0);
    parts.sort_by_key(|&(start, ..)| start);
    assert!(parts.windows(2).all(|two| two[0].1 <= two[1].0));
}
