//! The 16550A UART: eight byte registers between the guest's driver and console port 0.
//!
//! What the guest sends leaves as [`Effect::ConsoleWrite`], gathered for at most a millisecond of guest time
//! (a line end or a full buffer sends at once), so that a line of text is one output and not forty. What is
//! typed comes in through [`Uart::receive`] and waits without loss behind the 16-byte FIFO. The line fills
//! the FIFO, and when the driver has taken all of it the line rests for twice the time that this took, a
//! millisecond at most. So a driver that empties the FIFO in its interrupt has at least two thirds of the
//! time left for what it does with the bytes: without the rest Linux would serve nothing but that interrupt
//! and lose what it has no buffer for.
//!
//! The UART never asks the host anything: LSR says only what the guest was given. The line has no errors but
//! an overrun in loopback and breaks, and the divisor changes nothing: a byte that the guest sends takes no
//! time.
//!
//! Source: the PC16550D data sheet (National Semiconductor, 1995), section 8, "Registers".

use std::collections::VecDeque;

use hart::{Visit, Visitor, Width};

use crate::{
    Effect,
    device::{Device, Reach, visit_flags},
    effect::Effects,
    irq::Line,
    narrow::{low8, wide},
};

mod registers;

use registers::{
    Cause, FifoControl, IIR_FIFOS_ENABLED, InterruptEnable, LineControl, LineStatus, ModemControl,
    ModemStatus, ReadRegister, WriteRegister,
};

/// Bytes of the receiver FIFO.
pub const FIFO_BYTES: usize = 16;
/// Most bytes that wait behind the FIFO. Beyond it the newest are dropped; a recorder asks [`Uart::room`]
/// before it injects, so none are while it runs the guest.
pub const TYPED_MAX: usize = 64 << 10;
/// Most bytes in one effect.
pub const SENT_MAX: usize = 256;
/// How long gathered bytes wait for more, in ticks of `mtime`: a millisecond.
const SEND_DELAY_TICKS: u64 = 10_000;

/// Longest rest of the line between two fillings of the FIFO, in ticks of `mtime`: a millisecond.
const REST_TICKS_MAX: u64 = 10_000;

/// The UART.
#[derive(Clone, Debug, Default)]
pub struct Uart {
    interrupt_enable: InterruptEnable,
    /// FCR's enable and trigger bits; its other bits act once and are not kept.
    fifo_control: FifoControl,
    line_control: LineControl,
    modem_control: ModemControl,
    /// SCR, which nothing but the driver uses.
    scratch: u8,
    /// DLL and DLM, which change nothing.
    divisor: [u8; 2],
    /// A byte was lost because the receiver was full, and the guest has not read so from LSR.
    overrun: bool,
    /// The transmitter became empty, and the guest has not read so from IIR.
    empty_pending: bool,
    /// The bits of MSR that tell which modem inputs have changed since the guest last read it.
    modem_changes: ModemStatus,
    /// The receiver FIFO: at most [`FIFO_BYTES`], or 1 with the FIFOs off.
    received: VecDeque<u8>,
    /// Bit n: the byte at place n of `received`, counted from the oldest, is a break that LSR has not told.
    breaks: u16,
    /// Typed bytes that are not yet in the FIFO: at most [`TYPED_MAX`].
    typed: VecDeque<u8>,
    /// How many bytes of `typed` come before a break that is still on the line; `None`: there is no such
    /// break. A further break on the line is one with it.
    break_after: Option<u64>,
    /// Did the driver let RTS fall while it kept DTR up? That is how a driver with flow control (`stty
    /// crtscts`) says that its buffers are full: the line brings nothing until RTS rises. A driver that never
    /// raised RTS has no flow control and is not waited for.
    throttled: bool,
    /// The `mtime` at which the line last put bytes into the FIFO.
    filled_at: u64,
    /// The `mtime` until which the line rests; `None`: it does not rest.
    rests_until: Option<u64>,
    /// Bytes that the guest has sent and that are not yet an effect: less than [`SENT_MAX`].
    sent: Vec<u8>,
    /// The `mtime` at which `sent` leaves; `None` exactly when `sent` is empty.
    send_at: Option<u64>,
}

impl Uart {
    /// Bytes typed at the console ([`crate::Input::Console`]).
    pub fn receive(&mut self, bytes: &[u8], reach: &mut Reach<'_>) {
        self.typed.extend(bytes.iter().take(self.room()));
        self.refill(reach);
        self.drive_line(reach);
    }

