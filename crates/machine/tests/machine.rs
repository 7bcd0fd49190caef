//! The machine as a function of its configuration and its inputs: slices, snapshots and engines change
//! nothing.

mod rig;

use std::sync::atomic::Ordering;

use machine::{
    Batch, Control, Effect, Input, Machine, PAGE, PageContent, PowerState, RestoreError, Step, Stop,
    parts::{QUANTUM, diff},
};
use rig::{
    Random,
    guest::{
        Host, RATE, config, counting, engine, finish_with, first_time, interrupted, kernel, machine,
        rounds_of_time, sleeper_far_ahead, zealous, zeroed_data,
    },
};

const STEPS: Step = Step(400_000);

fn inputs(seed: u64) -> Vec<(Step, Input)> {
    let mut random = Random(seed);
    let mut at = Step(0);
    let mut mtime = 0;
    let mut inputs = vec![(at, Input::Clock { mtime, rate: RATE })];
    loop {
        at = at.after(random.below(30_000));
        if at >= STEPS {
            return inputs;
        }
        mtime = at.0 / 10 + random.below(2000);
        let input = match random.below(3) {
            0 => Input::Console {
                port: 0,
                bytes: vec![b'x'; random.below(30) as usize],
            },
            _ => Input::Clock {
                mtime,
                rate: RATE - random.below(1000) as u32,
            },
        };
        inputs.push((at, input));
    }
}

fn reference(harts: u32, seed: u64) -> (Machine, Vec<(Step, Effect)>) {
    let mut machine = machine(harts as usize, counting(harts));
    let mut host = Host::new();
    host.inputs = inputs(seed);
    host.run(&mut machine, STEPS);
    assert_eq!(machine.now(), STEPS);
    (machine, host.out)
}

#[test]
fn random_slices_equal_one_run() {
    for harts in [1, 2, 4] {
        for seed in 0..6 {
            let (mut one, out) = reference(harts, seed);
            assert!(!out.is_empty());
            let mut other = zealous(harts as usize, counting(harts), (seed % 2 == 1).then_some(seed));
            let mut random = Random(seed);
            let mut host = Host::new();
            host.inputs = inputs(seed);
            let longest = [3, 300, 30_000][random.below(3) as usize];
            while other.now() < STEPS {
                let until = other.now().after(1 + random.below(longest)).min(STEPS);
                host.run(&mut other, until);
            }
            assert_eq!(diff(&mut one, &mut other, 9), []);
            assert_eq!(one.digest(), other.digest());
            assert_eq!(out, host.out);
        }
    }
}

#[test]
fn a_machine_restored_in_the_middle_goes_on_equally() {
    for harts in [1, 2, 4] {
        let seed = u64::from(harts);
        let (mut one, out) = reference(harts, seed);
        let mut other = machine(harts as usize, counting(harts));
        let mut host = Host::new();
        host.inputs = inputs(seed);
        let mut random = Random(seed);
        while other.now() < STEPS {
            let until = other.now().after(random.below(60_000)).min(STEPS);
            host.run(&mut other, until);
            let mut bytes = Vec::new();
            other.save(&mut bytes).unwrap();
            let digest = other.digest();
            let config = other.config().clone();
            other = Machine::restore(config, engine(None), &mut bytes.as_slice()).unwrap();
            assert_eq!(other.digest(), digest);
        }
        assert_eq!(diff(&mut one, &mut other, 9), []);
        assert_eq!(out, host.out);
    }
}

#[test]
fn looking_changes_nothing() {
    let (mut one, _) = reference(2, 9);
    let mut other = machine(2, counting(2));
    let mut host = Host::new();
    host.inputs = inputs(9);
    for step in (0..=STEPS.0).step_by(7_777) {
        host.run(&mut other, Step(step));
        other.digest();
        other.parts();
        other.save_state();
        other.forget();
        other.begin_round();
        other.copy_owed(&mut Batch::new(PAGE), 50);
        other.begin_digest();
        other.hash_some(5);
    }
    host.run(&mut other, STEPS);
    assert_eq!(one.parts(), other.parts());
}

#[test]
fn all_harts_take_turns_and_lose_no_count() {
    let (machine, _) = reference(4, 1);
    let word = |offset: usize| machine.ram().load_u64(0x10_0000 + offset);
    // The AMO and the LR/SC loop count the same rounds; at the end each hart may be between the two.
    assert!(word(0) > 10_000);
    assert!(word(0) - word(64) <= 4);
    for hart in machine.harts() {
        assert!(
            hart.steps() > STEPS.0 / 8,
            "hart {} had {} steps",
            hart.id,
            hart.steps()
        );
    }
}

