//! PLIC, CLINT, clock and test device, as their specifications say, each alone in a [`Rig`].

mod rig;

use hart::Width;
use machine::{
    PowerState, Step,
    parts::{Aclint, Device, Line, Plic, PowerRequest, Rtc, Syscon},
};
use rig::Rig;

/// Offsets of the PLIC's registers, as its driver knows them.
mod plic {
    pub const PENDING: u64 = 0x1000;
    pub const ENABLE: u64 = 0x2000;
    pub const ENABLE_STRIDE: u64 = 0x80;
    /// Context 0: M-mode of hart 0.
    pub const CLAIM_M0: u64 = 0x20_0004;
    /// Context 1: S-mode of hart 0.
    pub const THRESHOLD_S0: u64 = 0x20_1000;
    pub const CLAIM_S0: u64 = 0x20_1004;
}

/// Offsets of the CLINT's registers.
mod clint {
    pub const MSIP: u64 = 0;
    pub const MTIMECMP: u64 = 0x4000;
    pub const MTIME: u64 = 0xbff8;
}

/// Offsets of the real-time clock's registers.
mod rtc {
    pub const TIME_LOW: u64 = 0x00;
    pub const TIME_HIGH: u64 = 0x04;
    pub const ALARM_LOW: u64 = 0x08;
    pub const ALARM_HIGH: u64 = 0x0c;
    pub const IRQ_ENABLED: u64 = 0x10;
    pub const CLEAR_ALARM: u64 = 0x14;
    pub const ALARM_STATUS: u64 = 0x18;
    pub const CLEAR_INTERRUPT: u64 = 0x1c;
}

/// Source `source` enabled for both contexts of hart 0 with a priority.
fn enable(rig: &mut Rig, plic: &mut Plic, source: u64, priority: u32) {
    rig.write_word(plic, 4 * source, priority);
    for context in 0..2 {
        let word = plic::ENABLE + plic::ENABLE_STRIDE * context + source / 32 * 4;
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
        rig.read_word(&mut plic, plic::PENDING),
        1 << 3 | 1 << 10 | 1 << 11 | 1 << 5
    );
    assert_eq!(rig.read_word(&mut plic, plic::PENDING + 4), 1 << 8);
    let claims: Vec<u32> = (0..5).map(|_| rig.read_word(&mut plic, plic::CLAIM_S0)).collect();
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
    rig.write_word(&mut plic, plic::THRESHOLD_S0, 3);
    assert_eq!(plic.lines(0), (true, false));
    rig.write_word(&mut plic, plic::THRESHOLD_S0, 2);
    assert_eq!(plic.lines(0), (true, true));
    rig.write_word(&mut plic, plic::THRESHOLD_S0, 0xffff_fffb);
    assert_eq!(rig.read_word(&mut plic, plic::THRESHOLD_S0), 3);
}

#[test]
fn a_claim_does_not_obey_the_threshold() {
    let mut rig = Rig::new();
    let mut plic = Plic::new(1);
    for (source, priority) in [(10, 3), (11, 4), (12, 0)] {
        enable(&mut rig, &mut plic, source, priority);
    }
    rig.write_word(&mut plic, plic::THRESHOLD_S0, 7);
    plic.sample(1 << 10 | 1 << 11 | 1 << 12);
    assert_eq!(plic.lines(0), (true, false));
    let claims = [0; 3].map(|_| rig.read_word(&mut plic, plic::CLAIM_S0));
    assert_eq!(
        claims,
        [11, 10, 0],
        "priority 0 never interrupts, nor is it claimed"
    );
}

#[test]
fn plic_registers_read_as_written_but_for_bits_that_are_not_there() {
    let mut rig = Rig::new();
    let mut plic = Plic::new(1);
    for source in [0, 1, 63, 64, 95, 96, 1023] {
        assert_eq!(rig.read_word(&mut plic, 4 * source), 0, "after reset");
        rig.write_word(&mut plic, 4 * source, u32::MAX);
        let exists = (1..=95).contains(&source);
        assert_eq!(
            rig.read_word(&mut plic, 4 * source),
            if exists { 7 } else { 0 },
            "{source}"
        );
    }
    for (offset, exists) in [(0, !1), (4, u32::MAX), (8, u32::MAX), (12, 0)] {
        assert_eq!(rig.read_word(&mut plic, plic::ENABLE + offset), 0, "after reset");
        rig.write_word(&mut plic, plic::ENABLE + offset, u32::MAX);
        assert_eq!(rig.read_word(&mut plic, plic::ENABLE + offset), exists);
    }
    for read_only in [plic::PENDING, plic::PENDING + 4, plic::PENDING + 8] {
        rig.write_word(&mut plic, read_only, u32::MAX);
        assert_eq!(rig.read_word(&mut plic, read_only), 0);
    }
    assert_eq!(rig.read_word(&mut plic, plic::THRESHOLD_S0), 0, "after reset");
    plic.reset();
    for register in [4, 4 * 95, plic::ENABLE, plic::ENABLE + 8] {
        assert_eq!(rig.read_word(&mut plic, register), 0, "after another reset");
    }
}

