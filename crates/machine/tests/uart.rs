//! The 16550A as its data sheet and Linux's 8250 driver expect it.

mod rig;

use machine::parts::{Device, FIFO_BYTES, Line, TYPED_MAX, Uart};
use rig::Rig;

const DATA: u64 = 0;
const IER: u64 = 1;
const IIR: u64 = 2;
const FCR: u64 = 2;
const LCR: u64 = 3;
const MCR: u64 = 4;
const LSR: u64 = 5;
const MSR: u64 = 6;
const SCR: u64 = 7;

fn with_fifos(rig: &mut Rig, trigger: u8) -> Uart {
    let mut uart = Uart::default();
    rig.write(&mut uart, FCR, 1 | trigger << 6);
    uart
}

/// Takes all that the line brings, as a driver does that comes back whenever the line has rested.
fn drain(rig: &mut Rig, uart: &mut Uart) -> Vec<u8> {
    let mut back = Vec::new();
    loop {
        while rig.read(uart, LSR) & 1 != 0 {
            back.push(rig.read(uart, DATA));
        }
        if uart.deadline().is_none() {
            return back;
        }
        rig.pass(uart, 1);
    }
}

#[test]
fn typed_bytes_pass_the_fifo_in_order_and_without_loss() {
    let mut rig = Rig::new();
    let mut uart = with_fifos(&mut rig, 0);
    let text: Vec<u8> = (0..200).collect();
    uart.receive(&text, &mut rig.reach());
    assert_eq!(drain(&mut rig, &mut uart), text);
    assert_eq!(rig.read(&mut uart, DATA), 0);
    assert_eq!(rig.read(&mut uart, LSR), 0x60);
}

#[test]
fn a_flood_of_typing_is_cut_off_at_the_limit() {
    let mut rig = Rig::new();
    let mut uart = with_fifos(&mut rig, 0);
    assert_eq!(uart.room(), TYPED_MAX);
    for _ in 0..3 {
        uart.receive(&vec![b'x'; TYPED_MAX], &mut rig.reach());
    }
    assert_eq!(uart.room(), 0);
    assert_eq!(drain(&mut rig, &mut uart).len(), TYPED_MAX + FIFO_BYTES);
    assert_eq!(uart.room(), TYPED_MAX);
}

#[test]
fn the_line_rests_twice_as_long_as_the_driver_took_for_the_fifo() {
    let mut rig = Rig::new();
    let mut uart = with_fifos(&mut rig, 0);
    uart.receive(&[1; 40], &mut rig.reach());
    for took in [100, 7_000] {
        for _ in 0..FIFO_BYTES - 1 {
            rig.read(&mut uart, DATA);
        }
        rig.pass(&mut uart, took);
        assert_eq!(rig.read(&mut uart, LSR) & 1, 1);
        rig.read(&mut uart, DATA);
        // At most a millisecond, however slow the driver is.
        let rest = (2 * took).min(10_000);
        rig.pass(&mut uart, rest - 1);
        assert_eq!(rig.read(&mut uart, LSR) & 1, 0);
        rig.pass(&mut uart, 1);
        assert_eq!(rig.read(&mut uart, LSR) & 1, 1);
    }
}

#[test]
fn a_driver_that_lets_rts_fall_is_waited_for_and_one_without_flow_control_is_not() {
    let (dtr, rts) = (1, 2);
    for (controls, waits) in [
        (&[dtr | rts, dtr][..], true),
        (&[dtr | rts, dtr, dtr | rts], false),
        (&[dtr | rts, dtr, 0], false),
        (&[dtr], false),
        (&[0], false),
    ] {
        let mut rig = Rig::new();
        let mut uart = with_fifos(&mut rig, 0);
        for &control in controls {
            rig.write(&mut uart, MCR, control);
        }
        uart.receive(b"x", &mut rig.reach());
        assert_eq!(rig.read(&mut uart, LSR) & 1 == 0, waits, "{controls:?}");
        rig.write(&mut uart, MCR, dtr | rts);
        assert_eq!(rig.read(&mut uart, DATA), b'x', "nothing is lost");
    }
}

#[test]
fn clearing_the_receiver_drops_the_fifo_only() {
    let mut rig = Rig::new();
    let mut uart = with_fifos(&mut rig, 0);
    uart.receive(&[1; 20], &mut rig.reach());
    rig.write(&mut uart, FCR, 1 | 2);
    for _ in 0..4 {
        assert_eq!(rig.read(&mut uart, LSR) & 1, 1);
        rig.read(&mut uart, DATA);
    }
    assert_eq!(rig.read(&mut uart, LSR) & 1, 0);
}

