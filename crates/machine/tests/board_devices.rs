//! PLIC, CLINT, clock and test device, as their specifications say.

mod rig;

use hart::Width;
use machine::{
    PowerState, Step,
    parts::{Aclint, Device, Line, Plic, PowerRequest, Rtc, Syscon},
};
use rig::Rig;

const CLAIM_M0: u64 = 0x20_0004;
const CLAIM_S0: u64 = 0x20_1004;

/// Source `source` enabled for both contexts of hart 0 with a priority.
fn enable(rig: &mut Rig, plic: &mut Plic, source: u64, priority: u32) {
    rig.write_word(plic, 4 * source, priority);
    for context in 0..2 {
        let word = 0x2000 + 0x80 * context + source / 32 * 4;
        let enabled = rig.read_word(plic, word);
        rig.write_word(plic, word, enabled | 1 << (source % 32));
    }
}

#[test]
fn claim_takes_the_highest_priority_then_the_lowest_number() {
    let mut rig = Rig::new();
    let mut plic = Plic::new(1);
    for (source, priority) in [(3, 2), (10, 7), (11, 7), (40, 1), (5, 0)] {
        enable(&mut rig, &mut plic, source, priority);
    }
    plic.sample(1 << 3 | 1 << 10 | 1 << 11 | 1 << 40 | 1 << 5 | 1);
    assert_eq!(
        rig.read_word(&mut plic, 0x1000),
        1 << 3 | 1 << 10 | 1 << 11 | 1 << 5
    );
    assert_eq!(rig.read_word(&mut plic, 0x1004), 1 << 8);
    let claims: Vec<u32> = (0..5).map(|_| rig.read_word(&mut plic, CLAIM_S0)).collect();
    assert_eq!(claims, [10, 11, 3, 40, 0]);
    assert_eq!(plic.lines(0), (false, false));
}

#[test]
fn threshold_masks_priorities_up_to_it() {
    let mut rig = Rig::new();
    let mut plic = Plic::new(1);
    enable(&mut rig, &mut plic, 10, 3);
    plic.sample(1 << 10);
    assert_eq!(plic.lines(0), (true, true));
    rig.write_word(&mut plic, 0x20_1000, 3);
    assert_eq!(plic.lines(0), (true, false));
    assert_eq!(rig.read_word(&mut plic, CLAIM_S0), 0);
    rig.write_word(&mut plic, 0x20_1000, 2);
    assert_eq!(plic.lines(0), (true, true));
    rig.write_word(&mut plic, 0x20_1000, 0xffff_fffb);
    assert_eq!(rig.read_word(&mut plic, 0x20_1000), 3);
}

#[test]
fn a_gateway_stays_closed_until_completion_and_then_looks_at_the_level() {
    let mut rig = Rig::new();
    let mut plic = Plic::new(1);
    enable(&mut rig, &mut plic, 10, 1);
    rig.irq.set(Line::Uart, true);
    plic.sample(rig.irq.0);
    assert_eq!(rig.read_word(&mut plic, CLAIM_S0), 10);
    plic.sample(rig.irq.0);
    assert_eq!(plic.lines(0), (false, false), "claimed, though still high");
    rig.write_word(&mut plic, CLAIM_S0, 10);
    assert_eq!(plic.lines(0), (true, true), "high at completion");
    assert_eq!(rig.read_word(&mut plic, CLAIM_M0), 10);
    rig.irq.set(Line::Uart, false);
    rig.write_word(&mut plic, CLAIM_M0, 10);
    assert_eq!(plic.lines(0), (false, false), "low at completion");
}

#[test]
fn a_request_outlives_its_level() {
    let mut rig = Rig::new();
    let mut plic = Plic::new(1);
    enable(&mut rig, &mut plic, 10, 1);
    plic.sample(1 << 10);
    plic.sample(0);
    assert_eq!(rig.read_word(&mut plic, CLAIM_S0), 10);
}

#[test]
fn completion_of_a_source_not_enabled_here_is_ignored() {
    let mut rig = Rig::new();
    let mut plic = Plic::new(1);
    enable(&mut rig, &mut plic, 10, 1);
    rig.irq.set(Line::Uart, true);
    plic.sample(rig.irq.0);
    assert_eq!(rig.read_word(&mut plic, CLAIM_S0), 10);
    rig.write_word(&mut plic, 0x2080, 0);
    for source in [10, 0, 64, u32::MAX] {
        rig.write_word(&mut plic, CLAIM_S0, source);
    }
    assert_eq!(plic.lines(0), (false, false));
    rig.write_word(&mut plic, CLAIM_M0, 10);
    assert_eq!(plic.lines(0), (true, false));
}