#[test]
fn timer_interrupts_come_at_the_step_that_the_clock_says() {
    let program = interrupted(1000, |_| {});
    let mut one = machine(1, program.clone());
    one.inject(Input::Clock { mtime: 0, rate: RATE });
    let mut other = machine(1, program);
    other.inject(Input::Clock { mtime: 0, rate: RATE });
    let mut host = Host::new();
    host.run(&mut one, Step(100_000));
    let mut seen = Vec::new();
    for step in 1..=100_000 {
        host.run(&mut other, Step(step));
        let count = other.ram().load_u64(0x10_0000);
        if seen.len() < count as usize {
            seen.push(step);
        }
    }
    assert_eq!(diff(&mut one, &mut other, 9), []);
    assert!(seen.len() > 90, "{}", seen.len());
}

#[test]
fn a_timer_is_late_that_a_kernel_with_interrupts_off_wants_and_does_not_take() {
    let at_steps = |program: Vec<u8>, steps: u64| {
        let mut machine = machine(1, program);
        machine.inject(Input::Clock { mtime: 0, rate: RATE });
        Host::new().run(&mut machine, Step(steps));
        (machine.timer_late(), machine.mtime())
    };
    const TIMER: i32 = 0x20;
    for sstc in [true, false] {
        assert_eq!(
            at_steps(kernel(false, TIMER, sstc), 5_000).0,
            0,
            "it is not due yet"
        );
        let (late, mtime) = at_steps(kernel(false, TIMER, sstc), 60_000);
        assert_eq!(late, mtime - 1_000);
        assert_eq!(
            at_steps(kernel(false, 0, sstc), 60_000).0,
            0,
            "the kernel has stopped its timer"
        );
    }
    let mut well = machine(1, kernel(true, TIMER, true));
    well.inject(Input::Clock { mtime: 0, rate: RATE });
    let mut host = Host::new();
    for step in 1..60_000 {
        host.run(&mut well, Step(step));
        assert!(well.timer_late() <= 1, "it takes each of them");
    }
    assert_eq!(
        at_steps(interrupted(1000, |_| {}), 60_000).0,
        0,
        "firmware's timer is firmware's"
    );
}

#[test]
fn timers_follow_an_mtime_that_the_guest_sets_and_that_wraps() {
    let run = |mut machine: Machine, longest: Option<u64>| {
        let mut random = Random(5);
        let mut host = Host::new();
        machine.inject(Input::Clock {
            mtime: 12_345,
            rate: RATE,
        });
        while machine.now() < STEPS {
            let until = longest.map_or(STEPS, |longest| machine.now().after(1 + random.below(longest)));
            host.run(&mut machine, until.min(STEPS));
            if longest.is_some_and(|longest| longest > 1000) {
                let state = machine.save_state();
                machine.restore_state(&state).unwrap();
            }
        }
        machine
    };
    let mut one = run(machine(1, rounds_of_time()), None);
    let word = |offset: usize| one.ram().load_u64(0x10_0000 + offset);
    // A round takes 140 ticks of ten steps.
    let rounds = STEPS.0 / 1400;
    assert!((rounds - 10..=rounds).contains(&word(0)), "{} rounds", word(0));
    assert_eq!(word(8), u64::MAX - 39, "the time at the interrupt of stimecmp");
    assert_eq!(word(16), 40, "the time at the interrupt of mtimecmp");
    for (zeal, longest) in [(None, 7), (Some(3), 300), (None, 30_000)] {
        let mut other = run(zealous(1, rounds_of_time(), zeal), Some(longest));
        assert_eq!(diff(&mut one, &mut other, 9), [], "slices of {longest}");
    }
}

#[test]
fn a_guest_that_sleeps_by_an_mtime_of_its_own_is_woken_by_the_hosts_clock() {
    let mut machine = machine(1, sleeper_far_ahead());
    let mut host = Host::new();
    machine.inject(Input::Clock {
        mtime: 5000,
        rate: RATE,
    });
    let Stop::Waiting {
        wake_at: Some(wake_at),
    } = machine.run(STEPS, &host.cut)
    else {
        panic!("it does not wait")
    };
    assert_eq!(wake_at, 5500, "500 ticks after mtime was set, in the first tick");
    host.run(&mut machine, STEPS);
    assert_eq!(machine.ram().load_u64(0x10_0000), (1 << 40) + 500);
}

