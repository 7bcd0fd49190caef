//! The platform-level interrupt controller: 95 sources, two contexts (M and S) per hart, priorities 0 to 7.
//!
//! The PLIC stands between the devices' lines and the external interrupts of the harts. The board has it
//! sample the lines after each access and each input, and asks it for the lines of a hart when that hart
//! runs.
//!
//! Gateways are level-triggered: a high line becomes one pending request, which stays pending until a context
//! claims it, even if the line drops; the gateway then forwards nothing until some context completes the
//! request, and if the line is high then, the source is pending again. The PLIC never drives a device's line.
//!
//! Sources: RISC-V Platform-Level Interrupt Controller Specification 1.0.0; register layout of the SiFive
//! FU540-C000 manual, chapter 10, at the addresses of QEMU's `virt` board.

use hart::{Visit, Visitor, Width};

use crate::{
    config::HARTS_MAX,
    device::{Device, Reach},
    narrow::{index, low8, low32, with_half},
};

/// The highest source number; `riscv,ndev` in the device tree, as on QEMU's board.
pub const SOURCES: u64 = 95;
/// Numbers of sources: [`SOURCES`], and 0, which means "none".
const NUMBERS: usize = 96;
/// Contexts of the largest board: M and S of each hart, in this order.
const CONTEXTS_MAX: usize = 2 * HARTS_MAX;
/// Bits of the sources that exist among the first 64: source 0 means "none". Only these have a line that can
/// be high ([`crate::irq::IrqLines`]); the sources above them have registers, and never a request.
const SOURCE_MASK: u64 = !1;
/// The highest priority that a source or a threshold can have.
const PRIORITY_MAX: u64 = 7;

/// Offset of the priorities, 4 bytes for each source.
const PRIORITY: u64 = 0;
/// Offset of the pending bits, 32 sources to a word; the priorities end here.
const PENDING: u64 = 0x1000;
/// Offset of the second word of the pending bits; the bits of the third are always 0.
const PENDING_HIGH: u64 = PENDING + 4;
/// Offset of the enable bits, 32 sources to a word, context by context.
const ENABLE: u64 = 0x2000;
/// Bytes from one context's enable bits to the next one's.
const ENABLE_STRIDE: u64 = 0x80;
/// Offset of the contexts' registers; the enable bits end here.
const CONTEXT: u64 = 0x20_0000;
/// Bytes from one context's registers to the next one's.
const CONTEXT_STRIDE: u64 = 0x1000;

/// What is kept for one context, that is, for a hart in one mode.
#[derive(Clone, Copy, Debug, Default)]
struct Target {
    /// Bit n: source n may interrupt this context.
    enabled: u64,
    /// Bit n: source 64 + n may interrupt this context.
    enabled_high: u32,
    /// Only sources of a higher priority interrupt this context.
    threshold: u8,
}

/// The PLIC.
#[derive(Clone, Debug)]
pub struct Plic {
    /// How many contexts the board has; registers of others read as zero.
    contexts: usize,
    /// The priority of each source; a source of priority 0 never interrupts.
    priority: [u8; NUMBERS],
    /// Bit n: source n has a request that nobody has claimed.
    pending: u64,
    /// Bit n: source n is claimed and its gateway closed.
    claimed: u64,
    /// What each context wants to hear of.
    targets: [Target; CONTEXTS_MAX],
}

/// Which register an offset means.
enum Register {
    /// The priority of this source.
    Priority(usize),
    /// The pending bits of 32 sources, from the source of this number on.
    Pending(u32),
    /// The enable bits of this context, which need not exist, for 32 sources from the source of this number
    /// on.
    Enable(usize, u32),
    /// The enable bits of this context, which need not exist, for the sources from 64 on.
    EnableHigh(usize),
    /// The threshold of this context, which need not exist.
    Threshold(usize),
    /// Claim (load) and completion (store) by this context, which need not exist.
    Claim(usize),
    /// Nothing: reads as zero, ignores stores.
    Reserved,
}

impl Register {
    fn at(offset: u64) -> Register {
        match offset {
            PRIORITY..PENDING => match (offset - PRIORITY) / 4 {
                source @ 1..=SOURCES => Register::Priority(index(source)),
                _ => Register::Reserved,
            },
            PENDING => Register::Pending(0),
            PENDING_HIGH => Register::Pending(32),
            ENABLE..CONTEXT => {
                let context = index((offset - ENABLE) / ENABLE_STRIDE);
                match (offset - ENABLE) % ENABLE_STRIDE {
                    0 => Register::Enable(context, 0),
                    4 => Register::Enable(context, 32),
                    8 => Register::EnableHigh(context),
                    _ => Register::Reserved,
                }
            }
            CONTEXT.. => {
                let context = index((offset - CONTEXT) / CONTEXT_STRIDE);
                match (offset - CONTEXT) % CONTEXT_STRIDE {
                    0 => Register::Threshold(context),
                    4 => Register::Claim(context),
                    _ => Register::Reserved,
                }
            }
            _ => Register::Reserved,
        }
    }
}

impl Plic {
    /// A PLIC for `harts` harts.
    #[must_use]
    pub fn new(harts: usize) -> Plic {
        Plic {
            contexts: 2 * harts.min(HARTS_MAX),
            priority: [0; NUMBERS],
            pending: 0,
            claimed: 0,
            targets: [Target::default(); CONTEXTS_MAX],
        }
    }