#[test]
fn contexts_of_absent_harts_do_nothing() {
    let mut rig = Rig::new();
    let mut plic = Plic::new(1);
    rig.write_word(&mut plic, 0x2000 + 0x80 * 2, u32::MAX);
    assert_eq!(rig.read_word(&mut plic, 0x2000 + 0x80 * 2), 0);
    rig.write_word(&mut plic, 4, 1);
    plic.sample(2);
    assert_eq!(plic.lines(1), (false, false));
    assert_eq!(plic.lines(1000), (false, false));
    assert!(plic.read(0x1000, Width::Double, &mut rig.reach()).is_none());
    assert!(!plic.write(4, Width::Byte, 1, &mut rig.reach()));
}

#[test]
fn clint_registers_come_in_halves_and_whole() {
    let mut rig = Rig::new();
    let mut clint = Aclint::new(2);
    assert_eq!(clint.timer(1), u64::MAX);
    assert!(clint.write(0x4008, Width::Double, 0x1111_2222_3333_4444, &mut rig.reach()));
    rig.write_word(&mut clint, 0x400c, 0xaaaa_bbbb);
    assert_eq!(clint.timer(1), 0xaaaa_bbbb_3333_4444);
    assert_eq!(rig.read_word(&mut clint, 0x4008), 0x3333_4444);
    rig.write_word(&mut clint, 4, 0xffff_ffff);
    assert_eq!(rig.read_word(&mut clint, 4), 1);
    assert!(clint.software(1) && !clint.software(0));
    rig.write_word(&mut clint, 8, 1);
    assert_eq!(rig.read_word(&mut clint, 8), 0, "no such hart");
    assert!(clint.read(0, Width::Byte, &mut rig.reach()).is_none());
}

#[test]
fn clint_shows_the_time_and_ignores_stores_to_it() {
    let mut rig = Rig::new();
    let mut clint = Aclint::new(1);
    rig.clock.set(Step(0), 0x1_2345_6789, 1 << 31);
    rig.now = Step(2);
    assert!(clint.write(0xbff8, Width::Double, 5, &mut rig.reach()));
    assert_eq!(
        clint.read(0xbff8, Width::Double, &mut rig.reach()),
        Some(0x1_2345_678a)
    );
    assert_eq!(rig.read_word(&mut clint, 0xbffc), 1);
}

#[test]
fn rtc_time_is_wall_clock_plus_mtime_and_latches_its_upper_half() {
    let mut rig = Rig::new();
    let start = 0x1234_5678_ffff_ff00;
    let mut rtc = Rtc::new(start);
    assert_eq!(rig.read_word(&mut rtc, 0), 0xffff_ff00);
    rig.now = Step(20); // 10 ticks, 1000 ns: the lower half wraps.
    assert_eq!(rig.read_word(&mut rtc, 4), 0x1234_5678, "latched");
    assert_eq!(rig.read_word(&mut rtc, 0), 0xffff_ff00_u32.wrapping_add(1000));
    assert_eq!(rig.read_word(&mut rtc, 4), 0x1234_5679);
}

#[test]
fn rtc_can_be_set_and_keeps_the_time_through_reset() {
    let mut rig = Rig::new();
    let mut rtc = Rtc::new(99);
    rig.now = Step(2000);
    rig.write_word(&mut rtc, 4, 7);
    rig.write_word(&mut rtc, 0, 1);
    rig.now = Step(2002);
    rtc.reset();
    assert_eq!(rig.read_word(&mut rtc, 0), 101);
    assert_eq!(rig.read_word(&mut rtc, 4), 7);
}

#[test]
fn rtc_alarm_fires_once_at_its_time() {
    let mut rig = Rig::new();
    let mut rtc = Rtc::new(1000);
    rig.write_word(&mut rtc, 0x0c, 0);
    rig.write_word(&mut rtc, 0x08, 1950);
    rig.write_word(&mut rtc, 0x10, 1);
    assert_eq!(rig.read_word(&mut rtc, 0x18), 1);
    assert_eq!(rtc.deadline(), Some(10));
    rig.pass(&mut rtc, 9);
    assert!(!rig.is_high(Line::Rtc));
    rig.pass(&mut rtc, 1);
    assert!(rig.is_high(Line::Rtc));
    assert_eq!((rig.read_word(&mut rtc, 0x18), rtc.deadline()), (0, None));
    rig.write_word(&mut rtc, 0x1c, 1);
    assert!(!rig.is_high(Line::Rtc));
    rig.write_word(&mut rtc, 0x08, 5); // Long past.
    assert!(rig.is_high(Line::Rtc));
    rig.write_word(&mut rtc, 0x10, 0);
    assert!(!rig.is_high(Line::Rtc));
}

#[test]
fn the_test_device_asks_for_power_and_reset() {
    let mut rig = Rig::new();
    let mut test = Syscon::default();
    let mut ask = |value| {
        rig.write_word(&mut test, 0, value);
        test.take_request()
    };
    assert_eq!(ask(0x5555), Some(PowerRequest::Off(PowerState::Off)));
    assert_eq!(ask(0x002a_3333), Some(PowerRequest::Off(PowerState::Failed(42))));
    assert_eq!(ask(0x7777), Some(PowerRequest::Reset));
    assert_eq!(ask(0x1234), None);
}