#[test]
fn the_receive_interrupt_names_trigger_or_timeout() {
    let mut rig = Rig::new();
    let mut uart = with_fifos(&mut rig, 2); // 8 bytes.
    rig.write(&mut uart, IER, 1);
    assert_eq!(rig.read(&mut uart, IIR), 0xc1);
    uart.receive(&[1; 7], &mut rig.reach());
    assert!(rig.is_high(Line::Uart));
    assert_eq!(rig.read(&mut uart, IIR), 0xcc);
    uart.receive(&[1], &mut rig.reach());
    assert_eq!(rig.read(&mut uart, IIR), 0xc4);
    for _ in 0..8 {
        assert!(rig.is_high(Line::Uart));
        rig.read(&mut uart, DATA);
    }
    assert!(!rig.is_high(Line::Uart));
}

#[test]
fn without_fifos_there_is_one_byte_and_no_fifo_bits() {
    let mut rig = Rig::new();
    let mut uart = Uart::default();
    rig.write(&mut uart, IER, 1);
    uart.receive(b"ab", &mut rig.reach());
    assert_eq!(rig.read(&mut uart, IIR), 0x04);
    assert_eq!(rig.read(&mut uart, DATA), b'a');
    rig.pass(&mut uart, 1);
    assert_eq!(rig.read(&mut uart, DATA), b'b');
    assert_eq!(rig.read(&mut uart, IIR), 0x01);
}

#[test]
fn the_empty_interrupt_comes_with_enabling_and_with_each_byte_and_goes_with_iir() {
    let mut rig = Rig::new();
    let mut uart = with_fifos(&mut rig, 0);
    for _ in 0..2 {
        rig.write(&mut uart, IER, 2);
        assert!(rig.is_high(Line::Uart));
        assert_eq!(rig.read(&mut uart, IIR), 0xc2);
        assert_eq!(rig.read(&mut uart, IIR), 0xc1);
        assert!(!rig.is_high(Line::Uart));
        rig.write(&mut uart, IER, 0); // The 8250 driver's test: again after off and on.
    }
    rig.write(&mut uart, IER, 2);
    rig.read(&mut uart, IIR);
    rig.write(&mut uart, DATA, b'x');
    assert!(rig.is_high(Line::Uart));
    uart.receive(b"y", &mut rig.reach());
    rig.write(&mut uart, IER, 3);
    assert_eq!(
        rig.read(&mut uart, IIR) & 0xf,
        0x4,
        "received data is more urgent"
    );
    rig.read(&mut uart, DATA);
    assert_eq!(
        rig.read(&mut uart, IIR) & 0xf,
        0x2,
        "and reading it does not lose the other"
    );
}

#[test]
fn sent_bytes_leave_as_lines_or_after_a_millisecond() {
    let mut rig = Rig::new();
    let mut uart = Uart::default();
    for byte in *b"ab\nc" {
        rig.write(&mut uart, DATA, byte);
    }
    assert_eq!(rig.effects.len(), 1);
    assert_eq!(rig.console(), b"ab\n");
    rig.pass(&mut uart, 9_999);
    assert!(rig.effects.is_empty());
    rig.pass(&mut uart, 1);
    assert_eq!(rig.console(), b"c");
    assert_eq!(uart.deadline(), None);
    for _ in 0..600 {
        rig.write(&mut uart, DATA, b'.');
    }
    assert_eq!(rig.effects.len(), 2);
    uart.flush(&mut rig.effects);
    assert_eq!(rig.console().len(), 600);
}

#[test]
fn loopback_goes_round_inside_and_overruns() {
    let mut rig = Rig::new();
    let mut uart = with_fifos(&mut rig, 0);
    rig.write(&mut uart, MCR, 0x10 | 0xa);
    assert_eq!(rig.read(&mut uart, MSR) & 0xf0, 0x90);
    rig.write(&mut uart, IER, 4);
    uart.receive(b"outside", &mut rig.reach());
    for byte in 0..17 {
        rig.write(&mut uart, DATA, byte);
    }
    assert_eq!(rig.read(&mut uart, IIR) & 0xf, 0x6);
    assert_eq!(rig.read(&mut uart, LSR), 0x63);
    assert_eq!(rig.read(&mut uart, LSR), 0x61);
    for byte in 0..16 {
        assert_eq!(rig.read(&mut uart, DATA), byte);
    }
    assert_eq!(rig.read(&mut uart, LSR), 0x60);
    rig.write(&mut uart, MCR, 0);
    assert_eq!(rig.read(&mut uart, DATA), b'o');
    assert!(rig.console().is_empty());
    assert_eq!(rig.read(&mut uart, MSR) & 0xf0, 0xb0);
}

