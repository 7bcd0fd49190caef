//! The registers of the 16550A by the data sheet's names: which one an access means, and what their bits
//! mean.
//!
//! [`Uart`](super::Uart) decides what the registers do; this file decides nothing. A register that is kept as
//! guest state keeps every bit that the chip keeps, named or not, so that a restored register reads as it
//! did.
//!
//! Source: the PC16550D data sheet (National Semiconductor, 1995), section 8, "Registers", and its table II,
//! "Summary of Registers".

use bitflags::bitflags;

/// What a load reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadRegister {
    /// RBR: the oldest byte received.
    ReceiverBuffer,
    /// DLL: the low half of the divisor.
    DivisorLow,
    /// DLM: the high half of the divisor.
    DivisorHigh,
    /// IER.
    InterruptEnable,
    /// IIR: the most urgent interrupt that is pending.
    InterruptIdentification,
    /// LCR.
    LineControl,
    /// MCR.
    ModemControl,
    /// LSR.
    LineStatus,
    /// MSR.
    ModemStatus,
    /// SCR: a byte for the driver's own use.
    Scratch,
}

impl ReadRegister {
    /// The register that a load at this offset reads while LCR's DLAB is as given; `None`: there is none.
    pub const fn at(offset: u64, dlab: bool) -> Option<ReadRegister> {
        Some(match (offset, dlab) {
            (0, false) => ReadRegister::ReceiverBuffer,
            (0, true) => ReadRegister::DivisorLow,
            (1, false) => ReadRegister::InterruptEnable,
            (1, true) => ReadRegister::DivisorHigh,
            (2, _) => ReadRegister::InterruptIdentification,
            (3, _) => ReadRegister::LineControl,
            (4, _) => ReadRegister::ModemControl,
            (5, _) => ReadRegister::LineStatus,
            (6, _) => ReadRegister::ModemStatus,
            (7, _) => ReadRegister::Scratch,
            _ => return None,
        })
    }
}

/// What a store writes. LSR and MSR are for reading only, but for the chip's factory test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteRegister {
    /// THR: the next byte to send.
    TransmitterHolding,
    /// DLL: the low half of the divisor.
    DivisorLow,
    /// DLM: the high half of the divisor.
    DivisorHigh,
    /// IER.
    InterruptEnable,
    /// FCR, where a load reads IIR.
    FifoControl,
    /// LCR.
    LineControl,
    /// MCR.
    ModemControl,
    /// SCR: a byte for the driver's own use.
    Scratch,
}

impl WriteRegister {
    /// The register that a store at this offset writes while LCR's DLAB is as given; `None`: there is none.
    pub const fn at(offset: u64, dlab: bool) -> Option<WriteRegister> {
        Some(match (offset, dlab) {
            (0, false) => WriteRegister::TransmitterHolding,
            (0, true) => WriteRegister::DivisorLow,
            (1, false) => WriteRegister::InterruptEnable,
            (1, true) => WriteRegister::DivisorHigh,
            (2, _) => WriteRegister::FifoControl,
            (3, _) => WriteRegister::LineControl,
            (4, _) => WriteRegister::ModemControl,
            (7, _) => WriteRegister::Scratch,
            _ => return None,
        })
    }
}

bitflags! {
    /// IER, the interrupt enable register. The chip has no other bits than these.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InterruptEnable: u8 {
        /// Enable received data available interrupt, which is also the timeout's.
        const ERBFI = 1 << 0;
        /// Enable transmitter holding register empty interrupt.
        const ETBEI = 1 << 1;
        /// Enable receiver line status interrupt.
        const ELSI = 1 << 2;
        /// Enable modem status interrupt. The modem inputs change by loopback only.
        const EDSSI = 1 << 3;
    }

    /// FCR, the FIFO control register.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct FifoControl: u8 {
        /// FIFO enable: both FIFOs are in use.
        const FIFO_ENABLE = 1 << 0;
        /// Receiver FIFO reset: what it holds is dropped. Acts once and is not kept.
        const RCVR_FIFO_RESET = 1 << 1;
        /// Transmitter FIFO reset. Nothing ever waits in that FIFO here. Acts once and is not kept.
        const XMIT_FIFO_RESET = 1 << 2;
        /// DMA mode select: concerns two pins of the chip that lead nowhere here. Not kept.
        const DMA_MODE_SELECT = 1 << 3;
        /// Receiver trigger: how full the receiver FIFO must be for an interrupt.
        const RCVR_TRIGGER = 3 << 6;
    }

    /// LCR, the line control register. Only DLAB has an effect here: a byte has no form and takes no time.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LineControl: u8 {
        /// Word length select: 5 to 8 bits.
        const WLS = 3;
        /// Number of stop bits.
        const STB = 1 << 2;
        /// Parity enable.
        const PEN = 1 << 3;
        /// Even parity select.
        const EPS = 1 << 4;
        /// Stick parity.
        const STICK_PARITY = 1 << 5;
        /// Set break.
        const SET_BREAK = 1 << 6;
        /// Divisor latch access bit: offsets 0 and 1 are the divisor.
        const DLAB = 1 << 7;
    }

    /// MCR, the modem control register. The chip has no other bits than these.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ModemControl: u8 {
        /// Data terminal ready.
        const DTR = 1 << 0;
        /// Request to send.
        const RTS = 1 << 1;
        /// The first of two outputs for the board's own use.
        const OUT1 = 1 << 2;
        /// The second of two outputs for the board's own use.
        const OUT2 = 1 << 3;
        /// Loopback: the transmitter feeds the receiver, and the control outputs the status inputs.
        const LOOP = 1 << 4;
    }

    /// LSR, the line status register. The line has no errors but the overrun and breaks.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LineStatus: u8 {
        /// Data ready: a byte waits in the receiver.
        const DR = 1 << 0;
        /// Overrun error: a byte was lost because the receiver was full.
        const OE = 1 << 1;
        /// Break interrupt: the oldest byte of the receiver is a break.
        const BI = 1 << 4;
        /// Transmitter holding register empty.
        const THRE = 1 << 5;
        /// Transmitter empty: the last byte has left the shift register too.
        const TEMT = 1 << 6;
        /// The receiver FIFO holds a break that LSR has not told.
        const FIFO_ERROR = 1 << 7;
    }

    /// MSR, the modem status register.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ModemStatus: u8 {
        /// Delta clear to send: CTS has changed since MSR was read last.
        const DCTS = 1 << 0;
        /// Delta data set ready: DSR has changed since MSR was read last.
        const DDSR = 1 << 1;
        /// Trailing edge of ring indicator: RI has gone from set to clear since MSR was read last.
        const TERI = 1 << 2;
        /// Delta data carrier detect: DCD has changed since MSR was read last.
        const DDCD = 1 << 3;
        /// Clear to send.
        const CTS = 1 << 4;
        /// Data set ready.
        const DSR = 1 << 5;
        /// Ring indicator.
        const RI = 1 << 6;
        /// Data carrier detect.
        const DCD = 1 << 7;
    }
}