    /// A break on the line ([`crate::Input::Break`]), behind what was typed before it.
    pub fn receive_break(&mut self, reach: &mut Reach<'_>) {
        self.break_after.get_or_insert(wide(self.typed.len()));
        self.refill(reach);
        self.drive_line(reach);
    }

    /// How many bytes [`Uart::receive`] takes now without dropping any.
    #[must_use]
    pub fn room(&self) -> usize {
        TYPED_MAX.saturating_sub(self.typed.len())
    }

    /// What the guest has sent leaves now.
    pub fn flush(&mut self, effects: &mut Effects) {
        self.send_at = None;
        if !self.sent.is_empty() {
            let bytes = std::mem::take(&mut self.sent);
            effects.push_back(Effect::ConsoleWrite { port: 0, bytes });
        }
    }

    /// A byte that comes round in loopback. With the FIFOs on, a full receiver loses the new byte; the one
    /// byte that it holds without them is destroyed by the new one (data sheet, 8.4, "Overrun Error").
    fn loop_back(&mut self, byte: u8) {
        let full = self.received.len() >= self.receiver_bytes();
        self.overrun |= full;
        if full && !self.has_fifos() {
            self.received.clear();
        }
        if self.received.len() < self.receiver_bytes() {
            self.received.push_back(byte);
        }
    }

    /// A store to THR.
    fn send(&mut self, byte: u8, reach: &mut Reach<'_>) {
        if self.is_looped_back() {
            self.loop_back(byte);
        } else {
            self.sent.push(byte);
            if byte == b'\n' || self.sent.len() >= SENT_MAX {
                self.flush(reach.effects);
            } else if self.send_at.is_none() {
                self.send_at = Some(reach.clock.at(reach.now).saturating_add(SEND_DELAY_TICKS));
            }
        }
        self.empty_pending = true; // It was sent in no time, and the holding register is empty again.
    }

    /// A load from RBR.
    fn take(&mut self, reach: &mut Reach<'_>) -> u8 {
        let Some(byte) = self.received.pop_front() else {
            self.refill(reach);
            return 0;
        };
        self.breaks >>= 1;
        let is_line_empty = self.typed.is_empty() && self.break_after.is_none();
        if self.received.is_empty() && !is_line_empty && !self.is_looped_back() {
            let now = reach.clock.at(reach.now);
            let rest = now.saturating_sub(self.filled_at).saturating_mul(2);
            self.rests_until = Some(now.saturating_add(rest.clamp(1, REST_TICKS_MAX)));
        }
        byte
    }

    /// Moves typed bytes into the FIFO, unless the line rests. In loopback the line is cut off from the
    /// receiver.
    fn refill(&mut self, reach: &mut Reach<'_>) {
        let now = reach.clock.at(reach.now);
        if self.rests_until.is_some_and(|until| until > now) {
            return;
        }
        self.rests_until = None;
        while !self.throttled && !self.is_looped_back() && self.received.len() < self.receiver_bytes() {
            // PC16550D 8.4, LSR4: a break is loaded into the FIFO as one zero character.
            let byte = if self.break_after == Some(0) {
                self.break_after = None;
                self.breaks |= 1 << self.received.len();
                0
            } else {
                let Some(byte) = self.typed.pop_front() else { break };
                self.break_after = self.break_after.map(|before| before.saturating_sub(1));
                byte
            };
            self.received.push_back(byte);
            self.filled_at = now;
        }
    }

    /// Are offsets 0 and 1 the divisor?
    fn is_divisor_mapped(&self) -> bool {
        self.line_control.contains(LineControl::DLAB)
    }

    fn is_looped_back(&self) -> bool {
        self.modem_control.contains(ModemControl::LOOP)
    }

    fn has_fifos(&self) -> bool {
        self.fifo_control.contains(FifoControl::FIFO_ENABLE)
    }

    /// How many bytes the receiver holds.
    fn receiver_bytes(&self) -> usize {
        if self.has_fifos() { FIFO_BYTES } else { 1 }
    }