#[test]
fn without_fifos_a_new_byte_destroys_the_one_that_was_not_read() {
    let mut rig = Rig::new();
    let mut uart = Uart::default();
    rig.write(&mut uart, MCR, 0x10);
    for byte in *b"abc" {
        rig.write(&mut uart, DATA, byte);
    }
    assert_eq!(rig.read(&mut uart, LSR), 0x63, "data and an overrun");
    assert_eq!(rig.read(&mut uart, DATA), b'c');
    assert_eq!(rig.read(&mut uart, LSR), 0x60);
}

#[test]
fn fcr_without_fifo_enable_programs_nothing_else() {
    let mut rig = Rig::new();
    let mut uart = Uart::default();
    uart.receive(b"a", &mut rig.reach());
    rig.write(&mut uart, FCR, 2 | 0xc0); // Receiver reset and a trigger, but no enable.
    assert_eq!(rig.read(&mut uart, DATA), b'a');
    rig.write(&mut uart, FCR, 1);
    rig.write(&mut uart, IER, 1);
    uart.receive(b"b", &mut rig.reach());
    assert_eq!(rig.read(&mut uart, IIR), 0xc4, "the trigger level is one byte");
}

#[test]
fn changing_the_fifos_on_or_off_clears_the_receiver() {
    let mut rig = Rig::new();
    let mut uart = Uart::default();
    rig.write(&mut uart, MCR, 0x10);
    for fcr in [1, 0] {
        rig.write(&mut uart, DATA, b'x');
        rig.write(&mut uart, FCR, fcr);
        assert_eq!(rig.read(&mut uart, LSR), 0x60, "FCR {fcr}");
    }
}

#[test]
fn modem_control_in_loopback_makes_modem_status_changes_and_their_interrupt() {
    let mut rig = Rig::new();
    let mut uart = Uart::default();
    assert_eq!(rig.read(&mut uart, MSR), 0xb0, "nothing has changed after reset");
    rig.write(&mut uart, MCR, 0x10);
    assert_eq!(rig.read(&mut uart, MSR), 0x0b, "CTS, DSR and DCD went");
    assert_eq!(rig.read(&mut uart, MSR), 0, "reading takes the changes back");
    rig.write(&mut uart, IER, 8);
    for (control, status) in [
        (0x12, 0x11),
        (0x11, 0x23),
        (0x14, 0x42),
        (0x18, 0x8c),
        (0x10, 0x08),
    ] {
        assert!(!rig.is_high(Line::Uart));
        rig.write(&mut uart, MCR, control);
        assert!(rig.is_high(Line::Uart), "{control:#x}");
        assert_eq!(rig.read(&mut uart, IIR), 0x00);
        assert_eq!(rig.read(&mut uart, MSR), status, "{control:#x}");
        assert_eq!(rig.read(&mut uart, IIR), 0x01);
    }
}

#[test]
fn the_interrupts_come_in_the_data_sheets_order() {
    let mut rig = Rig::new();
    let mut uart = Uart::default();
    rig.write(&mut uart, MCR, 0x10);
    rig.write(&mut uart, DATA, 1);
    rig.write(&mut uart, DATA, 2); // An overrun, a byte, an empty transmitter and changed modem inputs.
    rig.write(&mut uart, IER, 0xff);
    assert_eq!(rig.read(&mut uart, IER), 0x0f, "the chip has no other bits");
    let reset: [(u8, u64); 4] = [(0x6, LSR), (0x4, DATA), (0x2, IIR), (0x0, MSR)];
    for (cause, register) in reset {
        assert_eq!(rig.read(&mut uart, IIR), cause);
        rig.read(&mut uart, register);
    }
    assert_eq!(rig.read(&mut uart, IIR), 0x1);
    assert!(!rig.is_high(Line::Uart));
}

#[test]
fn registers_read_as_written_but_for_bits_that_the_chip_has_not() {
    let mut rig = Rig::new();
    let mut uart = Uart::default();
    let reset: Vec<u8> = (0..10).map(|offset| rig.read(&mut uart, offset)).collect();
    assert_eq!(reset, [0, 0, 1, 0, 0, 0x60, 0xb0, 0, 0, 0]);
    for (register, stored, read) in [(LCR, 0x7f, 0x7f), (MCR, 0xff, 0x1f), (SCR, 0xff, 0xff)] {
        rig.write(&mut uart, register, stored);
        assert_eq!(rig.read(&mut uart, register), read);
    }
    rig.write(&mut uart, MCR, 0);
    rig.read(&mut uart, MSR);
    for read_only in [LSR, MSR] {
        let before = rig.read(&mut uart, read_only);
        rig.write(&mut uart, read_only, !before);
        assert_eq!(rig.read(&mut uart, read_only), before);
    }
}