    /// The gateways look at the lines; bit n of `levels` is source n.
    pub fn sample(&mut self, levels: u64) {
        self.pending |= levels & SOURCE_MASK & !self.claimed;
    }

    /// Is the external interrupt line of this hart high, in M mode and in S mode?
    #[must_use]
    pub fn lines(&self, hart: usize) -> (bool, bool) {
        let line = |context| {
            let threshold = self.target(context).map_or(0, |target| target.threshold);
            self.best(context)
                .is_some_and(|(_, priority)| priority > threshold)
        };
        (line(2 * hart), line(2 * hart + 1))
    }

    /// The source that this context would claim, and its priority, which is not 0: the highest of those that
    /// are enabled, and of equals the lowest number. The threshold masks interrupts, not claims (PLIC 1.0.0,
    /// "Interrupt Claim Process").
    fn best(&self, context: usize) -> Option<(u64, u8)> {
        let target = self.target(context)?;
        let mut candidates = self.pending & target.enabled;
        let mut best: Option<(u64, u8)> = None;
        while candidates != 0 {
            let source = u64::from(candidates.trailing_zeros());
            candidates &= candidates - 1;
            let priority = self.priority.get(index(source)).copied().unwrap_or(0);
            if priority > best.map_or(0, |(_, best)| best) {
                best = Some((source, priority));
            }
        }
        best
    }

    /// Hands the most urgent source to a context and closes its gateway; 0: there is none.
    fn claim(&mut self, context: usize) -> u64 {
        let Some((source, _)) = self.best(context) else {
            return 0;
        };
        self.pending &= !(1 << source);
        self.claimed |= 1 << source;
        source
    }

    /// PLIC 1.0.0, "Interrupt Completion": a completion for a source that is not enabled for the context is
    /// ignored; who has claimed it is not checked. A source without a line is never claimed.
    fn complete(&mut self, context: usize, source: u64, levels: u64) {
        let enabled = self.target(context).map_or(0, |target| target.enabled);
        if source < u64::from(u64::BITS) && enabled >> source & 1 != 0 {
            self.claimed &= !(1 << source);
            self.sample(levels);
        }
    }

    fn target(&self, context: usize) -> Option<&Target> {
        self.targets.get(..self.contexts)?.get(context)
    }

    fn target_mut(&mut self, context: usize) -> Option<&mut Target> {
        self.targets.get_mut(..self.contexts)?.get_mut(context)
    }
}

impl Device for Plic {
    fn read(&mut self, offset: u64, width: Width, _: &mut Reach<'_>) -> Option<u64> {
        if width != Width::Word {
            return None;
        }
        Some(match Register::at(offset) {
            Register::Priority(source) => self.priority.get(source).copied().map_or(0, u64::from),
            Register::Pending(shift) => u64::from(low32(self.pending >> shift)),
            Register::Enable(context, shift) => self
                .target(context)
                .map_or(0, |target| u64::from(low32(target.enabled >> shift))),
            Register::EnableHigh(context) => self
                .target(context)
                .map_or(0, |target| u64::from(target.enabled_high)),
            Register::Threshold(context) => self
                .target(context)
                .map_or(0, |target| u64::from(target.threshold)),
            Register::Claim(context) => self.claim(context),
            Register::Reserved => 0,
        })
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, reach: &mut Reach<'_>) -> bool {
        if width != Width::Word {
            return false;
        }
        match Register::at(offset) {
            Register::Priority(source) => {
                if let Some(priority) = self.priority.get_mut(source) {
                    *priority = low8(value & PRIORITY_MAX);
                }
            }
            Register::Enable(context, shift) => {
                if let Some(target) = self.target_mut(context) {
                    target.enabled = with_half(target.enabled, shift, value) & SOURCE_MASK;
                }
            }
            Register::EnableHigh(context) => {
                if let Some(target) = self.target_mut(context) {
                    target.enabled_high = low32(value);
                }
            }
            Register::Threshold(context) => {
                if let Some(target) = self.target_mut(context) {
                    target.threshold = low8(value & PRIORITY_MAX);
                }
            }
            Register::Claim(context) => self.complete(context, value, reach.irq.0),
            Register::Pending(_) | Register::Reserved => {}
        }
        true
    }

    fn deadline(&self) -> Option<u64> {
        None
    }

    fn wake(&mut self, _: &mut Reach<'_>) {}

    fn reset(&mut self) {
        *self = Plic::new(self.contexts / 2);
    }
}

impl Visit for Plic {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            contexts,
            priority,
            pending,
            claimed,
            targets,
        } = self;
        v.skipped("contexts", "configuration");
        for priority in priority {
            v.u8("priority", priority);
            if u64::from(*priority) > PRIORITY_MAX {
                v.reject("plic: priority above 7");
            }
        }
        v.u64("pending", pending);
        v.u64("claimed", claimed);
        for target in targets.iter_mut().take(*contexts) {
            v.u64("enabled", &mut target.enabled);
            v.u32("enabled_high", &mut target.enabled_high);
            v.u8("threshold", &mut target.threshold);
        }
        if (*pending | *claimed) & !SOURCE_MASK != 0 {
            v.reject("plic: source 0 is pending");
        }
    }
}
