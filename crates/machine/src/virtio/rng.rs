//! virtio-rng (VIRTIO 5.4): the guest asks for random bytes, one buffer at a time.
//!
//! The device says how many bytes it wants ([`Effect::EntropyWanted`]), and the bytes come as an input
//! through `receive`. It never makes a random byte itself: two replicas would make different ones.

use hart::{Visit, Visitor};

use super::{
    Accepted, Broken, Function, Rings, VirtioMmio,
    chain::Chain,
    limits::{ENTROPY_BYTES_MAX, QUEUE_MAX},
};
use crate::{Effect, device::Reach};

/// The entropy device.
#[derive(Clone, Debug, Default)]
pub struct Entropy {
    /// How many bytes were asked for and not yet received; 0: none. At most [`ENTROPY_BYTES_MAX`].
    wanted: u32,
    /// The buffer that waits for the wanted bytes; empty when none are wanted.
    waiting: Chain,
}

impl Entropy {
    /// Asks for the bytes of the next buffer, unless a buffer waits already.
    fn ask(&mut self, rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<(), Broken> {
        if self.wanted > 0 {
            return Ok(());
        }
        let Some(chain) = rings.queue(0)?.pop(reach.ram)? else {
            return Ok(());
        };
        // VIRTIO 5.4.6.1: buffers are writable only.
        let room = u32::try_from(chain.writable.total()).unwrap_or(u32::MAX);
        if room == 0 {
            return Err(Broken("an entropy buffer is not writable"));
        }
        self.wanted = room.min(ENTROPY_BYTES_MAX);
        self.waiting = chain;
        reach
            .effects
            .push_back(Effect::EntropyWanted { bytes: self.wanted });
        Ok(())
    }

    /// Fills the waiting buffer, as far as the bytes go, and asks for the next one's.
    fn fill(&mut self, bytes: &[u8], rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<(), Broken> {
        let wanted = usize::try_from(std::mem::take(&mut self.wanted)).unwrap_or(0);
        let chain = std::mem::take(&mut self.waiting);
        let bytes = bytes.get(..wanted).unwrap_or(bytes);
        chain.writable.scatter(reach.ram, 0, bytes)?;
        let written = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        rings.queue(0)?.push(reach.ram, chain.head, written)?;
        self.ask(rings, reach)
    }
}

impl Function for Entropy {
    const ID: u32 = 4;
    const QUEUES: &'static [u16] = &[QUEUE_MAX];

    fn features(&self) -> u64 {
        0
    }

    fn config(&self, _: u64, _: Accepted) -> u8 {
        0
    }

    fn set_config(&mut self, _: u64, _: u8, _: Accepted) {}

    fn notify(&mut self, _: usize, rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<(), Broken> {
        self.ask(rings, reach)
    }

    fn reset(&mut self) {
        *self = Entropy::default();
    }
}

impl VirtioMmio<Entropy> {
    /// Random bytes have come ([`crate::Input::Entropy`]). They are ignored if none are wanted or none came;
    /// more than wanted are cut, and fewer are passed on, as the driver must expect (VIRTIO 5.4.6.1).
    pub fn receive(&mut self, bytes: &[u8], reach: &mut Reach<'_>) {
        if self.function.wanted > 0 && !bytes.is_empty() {
            self.run(reach, |entropy, rings, reach| entropy.fill(bytes, rings, reach));
        }
    }
}

impl Visit for Entropy {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self { wanted, waiting } = self;
        v.u32("wanted", wanted);
        hart::state::component(v, "waiting", waiting);
    }
}
