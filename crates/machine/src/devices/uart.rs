//! 16550A UART: eight byte registers between the guest's driver and console port 0.
//!
//! What the guest sends leaves as [`Effect::ConsoleWrite`], gathered for at most a millisecond of guest time
//! (a line end or a full buffer sends at once), so that a line of text is one output and not forty. What is
//! typed comes in through [`Uart::receive`] and waits without loss behind the 16-byte FIFO.
//! It never asks the host anything: LSR says only what the guest was given. There are no line errors, no
//! break, and the divisor changes nothing: a byte takes no time.
//!
//! Source: the PC16550D data sheet (National Semiconductor, 1995), section 8, "Registers".

use std::collections::VecDeque;

use hart::{Visit, Visitor, Width};

use crate::{
    Effect, Effects,
    device::{Device, Reach},
    irq::Line,
    narrow::{low8, wide},
};

/// Bytes of the receiver FIFO.
pub const FIFO_BYTES: usize = 16;
/// Most bytes that wait behind the FIFO; more are dropped, as from a terminal that types too fast.
pub const TYPED_MAX: usize = 64 << 10;
/// Most bytes in one effect.
pub const SENT_MAX: usize = 256;
/// Ticks of `mtime` after which gathered bytes leave.
const SEND_DELAY: u64 = 10_000;

/// IER: data received.
const IER_RECEIVED: u8 = 1;
/// IER: transmitter empty.
const IER_EMPTY: u8 = 1 << 1;
/// IER: line status.
const IER_LINE: u8 = 1 << 2;
/// FCR: FIFOs on.
const FCR_ENABLE: u8 = 1;
/// FCR: clear the receiver FIFO.
const FCR_CLEAR_RECEIVER: u8 = 1 << 1;
/// FCR: the receiver's trigger level.
const FCR_TRIGGER: u8 = 3 << 6;
/// LCR: the divisor latch is at offsets 0 and 1.
const LCR_DIVISOR: u8 = 1 << 7;
/// MCR: loopback.
const MCR_LOOP: u8 = 1 << 4;
/// LSR: data ready.
const LSR_READY: u8 = 1;
/// LSR: overrun.
const LSR_OVERRUN: u8 = 1 << 1;
/// LSR: holding register and shifter empty, which they always are.
const LSR_EMPTY: u8 = 3 << 5;
/// MSR with a terminal attached: CTS, DSR, DCD.
const MSR_CONNECTED: u8 = 0xb0;

/// IIR, in falling order of priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Receiver line status: an overrun.
    Line,
    /// The FIFO has reached its trigger level.
    Received,
    /// The FIFO holds less. The chip waits four characters' time; here no character takes time.
    Timeout,
    /// The transmitter became empty.
    Empty,
    /// Nothing.
    None,
}

impl Cause {
    const fn code(self) -> u8 {
        match self {
            Cause::Line => 0x6,
            Cause::Received => 0x4,
            Cause::Timeout => 0xc,
            Cause::Empty => 0x2,
            Cause::None => 0x1,
        }
    }
}

/// The UART.
#[derive(Clone, Debug, Default)]
pub struct Uart {
    interrupt_enable: u8,
    /// FCR's enable and trigger bits; the others act once.
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: [u8; 2],
    overrun: bool,
    /// The transmitter became empty and nobody has read so from IIR.
    empty_pending: bool,
    /// The receiver FIFO: at most [`FIFO_BYTES`], or 1 with the FIFOs off.
    received: VecDeque<u8>,
    /// Typed, and not yet in the FIFO: at most [`TYPED_MAX`].
    typed: VecDeque<u8>,
    /// Sent by the guest, and not yet an effect: less than [`SENT_MAX`].
    sent: Vec<u8>,
    /// The `mtime` at which `sent` leaves; `None` exactly when it is empty.
    send_at: Option<u64>,
}