#[test]
fn a_guest_that_sets_mtime_leaves_the_hosts_clock_alone_and_a_reset_takes_mtime_to_0() {
    let mut machine = machine(1, first_time());
    let mut host = Host::new();
    machine.inject(Input::Clock {
        mtime: 5000,
        rate: RATE,
    });
    host.run(&mut machine, Step(1000));
    let word = |machine: &Machine, offset: usize| machine.ram().load_u64(0x10_0000 + offset);
    assert_eq!(word(&machine, 0), 5000);
    assert!((1 << 40..(1 << 40) + 100).contains(&word(&machine, 8)));
    assert_eq!(machine.mtime(), 5099);
    machine.inject(Input::Control(Control::Reset));
    host.run(&mut machine, Step(1005));
    assert_eq!(word(&machine, 0), 0);
    assert!(
        (5099..=5100).contains(&machine.mtime()),
        "the host's clock goes on"
    );
}

#[test]
fn power_off_reset_and_failure_come_from_the_test_device() {
    for (value, state) in [(0x5555, PowerState::Off), (0x7_3333, PowerState::Failed(7))] {
        let mut off = machine(2, interrupted(3, finish_with(value)));
        let mut host = Host::new();
        off.inject(Input::Clock { mtime: 0, rate: RATE });
        host.run(&mut off, STEPS);
        assert_eq!(host.power(), Some(state));
        let now = off.now();
        off.inject(Input::Clock {
            mtime: 1 << 40,
            rate: 1,
        });
        assert_eq!(off.run(Step::NEVER, &host.cut), Stop::Off(state));
        assert_eq!((off.now(), off.take_effect()), (now, None));
    }
}

#[test]
fn reset_begins_anew_and_steps_go_on() {
    let mut machine = machine(1, interrupted(3, finish_with(0x7777)));
    let mut host = Host::new();
    machine.inject(Input::Clock { mtime: 0, rate: RATE });
    let mut begins = 0;
    for step in 1..50_000 {
        host.run(&mut machine, Step(step));
        begins += usize::from(machine.harts()[0].pc == 0x8000_0000);
    }
    // The count in RAM is not reset, so the program resets itself once.
    assert_eq!(begins, 1);
    assert!(machine.ram().load_u64(0x10_0000) > 3);
    machine.inject(Input::Control(Control::Reset));
    assert_eq!(machine.harts()[0].pc, 0x8000_0000);
    machine.inject(Input::Control(Control::PowerOff));
    assert_eq!(machine.take_effect(), Some(Effect::PoweredOff(PowerState::Off)));
}

#[test]
fn a_reset_loads_an_elf_file_with_its_zeroed_data() {
    let mut machine = Machine::new(zeroed_data(0x8002_0ff8), engine(None)).unwrap();
    let mut host = Host::new();
    for boot in 1..3 {
        host.run(&mut machine, Step(1000 * boot));
        let found = machine.ram().load_u64(0x10_0000);
        assert_eq!((found, machine.ram().load_u64(0x10_0008)), (0, 7), "boot {boot}");
        machine.inject(Input::Control(Control::Reset));
    }
}

#[test]
fn a_cut_stops_soon_and_moves_nothing() {
    let (mut one, _) = reference(2, 4);
    let mut other = machine(2, counting(2));
    let mut host = Host::new();
    host.inputs = inputs(4);
    while other.now() < STEPS {
        host.cut.store(true, Ordering::Relaxed);
        let before = other.parts();
        let stop = other.run(STEPS, &host.cut);
        assert!(matches!(stop, Stop::Cut | Stop::Waiting { .. }), "{stop:?}");
        assert_eq!(other.parts(), before);
        host.cut.store(false, Ordering::Relaxed);
        let until = other.now().after(QUANTUM - 1).min(STEPS);
        host.run(&mut other, until);
    }
    assert_eq!(diff(&mut one, &mut other, 9), []);
}

