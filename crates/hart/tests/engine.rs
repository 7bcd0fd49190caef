//! The seam between machine and engine: budgets, reasons, dirty pages, saving and restoring.

mod support;

use std::sync::atomic::AtomicBool;

use hart::{
    Bus, Engine, Environment, Exit, Hart, Interpreter, InterpreterOptions, Reason, Step, Visit, Visitor,
    ram::{BASE, PageSet},
};
use support::{
    Computer, List, asm,
    random::{Random, prepare},
};

fn computer(source: &str) -> Computer {
    Computer::new(&asm::assemble(source, BASE).bytes, InterpreterOptions::default())
}

fn exit(steps: u64, reason: Reason) -> Exit {
    Exit { steps, reason }
}

#[test]
fn the_budget_is_exact_across_pages_traps_and_chunks() {
    // Every instruction traps: there is nothing at 0.
    let mut lost = computer("ecall");
    assert_eq!(lost.run(10_007), exit(10_007, Reason::Budget));
    let mut looping = computer("a: j b\n .org 0x1000\n b: j a");
    assert_eq!(looping.run(9_999), exit(9_999, Reason::Budget));
    assert_eq!(looping.hart.pc, BASE + 0x1000);
    assert_eq!(looping.hart.steps(), 9_999);
}

#[test]
fn a_store_that_the_board_wants_to_see_ends_the_run_behind_it() {
    let mut computer = computer("li a0, 0x10002000\n sd a0, 0(a0)\n nop\n nop");
    let steps = computer.run(100).steps;
    assert_eq!(computer.hart.pc, BASE + 8);
    assert_eq!(steps, 2);
    let mut last = computer_at_store();
    assert_eq!(last.run(2), exit(2, Reason::Attention));
}

fn computer_at_store() -> Computer {
    computer("li a0, 0x10002000\n sd a0, 0(a0)")
}

#[test]
fn moving_the_own_timer_asks_for_attention() {
    let mut computer = computer("li a0, 77\n csrw stimecmp, a0\n li a1, -1\n csrw menvcfg, a1\n a: j a");
    computer.board.steps_per_tick = 10;
    assert_eq!(computer.run(100), exit(2, Reason::Attention));
    assert_eq!(computer.hart.timer(), None);
    assert_eq!(computer.run(100), exit(2, Reason::Attention));
    assert_eq!(computer.hart.timer(), Some(77));
    assert_eq!(computer.run(100), exit(100, Reason::Budget));
}

#[test]
fn a_waiting_hart_goes_on_only_when_an_enabled_interrupt_is_pending() {
    let mut computer = computer("li a0, 0x80\n csrw mie, a0\n wfi\n a: j a");
    assert_eq!(computer.run(100), exit(3, Reason::Wait));
    assert!(computer.hart.waiting);
    assert_eq!(computer.hart.pc, BASE + 12);
    assert_eq!(computer.run(100), exit(0, Reason::Wait));
    computer.board.lines = 0x8;
    assert!(!computer.hart.wakes(&computer.board, computer.now));
    computer.board.lines = 0x80;
    assert!(computer.hart.wakes(&computer.board, computer.now));
    assert_eq!(computer.run(5), exit(5, Reason::Budget));
    assert!(!computer.hart.waiting);
}

#[test]
fn an_interrupt_is_taken_when_a_run_starts_and_costs_no_step() {
    let mut computer = computer(
        "csrsi mstatus, 8\n li a0, 0x80\n csrw mie, a0\n la a1, to\n csrw mtvec, a1\n \
         a: j a\n to: li a2, 1\n b: j b",
    );
    computer.run(10);
    computer.board.lines = 0x80;
    computer.run(1);
    assert_eq!(computer.hart.x[12], 1);
}

#[test]
fn the_cut_flag_ends_a_run_soon_and_changes_nothing() {
    let cut = AtomicBool::new(true);
    let mut computer = computer("a: addi a0, a0, 1\n j a");
    let mut steps = 0;
    while steps < 1_000_000 {
        let environment = Environment {
            ram: &mut computer.ram,
            bus: &mut computer.board,
            now: Step(steps),
            cut: &cut,
        };
        let exit = computer
            .engine
            .run(&mut computer.hart, environment, 1_000_000 - steps);
        assert!(exit.steps > 0);
        assert!(exit.steps < 40_000);
        assert_eq!(
            exit.reason,
            if steps + exit.steps == 1_000_000 {
                Reason::Budget
            } else {
                Reason::Cut
            }
        );
        steps += exit.steps;
    }
    assert_eq!(computer.hart.x[10], 500_000);
}

/// The pages written since the last round.
fn round(computer: &mut Computer) -> PageSet {
    let mut written = PageSet::new(computer.ram.pages());
    computer.ram.begin_round(&mut written);
    written
}