#[test]
fn a_gateway_stays_closed_until_completion_and_then_looks_at_the_level() {
    let mut rig = Rig::new();
    let mut plic = Plic::new(1);
    enable(&mut rig, &mut plic, 10, 1);
    rig.irq.set(Line::Uart, true);
    plic.sample(rig.irq.0);
    assert_eq!(rig.read_word(&mut plic, plic::CLAIM_S0), 10);
    plic.sample(rig.irq.0);
    assert_eq!(plic.lines(0), (false, false), "claimed, though still high");
    rig.write_word(&mut plic, plic::CLAIM_S0, 10);
    assert_eq!(plic.lines(0), (true, true), "high at completion");
    assert_eq!(rig.read_word(&mut plic, plic::CLAIM_M0), 10);
    rig.irq.set(Line::Uart, false);
    rig.write_word(&mut plic, plic::CLAIM_M0, 10);
    assert_eq!(plic.lines(0), (false, false), "low at completion");
}

#[test]
fn a_request_outlives_its_level() {
    let mut rig = Rig::new();
    let mut plic = Plic::new(1);
    enable(&mut rig, &mut plic, 10, 1);
    plic.sample(1 << 10);
    plic.sample(0);
    assert_eq!(rig.read_word(&mut plic, plic::CLAIM_S0), 10);
}

#[test]
fn completion_of_a_source_not_enabled_here_is_ignored() {
    let mut rig = Rig::new();
    let mut plic = Plic::new(1);
    enable(&mut rig, &mut plic, 10, 1);
    rig.irq.set(Line::Uart, true);
    plic.sample(rig.irq.0);
    assert_eq!(rig.read_word(&mut plic, plic::CLAIM_S0), 10);
    rig.write_word(&mut plic, plic::ENABLE + plic::ENABLE_STRIDE, 0);
    for source in [10, 0, 64, u32::MAX] {
        rig.write_word(&mut plic, plic::CLAIM_S0, source);
    }
    assert_eq!(plic.lines(0), (false, false));
    rig.write_word(&mut plic, plic::CLAIM_M0, 10);
    assert_eq!(plic.lines(0), (true, false));
}

#[test]
fn contexts_of_absent_harts_do_nothing() {
    let mut rig = Rig::new();
    let mut plic = Plic::new(1);
    rig.write_word(&mut plic, plic::ENABLE + plic::ENABLE_STRIDE * 2, u32::MAX);
    assert_eq!(
        rig.read_word(&mut plic, plic::ENABLE + plic::ENABLE_STRIDE * 2),
        0
    );
    rig.write_word(&mut plic, 4, 1);
    plic.sample(2);
    assert_eq!(plic.lines(1), (false, false));
    assert_eq!(plic.lines(1000), (false, false));
    assert!(
        plic.read(plic::PENDING, Width::Double, &mut rig.reach())
            .is_none()
    );
    assert!(!plic.write(4, Width::Byte, 1, &mut rig.reach()));
}

#[test]
fn clint_registers_come_in_halves_and_whole() {
    let mut rig = Rig::new();
    let mut clint = Aclint::new(2);
    assert_eq!(clint.timer(1), u64::MAX);
    assert!(clint.write(
        clint::MTIMECMP + 8,
        Width::Double,
        0x1111_2222_3333_4444,
        &mut rig.reach()
    ));
    rig.write_word(&mut clint, clint::MTIMECMP + 12, 0xaaaa_bbbb);
    assert_eq!(clint.timer(1), 0xaaaa_bbbb_3333_4444);
    assert_eq!(rig.read_word(&mut clint, clint::MTIMECMP + 8), 0x3333_4444);
    rig.write_word(&mut clint, clint::MSIP + 4, 0xffff_ffff);
    assert_eq!(rig.read_word(&mut clint, clint::MSIP + 4), 1);
    assert!(clint.software(1) && !clint.software(0));
    rig.write_word(&mut clint, clint::MSIP + 8, 1);
    assert_eq!(rig.read_word(&mut clint, clint::MSIP + 8), 0, "no such hart");
    assert!(clint.read(clint::MSIP, Width::Byte, &mut rig.reach()).is_none());
}

/// The 64-bit register at an offset.
fn whole(rig: &mut Rig, device: &mut dyn Device, offset: u64) -> u64 {
    device.read(offset, Width::Double, &mut rig.reach()).unwrap()
}