    /// The most urgent interrupt that is enabled and pending.
    fn cause(&self) -> Cause {
        let enabled = |interrupt| self.interrupt_enable.contains(interrupt);
        if enabled(InterruptEnable::ELSI) && (self.overrun || self.breaks & 1 != 0) {
            Cause::LineStatus
        } else if enabled(InterruptEnable::ERBFI) && self.received.len() >= self.fifo_control.trigger_bytes()
        {
            Cause::ReceivedData
        } else if enabled(InterruptEnable::ERBFI) && !self.received.is_empty() {
            Cause::Timeout
        } else if enabled(InterruptEnable::ETBEI) && self.empty_pending {
            Cause::TransmitterEmpty
        } else if enabled(InterruptEnable::EDSSI) && !self.modem_changes.is_empty() {
            Cause::ModemStatus
        } else {
            Cause::None
        }
    }

    /// A load from IIR, which takes back the interrupt of an empty transmitter if that is what it tells.
    fn identify(&mut self) -> u8 {
        let cause = self.cause();
        if cause == Cause::TransmitterEmpty {
            self.empty_pending = false;
        }
        let fifos = if self.has_fifos() { IIR_FIFOS_ENABLED } else { 0 };
        cause.code() | fifos
    }

    /// A load from LSR, which takes back the overrun, and the break of the oldest byte. The transmitter is
    /// always empty.
    fn line_status(&mut self) -> LineStatus {
        let mut status = LineStatus::THRE | LineStatus::TEMT;
        status.set(LineStatus::DR, !self.received.is_empty());
        status.set(LineStatus::OE, std::mem::take(&mut self.overrun));
        status.set(LineStatus::BI, self.breaks & 1 != 0);
        status.set(LineStatus::FIFO_ERROR, self.has_fifos() && self.breaks != 0);
        self.breaks &= !1;
        status
    }

    /// The modem inputs: a terminal is always there and always ready.
    fn modem_inputs(&self) -> ModemStatus {
        if self.is_looped_back() {
            self.modem_control.looped_back()
        } else {
            ModemStatus::CTS | ModemStatus::DSR | ModemStatus::DCD
        }
    }

    /// A load from MSR, which takes back what it tells of changes.
    fn modem_status(&mut self) -> ModemStatus {
        self.modem_inputs() | std::mem::take(&mut self.modem_changes)
    }

    /// A store to MCR. In loopback, and on the way into it and out of it, the store changes the modem inputs.
    /// A driver that lets RTS fall while it keeps DTR asks the sender to wait.
    fn control_modem(&mut self, control: ModemControl, reach: &mut Reach<'_>) {
        let before = self.modem_inputs();
        let ready = control.contains(ModemControl::RTS) || !control.contains(ModemControl::DTR);
        self.throttled = !ready && (self.throttled || self.modem_control.contains(ModemControl::RTS));
        self.modem_control = control;
        self.modem_changes |= self.modem_inputs().changes_since(before);
        self.refill(reach);
    }

    /// A store to FCR. Without FIFO enable the other bits are not programmed.
    fn control_fifos(&mut self, control: FifoControl, reach: &mut Reach<'_>) {
        let enable = control.contains(FifoControl::FIFO_ENABLE);
        if enable != self.has_fifos() || (enable && control.contains(FifoControl::RCVR_FIFO_RESET)) {
            self.received.clear();
            self.breaks = 0;
        }
        self.fifo_control = if enable {
            control.intersection(FifoControl::FIFO_ENABLE | FifoControl::RCVR_TRIGGER)
        } else {
            FifoControl::empty()
        };
        self.refill(reach);
    }

    /// A store to IER.
    fn enable_interrupts(&mut self, enable: InterruptEnable) {
        // Switching the interrupt on with the transmitter empty raises it: drivers probe for this.
        let newly = enable.difference(self.interrupt_enable);
        if newly.contains(InterruptEnable::ETBEI) {
            self.empty_pending = true;
        }
        self.interrupt_enable = enable;
    }

    fn drive_line(&self, reach: &mut Reach<'_>) {
        reach.irq.set(Line::Uart, self.cause() != Cause::None);
    }
}