#[test]
fn every_store_of_a_round_is_found_dirty_in_it() {
    let mut computer = computer("li a0, 0x80010000\n a: sd a1, 0(a0)\n addi a1, a1, 1\n j a");
    for _ in 0..3 {
        computer.run(50);
        let mut written = round(&mut computer);
        written.remove(0);
        assert_eq!((written.count(), written.next(0)), (1, Some(16)));
    }
    // Another engine takes over: the permissions of the first are of no use to it.
    computer.engine = Interpreter::default();
    computer.run(50);
    let written = round(&mut computer);
    assert_eq!((written.count(), written.next(0)), (1, Some(16)));
}

#[test]
fn a_reservation_ends_when_the_machine_says_so() {
    let source = "auipc a0, 0x10\n lr.d a1, (a0)\n sc.d a2, a0, (a0)";
    let mut kept = computer(source);
    kept.run(2);
    kept.run(1);
    assert_eq!(kept.hart.x[12], 0);
    let mut dropped = computer(source);
    dropped.run(2);
    dropped.hart.drop_reservation();
    dropped.run(1);
    assert_eq!(dropped.hart.x[12], 1);
}

/// Overwrites a hart with the values of another.
struct Restore(std::vec::IntoIter<(String, u64)>);

impl Visitor for Restore {
    fn enter(&mut self, _name: &'static str) {}
    fn leave(&mut self) {}
    fn u64(&mut self, name: &'static str, value: &mut u64) {
        let (known, saved) = self.0.next().unwrap();
        assert_eq!(known, name);
        *value = saved;
    }
    fn bytes(&mut self, _name: &'static str, _value: &mut Vec<u8>, _max: usize) {}
    fn length(&mut self, _name: &'static str, length: usize, _max: usize) -> usize {
        length
    }
    fn reject(&mut self, reason: &'static str) {
        panic!("{reason}");
    }
}

#[test]
fn a_saved_and_restored_hart_goes_on_the_same_way() {
    for seed in 500..530 {
        let mut first = Computer::new(&[], InterpreterOptions::default());
        first.board.steps_per_tick = 3;
        prepare(&mut first, &mut Random(seed));
        first.run_to(200 + seed % 37);
        let mut second = Computer::new(&[], InterpreterOptions::default());
        let state = first.state();
        second.ram.write(BASE, &state.memory).unwrap();
        second.hart = Hart::new(0, 0);
        second.hart.visit(&mut Restore(state.hart.into_iter()));
        second.board = first.board.clone();
        second.now = first.now;
        first.run_to(1000);
        second.run_to(1000);
        assert_eq!(first.now, second.now);
        assert_eq!(first.state().differences(&second.state()), "", "seed {seed}");
    }
}

#[test]
fn impossible_values_are_rejected_and_never_panic() {
    struct Nonsense(Random, bool);
    impl Visitor for Nonsense {
        fn enter(&mut self, _name: &'static str) {}
        fn leave(&mut self) {}
        fn u64(&mut self, _name: &'static str, value: &mut u64) {
            *value = self.0.next() >> self.0.below(64);
        }
        fn bytes(&mut self, _name: &'static str, _value: &mut Vec<u8>, _max: usize) {}
        fn length(&mut self, _name: &'static str, length: usize, _max: usize) -> usize {
            length
        }
        fn reject(&mut self, _reason: &'static str) {
            self.1 = true;
        }
    }
    for seed in 0..200 {
        let mut computer = Computer::new(&[], InterpreterOptions::default());
        let mut nonsense = Nonsense(Random(seed), false);
        computer.hart.visit(&mut nonsense);
        assert!(nonsense.1);
        // A restorer refuses it; even so it could run.
        computer.run(100);
    }
}

#[test]
fn two_harts_share_an_engine_and_see_each_others_stores() {
    // The second runs what the first writes.
    let writer = asm::assemble("li a0, 0x80001000\n li a1, 0x00100513\n sw a1, 0(a0)", BASE);
    let mut computer = Computer::new(&writer.bytes, InterpreterOptions::default());
    let runner = asm::assemble("li a0, 7\n j 0x80001000", BASE + 0x1000);
    computer.ram.write(BASE + 0x1000, &runner.bytes).unwrap();
    let mut other = Hart::new(1, BASE + 0x1000);
    let cut = AtomicBool::new(false);
    let turn = |computer: &mut Computer, hart: &mut Hart, steps| {
        let environment = Environment {
            ram: &mut computer.ram,
            bus: &mut computer.board,
            now: Step(0),
            cut: &cut,
        };
        computer.engine.run(hart, environment, steps);
    };
    turn(&mut computer, &mut other, 4);
    assert_eq!(other.x[10], 7);
    let mut first = std::mem::take(&mut computer.hart);
    first.pc = BASE;
    turn(&mut computer, &mut first, 10);
    turn(&mut computer, &mut other, 2);
    assert_eq!(other.x[10], 1);
    assert_eq!(computer.board.lines(0, Step(0)).0, 0);
}

#[test]
fn the_list_of_a_hart_has_a_fixed_length() {
    let mut list = List::default();
    Hart::new(0, BASE).visit(&mut list);
    let length = list.values.len();
    let mut other = Hart::new(3, 0);
    other.waiting = true;
    let mut list = List::default();
    other.visit(&mut list);
    assert_eq!(list.values.len(), length);
}