#[test]
fn the_divisor_latch_hides_data_and_interrupt_enable() {
    let mut rig = Rig::new();
    let mut uart = Uart::default();
    rig.write(&mut uart, IER, 5);
    rig.write(&mut uart, SCR, 0x5a);
    rig.write(&mut uart, LCR, 0x83);
    rig.write(&mut uart, DATA, 0x12);
    rig.write(&mut uart, IER, 0x34);
    assert_eq!(
        (rig.read(&mut uart, DATA), rig.read(&mut uart, IER)),
        (0x12, 0x34)
    );
    rig.write(&mut uart, LCR, 0x03);
    assert_eq!(rig.read(&mut uart, IER), 5);
    assert_eq!(rig.read(&mut uart, SCR), 0x5a);
    assert_eq!(rig.read(&mut uart, LCR), 3);
    assert!(rig.effects.is_empty());
}

#[test]
fn reset_keeps_what_is_on_the_line() {
    let mut rig = Rig::new();
    let mut uart = with_fifos(&mut rig, 0);
    rig.write(&mut uart, DATA, b'x');
    uart.receive(&[7; 17], &mut rig.reach());
    uart.reset();
    rig.pass(&mut uart, 10_000);
    assert_eq!(rig.console(), b"x");
    assert_eq!(rig.read(&mut uart, IER), 0);
    rig.write(&mut uart, FCR, 1);
    assert_eq!(rig.read(&mut uart, DATA), 7);
    assert_eq!(rig.read(&mut uart, LSR) & 1, 0);
}

/// LSR's bits for a break at the oldest byte and for one anywhere in the FIFO (PC16550D, table II).
const BI: u8 = 1 << 4;
const FIFO_ERROR: u8 = 1 << 7;

#[test]
fn a_break_is_a_zero_with_a_flag_in_its_place_among_what_is_typed() {
    let mut rig = Rig::new();
    let mut uart = with_fifos(&mut rig, 0);
    rig.write(&mut uart, IER, 5); // Received data and line status.
    uart.receive(b"a", &mut rig.reach());
    uart.receive_break(&mut rig.reach());
    uart.receive(b"h", &mut rig.reach());
    // The break is told when its zero is the oldest byte; until then only that there is one.
    assert_eq!(rig.read(&mut uart, LSR) & (BI | FIFO_ERROR), FIFO_ERROR);
    assert_eq!(rig.read(&mut uart, IIR) & 0xf, 0x4);
    assert_eq!(rig.read(&mut uart, DATA), b'a');
    assert_eq!(
        rig.read(&mut uart, IIR) & 0xf,
        0x6,
        "line status is the most urgent"
    );
    assert_eq!(
        rig.read(&mut uart, LSR) & (BI | FIFO_ERROR | 1),
        BI | FIFO_ERROR | 1
    );
    assert_eq!(
        rig.read(&mut uart, LSR) & (BI | FIFO_ERROR | 1),
        1,
        "a load takes it back"
    );
    assert_eq!(rig.read(&mut uart, DATA), 0);
    assert_eq!(rig.read(&mut uart, LSR) & (BI | FIFO_ERROR), 0);
    assert_eq!(rig.read(&mut uart, DATA), b'h');
}

#[test]
fn a_break_behind_a_paste_keeps_its_place_and_a_reset_fifo_forgets_it() {
    let mut rig = Rig::new();
    let mut uart = with_fifos(&mut rig, 0);
    uart.receive(&[b'x'; 40], &mut rig.reach());
    uart.receive_break(&mut rig.reach());
    uart.receive_break(&mut rig.reach());
    uart.receive(b"h", &mut rig.reach());
    let (mut bytes, mut breaks) = (Vec::new(), Vec::new());
    loop {
        let status = rig.read(&mut uart, LSR);
        if status & BI != 0 {
            breaks.push(bytes.len());
        }
        if status & 1 != 0 {
            bytes.push(rig.read(&mut uart, DATA));
        } else if uart.deadline().is_some() {
            rig.pass(&mut uart, 1);
        } else {
            break;
        }
    }
    assert_eq!(bytes, [&[b'x'; 40][..], b"\0h"].concat());
    assert_eq!(breaks, [40], "two breaks on the line are one");
    uart.receive_break(&mut rig.reach());
    rig.write(&mut uart, FCR, 1 | 2);
    uart.receive(b"y", &mut rig.reach());
    assert_eq!(rig.read(&mut uart, LSR) & (BI | FIFO_ERROR), 0);
}