impl Uart {
    /// Bytes typed at the console.
    pub fn receive(&mut self, bytes: &[u8], reach: &mut Reach<'_>) {
        let room = TYPED_MAX.saturating_sub(self.typed.len());
        self.typed.extend(bytes.iter().take(room));
        self.refill();
        self.drive(reach);
    }

    /// What the guest has sent leaves now.
    pub fn flush(&mut self, effects: &mut Effects) {
        self.send_at = None;
        if !self.sent.is_empty() {
            let bytes = std::mem::take(&mut self.sent);
            effects.push_back(Effect::ConsoleWrite { port: 0, bytes });
        }
    }

    fn send(&mut self, byte: u8, reach: &mut Reach<'_>) {
        if self.modem_control & MCR_LOOP != 0 {
            if self.received.len() < self.capacity() {
                self.received.push_back(byte);
            } else {
                self.overrun = true;
            }
        } else {
            self.sent.push(byte);
            if byte == b'\n' || self.sent.len() >= SENT_MAX {
                self.flush(reach.effects);
            } else if self.send_at.is_none() {
                self.send_at = Some(reach.clock.at(reach.now).saturating_add(SEND_DELAY));
            }
        }
        self.empty_pending = true; // It was sent in no time, and the holding register is empty again.
    }

    fn take(&mut self) -> u8 {
        let byte = self.received.pop_front().unwrap_or(0);
        self.refill();
        byte
    }

    /// Moves typed bytes into the FIFO. In loopback the line is cut off from the receiver.
    fn refill(&mut self) {
        while self.modem_control & MCR_LOOP == 0 && self.received.len() < self.capacity() {
            let Some(byte) = self.typed.pop_front() else { break };
            self.received.push_back(byte);
        }
    }

    fn capacity(&self) -> usize {
        if self.fifo_control & FCR_ENABLE != 0 {
            FIFO_BYTES
        } else {
            1
        }
    }

    fn trigger(&self) -> usize {
        match (self.fifo_control & FCR_ENABLE != 0, self.fifo_control >> 6) {
            (false, _) | (true, 0) => 1,
            (true, 1) => 4,
            (true, 2) => 8,
            (true, _) => 14,
        }
    }

    fn cause(&self) -> Cause {
        let enabled = |bit| self.interrupt_enable & bit != 0;
        if enabled(IER_LINE) && self.overrun {
            Cause::Line
        } else if enabled(IER_RECEIVED) && self.received.len() >= self.trigger() {
            Cause::Received
        } else if enabled(IER_RECEIVED) && !self.received.is_empty() {
            Cause::Timeout
        } else if enabled(IER_EMPTY) && self.empty_pending {
            Cause::Empty
        } else {
            Cause::None
        }
    }

    fn identify(&mut self) -> u8 {
        let cause = self.cause();
        if cause == Cause::Empty {
            self.empty_pending = false;
        }
        let fifos = if self.fifo_control & FCR_ENABLE != 0 {
            0xc0
        } else {
            0
        };
        cause.code() | fifos
    }

    fn line_status(&mut self) -> u8 {
        let overrun = std::mem::take(&mut self.overrun);
        LSR_EMPTY
            | if self.received.is_empty() { 0 } else { LSR_READY }
            | if overrun { LSR_OVERRUN } else { 0 }
    }

    fn modem_status(&self) -> u8 {
        if self.modem_control & MCR_LOOP == 0 {
            return MSR_CONNECTED;
        }
        let out = self.modem_control; // DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD.
        (out & 1) << 5 | (out & 2) << 3 | (out & 4) << 4 | (out & 8) << 4
    }

    fn control_fifos(&mut self, value: u8) {
        let toggled = (value ^ self.fifo_control) & FCR_ENABLE != 0;
        if toggled || value & FCR_CLEAR_RECEIVER != 0 {
            self.received.clear();
        }
        self.fifo_control = if value & FCR_ENABLE != 0 {
            value & (FCR_ENABLE | FCR_TRIGGER)
        } else {
            0
        };
        self.refill();
    }