#[test]
fn mtime_can_be_stored_whole_and_by_halves_and_goes_on_from_there() {
    let mut rig = Rig::new();
    let mut clint = Aclint::new(1);
    rig.clock.set(Step(0), 0x1_2345_6789, 1 << 31);
    rig.now = Step(2);
    assert_eq!(whole(&mut rig, &mut clint, clint::MTIME), 0x1_2345_678a);
    assert_eq!(rig.read_word(&mut clint, clint::MTIME + 4), 1);
    let mut store = |clint: &mut Aclint, offset, width, value| {
        assert!(clint.write(clint::MTIME + offset, width, value, &mut rig.reach()));
        rig.now = rig.now.after(2);
        whole(&mut rig, clint, clint::MTIME)
    };
    assert_eq!(store(&mut clint, 0, Width::Double, 5), 6);
    assert_eq!(store(&mut clint, 4, Width::Word, 7), 0x7_0000_0007);
    assert_eq!(store(&mut clint, 0, Width::Word, 0xffff_ffff), 0x8_0000_0000);
    assert_eq!(store(&mut clint, 0, Width::Double, u64::MAX), 0, "it wraps");
    for width in [Width::Byte, Width::Half] {
        assert!(!clint.write(clint::MTIME, width, 1, &mut rig.reach()));
    }
}

#[test]
fn a_timer_is_due_when_mtime_reaches_it_wherever_mtime_was_set() {
    let mut clint = Aclint::new(1);
    assert_eq!(clint.clock_at(100, 250), Some(250));
    assert_eq!(clint.clock_at_wrap(100), None, "the clock ends before");
    clint.set_mtime(100, 5);
    assert_eq!(clint.clock_at(100, 250), Some(345));
    assert_eq!(clint.clock_at(100, 5), None, "reached already");
    clint.set_mtime(100, u64::MAX - 1);
    assert_eq!(clint.clock_at(100, u64::MAX), Some(101));
    assert_eq!(clint.clock_at_wrap(100), Some(102));
    assert_eq!(clint.mtime(102), 0);
    clint.set_mtime(100, 0);
    assert_eq!(clint.clock_at_wrap(100), None, "it has just wrapped");
}

#[test]
fn rtc_time_is_wall_clock_plus_mtime_and_latches_its_upper_half() {
    let mut rig = Rig::new();
    let start = 0x1234_5678_ffff_ff00;
    let mut rtc = Rtc::new(start);
    assert_eq!(rig.read_word(&mut rtc, rtc::TIME_LOW), 0xffff_ff00);
    rig.now = Step(20); // 10 ticks, 1000 ns: the lower half wraps.
    assert_eq!(rig.read_word(&mut rtc, rtc::TIME_HIGH), 0x1234_5678, "latched");
    assert_eq!(
        rig.read_word(&mut rtc, rtc::TIME_LOW),
        0xffff_ff00_u32.wrapping_add(1000)
    );
    assert_eq!(rig.read_word(&mut rtc, rtc::TIME_HIGH), 0x1234_5679);
}

#[test]
fn rtc_can_be_set_and_keeps_the_time_through_reset() {
    let mut rig = Rig::new();
    let mut rtc = Rtc::new(99);
    rig.now = Step(2000);
    rig.write_word(&mut rtc, rtc::TIME_HIGH, 7);
    rig.write_word(&mut rtc, rtc::TIME_LOW, 1);
    rig.now = Step(2002);
    rtc.reset();
    assert_eq!(rig.read_word(&mut rtc, rtc::TIME_LOW), 101);
    assert_eq!(rig.read_word(&mut rtc, rtc::TIME_HIGH), 7);
}

#[test]
fn rtc_halves_of_the_time_are_set_at_once_and_in_any_order() {
    let mut rig = Rig::new();
    let mut rtc = Rtc::new(0x1_0000_0002);
    rig.write_word(&mut rtc, rtc::TIME_LOW, 9);
    assert_eq!(rig.read_word(&mut rtc, rtc::TIME_LOW), 9);
    assert_eq!(
        rig.read_word(&mut rtc, rtc::TIME_HIGH),
        1,
        "a half alone is set alone"
    );
    rig.write_word(&mut rtc, rtc::TIME_HIGH, 7);
    assert_eq!(rig.read_word(&mut rtc, rtc::TIME_HIGH), 1, "still latched");
    assert_eq!(rig.read_word(&mut rtc, rtc::TIME_LOW), 9);
    assert_eq!(rig.read_word(&mut rtc, rtc::TIME_HIGH), 7);
}