#[test]
fn waiting_harts_name_the_earliest_timer_and_time_stands_still() {
    let mut machine = machine(1, counting(1));
    let mut host = Host::new();
    machine.inject(Input::Clock { mtime: 0, rate: 0 });
    let stop = loop {
        match machine.run(Step::NEVER, &host.cut) {
            Stop::Effects => while machine.take_effect().is_some() {},
            stop => break stop,
        }
    };
    let Stop::Waiting {
        wake_at: Some(wake_at),
    } = stop
    else {
        panic!("{stop:?}")
    };
    assert_eq!(wake_at, 500);
    assert_eq!(machine.run(Step::NEVER, &host.cut), stop);
    machine.inject(Input::Clock {
        mtime: wake_at,
        rate: 0,
    });
    host.run(&mut machine, STEPS);
}

#[test]
fn inputs_for_nothing_change_nothing_but_are_survived() {
    let mut machine = machine(1, counting(1));
    let before = machine.parts();
    let ok = machine::DiskStatus::Ok;
    for port in [0, 1, 7, 8, 255] {
        machine.inject(Input::NetFrame {
            port,
            frame: vec![1; 100],
        });
        machine.inject(Input::DiskDone {
            disk: port,
            id: 5,
            status: ok,
            data: vec![1; 512],
        });
        if port > 0 {
            machine.inject(Input::Console { port, bytes: vec![1] });
        }
    }
    machine.inject(Input::Entropy { bytes: vec![1; 5000] });
    assert_eq!(machine.parts(), before);
}

#[test]
fn a_snapshot_is_refused_by_another_machine_and_when_damaged() {
    let (mut machine, _) = reference(2, 7);
    let mut bytes = Vec::new();
    machine.save(&mut bytes).unwrap();
    let restore = |bytes: &[u8]| Machine::restore(config(2, counting(2)), engine(None), &mut &*bytes);
    assert_eq!(restore(&bytes).unwrap().digest(), machine.digest());
    let mut other = config(2, counting(2));
    other.rng_seed = [4; 32];
    let refused = Machine::restore(other, engine(None), &mut bytes.as_slice());
    assert!(matches!(refused, Err(RestoreError::OtherConfig)));
    let mut random = Random(1);
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        if random.below(4) == 0 {
            damaged.truncate(random.below(bytes.len() as u64) as usize);
        } else {
            let at = random.below(bytes.len() as u64) as usize;
            damaged[at] ^= 1 << random.below(8);
        }
        assert!(restore(&damaged).is_err());
    }
}

#[test]
fn garbage_states_give_errors_or_machines_that_run() {
    let (mut machine, _) = reference(2, 7);
    let good = machine.save_state();
    let mut random = Random(2);
    let mut ran = 0;
    for _ in 0..500 {
        let mut bytes = good[..good.len() - 16].to_vec();
        for _ in 0..1 + random.below(3) {
            let at = 24 + random.below(bytes.len() as u64 - 24) as usize;
            bytes[at] = if random.below(2) == 0 {
                0xff
            } else {
                random.next() as u8
            };
        }
        let digest = machine::Digest::of(&bytes).0;
        bytes.extend(digest.to_le_bytes());
        let mut other = rig::guest::machine(2, counting(2));
        if other.restore_state(&bytes).is_ok() {
            let cut = std::sync::atomic::AtomicBool::new(false);
            for _ in 0..50 {
                while other.take_effect().is_some() {}
                let until = other.now().after(1000);
                other.run(until, &cut);
                let mtime = other.mtime().saturating_add(1000);
                other.inject(Input::Clock { mtime, rate: RATE });
            }
            ran += 1;
        }
    }
    assert!(ran > 50);
}

#[test]
fn a_difference_is_named() {
    let mut left = machine(2, counting(2));
    let mut right = machine(2, counting(2));
    right.inject(Input::Console {
        port: 0,
        bytes: vec![b'x'],
    });
    let mut page = right.read_page(17).unwrap().to_vec();
    page[0] = 1;
    right.place(17, PageContent::Bytes(&page)).unwrap();
    assert!(right.place(17, PageContent::Bytes(&page[1..])).is_err());
    assert!(right.place(1024, PageContent::Bytes(&page)).is_err());
    assert!(right.place(u32::MAX, PageContent::Zero).is_err());
    assert!(right.read_page(u32::MAX).is_none());
    let names: Vec<String> = diff(&mut left, &mut right, 9)
        .into_iter()
        .map(|d| d.path)
        .collect();
    assert_eq!(names, ["uart.received", "ram[17]"]);
}