    fn enable_interrupts(&mut self, value: u8) {
        // Switching the interrupt on with the transmitter empty raises it: drivers probe for this.
        if value & IER_EMPTY != 0 && self.interrupt_enable & IER_EMPTY == 0 {
            self.empty_pending = true;
        }
        self.interrupt_enable = value & 0xf;
    }

    fn drive(&self, reach: &mut Reach<'_>) {
        reach.irq.set(Line::Uart, self.cause() != Cause::None);
    }
}

impl Device for Uart {
    // Any width is one access to the register at its lowest address: the other byte lanes are not wired.
    fn read(&mut self, offset: u64, _: Width, reach: &mut Reach<'_>) -> Option<u64> {
        let divisor = self.line_control & LCR_DIVISOR != 0;
        let [divisor_low, divisor_high] = self.divisor;
        let value = match offset {
            0 if divisor => divisor_low,
            0 => self.take(),
            1 if divisor => divisor_high,
            1 => self.interrupt_enable,
            2 => self.identify(),
            3 => self.line_control,
            4 => self.modem_control,
            5 => self.line_status(),
            6 => self.modem_status(),
            7 => self.scratch,
            _ => 0,
        };
        self.drive(reach);
        Some(u64::from(value))
    }

    fn write(&mut self, offset: u64, _: Width, value: u64, reach: &mut Reach<'_>) -> bool {
        let value = low8(value);
        let divisor = self.line_control & LCR_DIVISOR != 0;
        let [divisor_low, divisor_high] = &mut self.divisor;
        match offset {
            0 if divisor => *divisor_low = value,
            0 => self.send(value, reach),
            1 if divisor => *divisor_high = value,
            1 => self.enable_interrupts(value),
            2 => self.control_fifos(value),
            3 => self.line_control = value,
            4 => {
                self.modem_control = value & 0x1f;
                self.refill();
            }
            7 => self.scratch = value,
            _ => {} // LSR and MSR are read-only in normal use.
        }
        self.drive(reach);
        true
    }

    fn deadline(&self) -> Option<u64> {
        self.send_at
    }

    fn wake(&mut self, reach: &mut Reach<'_>) {
        self.flush(reach.effects);
    }

    /// What is typed and what is sent belongs to the line, not to the chip, and survives.
    fn reset(&mut self) {
        *self = Uart {
            typed: std::mem::take(&mut self.typed),
            sent: std::mem::take(&mut self.sent),
            send_at: self.send_at,
            ..Uart::default()
        };
    }
}

impl Visit for Uart {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            interrupt_enable,
            fifo_control,
            line_control,
            modem_control,
            scratch,
            divisor: [divisor_low, divisor_high],
            overrun,
            empty_pending,
            received,
            typed,
            sent,
            send_at,
        } = self;
        v.u8("interrupt_enable", interrupt_enable);
        v.u8("fifo_control", fifo_control);
        v.u8("line_control", line_control);
        v.u8("modem_control", modem_control);
        v.u8("scratch", scratch);
        v.u8("divisor_low", divisor_low);
        v.u8("divisor_high", divisor_high);
        v.bool("overrun", overrun);
        v.bool("empty_pending", empty_pending);
        queue(v, "received", received, FIFO_BYTES);
        queue(v, "typed", typed, TYPED_MAX);
        v.bytes("sent", sent, SENT_MAX);
        hart::state::option_u64(v, "send_at", send_at);
        if send_at.is_some() == sent.is_empty() {
            v.reject("uart: bytes to send and their deadline do not agree");
        }
    }
}

fn queue(v: &mut dyn Visitor, name: &'static str, queue: &mut VecDeque<u8>, max: usize) {
    let mut bytes = Vec::from(std::mem::take(queue));
    v.bytes(name, &mut bytes, max);
    debug_assert!(wide(bytes.len()) <= wide(max));
    *queue = VecDeque::from(bytes);
}
