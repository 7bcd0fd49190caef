//! Platform-level interrupt controller: 63 sources, two contexts (M and S) per hart, priorities 0 to 7.
//!
//! Gateways are level-triggered: a high line becomes one pending request, which stays pending until a
//! context claims it, even if the line drops; the gateway then forwards nothing until some context completes
//! it, and if the line is high then, it is pending again.
//!
//! Sources: RISC-V Platform-Level Interrupt Controller Specification 1.0.0; register layout of the SiFive
//! FU540-C000 manual, chapter 10, at the addresses of QEMU's `virt` board.

use hart::{Visit, Visitor, Width};

use crate::{
    config::HARTS_MAX,
    device::{Device, Reach},
    narrow::{index, low8, low32},
};

/// Highest source number; `riscv,ndev` in the FDT.
pub const SOURCES: u64 = 63;
/// Contexts: M and S of each hart, in this order.
const CONTEXTS_MAX: usize = 2 * HARTS_MAX;
/// Bits of sources that exist: source 0 means "none".
const SOURCE_MASK: u64 = !1;
const PRIORITY_MAX: u64 = 7;

const PENDING: u64 = 0x1000;
const ENABLE: u64 = 0x2000;
const ENABLE_STRIDE: u64 = 0x80;
const CONTEXT: u64 = 0x20_0000;
const CONTEXT_STRIDE: u64 = 0x1000;

/// One context: a hart in one mode.
#[derive(Clone, Copy, Debug, Default)]
struct Target {
    /// Bit n: source n may interrupt here.
    enabled: u64,
    threshold: u8,
}

/// The PLIC.
#[derive(Clone, Debug)]
pub struct Plic {
    contexts: usize,
    /// By source; 0 never interrupts.
    priority: [u8; 64],
    /// Bit n: source n has a request that nobody has claimed.
    pending: u64,
    /// Bit n: source n is claimed and its gateway closed.
    claimed: u64,
    targets: [Target; CONTEXTS_MAX],
}

/// A register.
enum Register {
    Priority(usize),
    /// Bits of 32 sources, from the source given by the shift.
    Pending(u32),
    Enable(usize, u32),
    Threshold(usize),
    Claim(usize),
    /// Reads as zero, ignores stores.
    Reserved,
}

impl Plic {
    /// A PLIC for `harts` harts.
    #[must_use]
    pub fn new(harts: usize) -> Plic {
        Plic {
            contexts: 2 * harts.min(HARTS_MAX),
            priority: [0; 64],
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
        let line = |context| self.best(context).is_some();
        (line(2 * hart), line(2 * hart + 1))
    }

    /// The source this context would claim: the highest priority above the threshold, and of equals the
    /// lowest number.
    fn best(&self, context: usize) -> Option<u64> {
        let target = self.target(context)?;
        let mut candidates = self.pending & target.enabled;
        let mut best: Option<(u64, u8)> = None;
        while candidates != 0 {
            let source = u64::from(candidates.trailing_zeros());
            candidates &= candidates - 1;
            let priority = self.priority.get(index(source)).copied().unwrap_or(0);
            if priority > best.map_or(target.threshold, |(_, best)| best) {
                best = Some((source, priority));
            }
        }
        best.map(|(source, _)| source)
    }

    fn claim(&mut self, context: usize) -> u64 {
        let Some(source) = self.best(context) else {
            return 0;
        };
        self.pending &= !(1 << source);
        self.claimed |= 1 << source;
        source
    }

    /// PLIC 1.0.0, "Interrupt Completion": a completion for a source that is not enabled for the context is
    /// ignored; who has claimed it is not checked.
    fn complete(&mut self, context: usize, source: u64, levels: u64) {
        let enabled = self.target(context).map_or(0, |target| target.enabled);
        if source <= SOURCES && enabled >> source & 1 != 0 {
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

    fn register(offset: u64) -> Register {
        match offset {
            0..PENDING => match offset / 4 {
                source @ 1..=SOURCES => Register::Priority(index(source)),
                _ => Register::Reserved,
            },
            PENDING => Register::Pending(0),
            0x1004 => Register::Pending(32),
            ENABLE..CONTEXT => {
                let context = index((offset - ENABLE) / ENABLE_STRIDE);
                match (offset - ENABLE) % ENABLE_STRIDE {
                    0 => Register::Enable(context, 0),
                    4 => Register::Enable(context, 32),
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

impl Device for Plic {
    fn read(&mut self, offset: u64, width: Width, _: &mut Reach<'_>) -> Option<u64> {
        if width != Width::Word {
            return None;
        }
        Some(match Plic::register(offset) {
            Register::Priority(source) => self.priority.get(source).copied().map_or(0, u64::from),
            Register::Pending(shift) => u64::from(low32(self.pending >> shift)),
            Register::Enable(context, shift) => self
                .target(context)
                .map_or(0, |target| u64::from(low32(target.enabled >> shift))),
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
        match Plic::register(offset) {
            Register::Priority(source) => {
                if let Some(priority) = self.priority.get_mut(source) {
                    *priority = low8(value & PRIORITY_MAX);
                }
            }
            Register::Enable(context, shift) => {
                if let Some(target) = self.target_mut(context) {
                    target.enabled = crate::narrow::with_half(target.enabled, shift, value) & SOURCE_MASK;
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
            v.u8("threshold", &mut target.threshold);
        }
        if (*pending | *claimed) & !SOURCE_MASK != 0 {
            v.reject("plic: source 0 is pending");
        }
    }
}