#[test]
fn rtc_alarm_comes_in_time_when_the_guest_has_set_an_early_time() {
    let mut rig = Rig::new();
    let mut rtc = Rtc::new(1000);
    rig.now = Step(2000); // 100,000 ns after the first step.
    rig.write_word(&mut rtc, rtc::TIME_HIGH, 0);
    rig.write_word(&mut rtc, rtc::TIME_LOW, 0); // The first step is now before 1970.
    rig.write_word(&mut rtc, rtc::IRQ_ENABLED, 1);
    rig.write_word(&mut rtc, rtc::ALARM_HIGH, 0);
    rig.write_word(&mut rtc, rtc::ALARM_LOW, 500);
    assert_eq!(rig.read_word(&mut rtc, rtc::ALARM_STATUS), 1);
    rig.pass(&mut rtc, 4);
    assert!(!rig.is_high(Line::Rtc));
    rig.pass(&mut rtc, 1);
    assert!(rig.is_high(Line::Rtc));
}

#[test]
fn rtc_alarm_follows_the_time_when_that_is_set() {
    let mut rig = Rig::new();
    let mut rtc = Rtc::new(0);
    rig.write_word(&mut rtc, rtc::IRQ_ENABLED, 1);
    rig.write_word(&mut rtc, rtc::ALARM_LOW, 10_000);
    assert_eq!(rtc.deadline(), Some(100));
    rig.write_word(&mut rtc, rtc::TIME_LOW, 9_000);
    assert_eq!(rtc.deadline(), Some(10));
    rig.write_word(&mut rtc, rtc::TIME_LOW, 10_000);
    assert!(rig.is_high(Line::Rtc));
}

#[test]
fn rtc_alarm_can_be_cleared_and_far_ones_wait() {
    let mut rig = Rig::new();
    let mut rtc = Rtc::new(0);
    rig.write_word(&mut rtc, rtc::IRQ_ENABLED, 1);
    rig.write_word(&mut rtc, rtc::ALARM_HIGH, u32::MAX);
    assert_eq!(
        rig.read_word(&mut rtc, rtc::ALARM_STATUS),
        0,
        "the low half arms it"
    );
    rig.write_word(&mut rtc, rtc::ALARM_LOW, u32::MAX);
    assert_eq!(rig.read_word(&mut rtc, rtc::ALARM_LOW), u32::MAX);
    assert_eq!(rig.read_word(&mut rtc, rtc::ALARM_HIGH), u32::MAX);
    assert_eq!(rtc.deadline(), Some(u64::MAX.div_ceil(100)));
    rig.write_word(&mut rtc, rtc::CLEAR_ALARM, 1);
    assert_eq!(
        (rig.read_word(&mut rtc, rtc::ALARM_STATUS), rtc.deadline()),
        (0, None)
    );
    assert!(!rig.is_high(Line::Rtc));
    assert!(rtc.read(rtc::TIME_LOW, Width::Double, &mut rig.reach()).is_none());
    assert!(!rtc.write(rtc::TIME_LOW, Width::Half, 0, &mut rig.reach()));
}

#[test]
fn rtc_alarm_fires_once_at_its_time() {
    let mut rig = Rig::new();
    let mut rtc = Rtc::new(1000);
    rig.write_word(&mut rtc, rtc::ALARM_HIGH, 0);
    rig.write_word(&mut rtc, rtc::ALARM_LOW, 1950);
    rig.write_word(&mut rtc, rtc::IRQ_ENABLED, 1);
    assert_eq!(rig.read_word(&mut rtc, rtc::ALARM_STATUS), 1);
    assert_eq!(rtc.deadline(), Some(10));
    rig.pass(&mut rtc, 9);
    assert!(!rig.is_high(Line::Rtc));
    rig.pass(&mut rtc, 1);
    assert!(rig.is_high(Line::Rtc));
    assert_eq!(
        (rig.read_word(&mut rtc, rtc::ALARM_STATUS), rtc.deadline()),
        (0, None)
    );
    rig.write_word(&mut rtc, rtc::CLEAR_INTERRUPT, 1);
    assert!(!rig.is_high(Line::Rtc));
    rig.write_word(&mut rtc, rtc::ALARM_LOW, 5); // Long past.
    assert!(rig.is_high(Line::Rtc));
    rig.write_word(&mut rtc, rtc::IRQ_ENABLED, 0);
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
    assert_eq!(rig.read_word(&mut test, 0), 0);
    rig.write_word(&mut test, 4, 0x5555);
    assert_eq!(test.take_request(), None, "there is one register");
    assert!(test.write(0, Width::Half, 0x5555, &mut rig.reach()));
    assert_eq!(test.take_request(), Some(PowerRequest::Off(PowerState::Off)));
    for width in [Width::Byte, Width::Double] {
        assert!(!test.write(0, width, 0x5555, &mut rig.reach()));
        assert!(test.read(0, width, &mut rig.reach()).is_none());
    }
}