impl Device for Uart {
    // Any width is one access to the register at its lowest address: the other byte lanes are not wired.
    fn read(&mut self, offset: u64, _: Width, reach: &mut Reach<'_>) -> Option<u64> {
        let [divisor_low, divisor_high] = self.divisor;
        let value = match ReadRegister::at(offset, self.is_divisor_mapped()) {
            Some(ReadRegister::ReceiverBuffer) => self.take(reach),
            Some(ReadRegister::DivisorLow) => divisor_low,
            Some(ReadRegister::DivisorHigh) => divisor_high,
            Some(ReadRegister::InterruptEnable) => self.interrupt_enable.bits(),
            Some(ReadRegister::InterruptIdentification) => self.identify(),
            Some(ReadRegister::LineControl) => self.line_control.bits(),
            Some(ReadRegister::ModemControl) => self.modem_control.bits(),
            Some(ReadRegister::LineStatus) => self.line_status().bits(),
            Some(ReadRegister::ModemStatus) => self.modem_status().bits(),
            Some(ReadRegister::Scratch) => self.scratch,
            None => 0,
        };
        self.drive_line(reach);
        Some(u64::from(value))
    }

    fn write(&mut self, offset: u64, _: Width, value: u64, reach: &mut Reach<'_>) -> bool {
        let value = low8(value);
        let register = WriteRegister::at(offset, self.is_divisor_mapped());
        let [divisor_low, divisor_high] = &mut self.divisor;
        match register {
            Some(WriteRegister::TransmitterHolding) => self.send(value, reach),
            Some(WriteRegister::DivisorLow) => *divisor_low = value,
            Some(WriteRegister::DivisorHigh) => *divisor_high = value,
            Some(WriteRegister::InterruptEnable) => {
                self.enable_interrupts(InterruptEnable::from_bits_truncate(value));
            }
            Some(WriteRegister::FifoControl) => {
                self.control_fifos(FifoControl::from_bits_truncate(value), reach);
            }
            Some(WriteRegister::LineControl) => self.line_control = LineControl::from_bits_retain(value),
            Some(WriteRegister::ModemControl) => {
                self.control_modem(ModemControl::from_bits_truncate(value), reach);
            }
            Some(WriteRegister::Scratch) => self.scratch = value,
            None => {}
        }
        self.drive_line(reach);
        true
    }

    fn deadline(&self) -> Option<u64> {
        [self.send_at, self.rests_until].into_iter().flatten().min()
    }

    fn wake(&mut self, reach: &mut Reach<'_>) {
        let now = reach.clock.at(reach.now);
        if self.send_at.is_some_and(|at| at <= now) {
            self.flush(reach.effects);
        }
        if self.rests_until.is_some_and(|until| until <= now) {
            self.refill(reach);
            self.drive_line(reach);
        }
    }

    /// What is typed and what is sent belongs to the line, not to the chip, and survives.
    fn reset(&mut self) {
        *self = Uart {
            typed: std::mem::take(&mut self.typed),
            break_after: self.break_after,
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
            modem_changes,
            received,
            breaks,
            typed,
            break_after,
            throttled,
            filled_at,
            rests_until,
            sent,
            send_at,
        } = self;
        visit_flags(v, "interrupt_enable", interrupt_enable);
        visit_flags(v, "fifo_control", fifo_control);
        visit_flags(v, "line_control", line_control);
        visit_flags(v, "modem_control", modem_control);
        v.u8("scratch", scratch);
        v.u8("divisor_low", divisor_low);
        v.u8("divisor_high", divisor_high);
        v.bool("overrun", overrun);
        v.bool("empty_pending", empty_pending);
        visit_flags(v, "modem_changes", modem_changes);
        visit_queue(v, "received", received, FIFO_BYTES);
        v.u16("breaks", breaks);
        visit_queue(v, "typed", typed, TYPED_MAX);
        hart::state::option_u64(v, "break_after", break_after);
        if break_after.is_some_and(|before| before > wide(typed.len())) {
            v.reject("uart: a break behind more than was typed");
        }
        v.bool("throttled", throttled);
        v.u64("filled_at", filled_at);
        hart::state::option_u64(v, "rests_until", rests_until);
        v.bytes("sent", sent, SENT_MAX);
        hart::state::option_u64(v, "send_at", send_at);
        if send_at.is_some() == sent.is_empty() {
            v.reject("uart: bytes to send and their deadline do not agree");
        }
    }
}

/// Visits a queue of at most `max` bytes as one run of bytes.
fn visit_queue(v: &mut dyn Visitor, name: &'static str, queue: &mut VecDeque<u8>, max: usize) {
    let mut bytes = Vec::from(std::mem::take(queue));
    v.bytes(name, &mut bytes, max);
    debug_assert!(wide(bytes.len()) <= wide(max));
    *queue = VecDeque::from(bytes);
}