impl FifoControl {
    /// How many bytes in the receiver FIFO cause an interrupt: 1, 4, 8 or 14, and 1 while the FIFOs are off.
    pub const fn trigger_bytes(self) -> usize {
        match (self.contains(FifoControl::FIFO_ENABLE), self.bits() >> 6) {
            (false, _) | (true, 0) => 1,
            (true, 1) => 4,
            (true, 2) => 8,
            (true, _) => 14,
        }
    }
}

impl ModemControl {
    /// What MSR reads in loopback: each control output comes back as the status input that it is wired to.
    pub fn looped_back(self) -> ModemStatus {
        [
            (ModemControl::DTR, ModemStatus::DSR),
            (ModemControl::RTS, ModemStatus::CTS),
            (ModemControl::OUT1, ModemStatus::RI),
            (ModemControl::OUT2, ModemStatus::DCD),
        ]
        .into_iter()
        .filter(|&(output, _)| self.contains(output))
        .map(|(_, input)| input)
        .collect()
    }
}

impl ModemStatus {
    /// What MSR tells of the change from the inputs `before` to these: the ring indicator by its end, the
    /// others by either edge.
    pub fn changes_since(self, before: ModemStatus) -> ModemStatus {
        let either = |input| self.contains(input) != before.contains(input);
        let mut changes = ModemStatus::empty();
        changes.set(ModemStatus::DCTS, either(ModemStatus::CTS));
        changes.set(ModemStatus::DDSR, either(ModemStatus::DSR));
        changes.set(
            ModemStatus::TERI,
            before.difference(self).contains(ModemStatus::RI),
        );
        changes.set(ModemStatus::DDCD, either(ModemStatus::DCD));
        changes
    }
}

/// What IIR says, in falling order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Receiver line status: an overrun or a break.
    LineStatus,
    /// Received data available: the receiver FIFO has reached its trigger level.
    ReceivedData,
    /// Character timeout: the receiver FIFO holds less than its trigger level. The chip waits for the time of
    /// four characters before it says so; a character takes no time here.
    Timeout,
    /// Transmitter holding register empty.
    TransmitterEmpty,
    /// Modem status: an input has changed.
    ModemStatus,
    /// No interrupt is pending.
    None,
}

impl Cause {
    /// The low four bits of IIR: 1 in bit 0 says that no interrupt is pending.
    pub const fn code(self) -> u8 {
        match self {
            Cause::LineStatus => 0x6,
            Cause::ReceivedData => 0x4,
            Cause::Timeout => 0xc,
            Cause::TransmitterEmpty => 0x2,
            Cause::ModemStatus => 0x0,
            Cause::None => 0x1,
        }
    }
}

/// The high two bits of IIR, set while the FIFOs are in use.
pub const IIR_FIFOS_ENABLED: u8 = 3 << 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_outputs_come_back_one_by_one() {
        assert_eq!(ModemControl::LOOP.looped_back(), ModemStatus::empty());
        assert_eq!(
            (ModemControl::DTR | ModemControl::LOOP).looped_back(),
            ModemStatus::DSR
        );
        let inputs = ModemStatus::CTS | ModemStatus::DSR | ModemStatus::RI | ModemStatus::DCD;
        assert_eq!(ModemControl::all().looped_back(), inputs);
    }

    #[test]
    fn the_divisor_hides_data_and_interrupt_enable_only() {
        for offset in 0..9 {
            let moved = ReadRegister::at(offset, false) != ReadRegister::at(offset, true);
            assert_eq!(moved, offset < 2, "{offset}");
            let moved = WriteRegister::at(offset, false) != WriteRegister::at(offset, true);
            assert_eq!(moved, offset < 2, "{offset}");
        }
    }
}
