//! virtio-rng (VIRTIO 5.4): the guest asks for random bytes, one buffer at a time.
//!
//! The device keeps a pool of random bytes and serves buffers from it at once. When the pool runs low it says
//! how many bytes it wants ([`Effect::EntropyWanted`]), and the bytes come as an input through `receive`. So
//! one entry of the log serves many buffers: Linux asks for 64 bytes at a time, and a way to the host and
//! back for each of them made its `/dev/hwrng` slow. The device never makes a random byte itself: two
//! replicas would make different ones. No byte is given out twice, and none survives a reset.

use hart::{Visit, Visitor};

use super::{
    Accepted, Broken, Function, Rings, VirtioMmio,
    chain::Chain,
    limits::{ENTROPY_BYTES_MAX, ENTROPY_POOL_BYTES, QUEUE_MAX},
};
use crate::{Effect, device::Reach};

/// The entropy device.
#[derive(Clone, Debug, Default)]
pub struct Entropy {
    /// Random bytes that no buffer has got yet: at most [`ENTROPY_POOL_BYTES`].
    pool: Vec<u8>,
    /// How many bytes were asked for and not yet received; 0: none. At most what the pool has room for.
    wanted: u32,
    /// The buffer that waits until the pool has bytes; empty when none waits.
    waiting: Chain,
}

impl Entropy {
    /// Fills the buffers that are there, as far as the pool goes; then asks for more if it must.
    fn serve(&mut self, rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<(), Broken> {
        loop {
            if self.waiting.writable.total() == 0 {
                let Some(chain) = rings.queue(0)?.pop(reach.ram)? else {
                    return Ok(());
                };
                // VIRTIO 5.4.6.1: buffers are writable only.
                if chain.writable.total() == 0 {
                    return Err(Broken("an entropy buffer is not writable"));
                }
                self.waiting = chain;
            }
            // Asked here, so a guest that wants no random bytes causes no entries.
            self.ask(reach);
            if self.pool.is_empty() {
                return Ok(());
            }
            let chain = std::mem::take(&mut self.waiting);
            let room = usize::try_from(chain.writable.total()).unwrap_or(usize::MAX);
            let length = room.min(ENTROPY_BYTES_MAX).min(self.pool.len());
            let bytes: Vec<u8> = self.pool.drain(..length).collect();
            chain.writable.scatter(reach.ram, 0, &bytes)?;
            let written = u32::try_from(length).unwrap_or(u32::MAX);
            rings.queue(0)?.push(reach.ram, chain.head, written)?;
        }
    }

    /// Asks for as many bytes as the pool has room for, if it is less than half full and none are on the way.
    fn ask(&mut self, reach: &mut Reach<'_>) {
        if self.wanted > 0 || self.pool.len().saturating_mul(2) >= ENTROPY_POOL_BYTES {
            return;
        }
        let room = ENTROPY_POOL_BYTES.saturating_sub(self.pool.len());
        self.wanted = u32::try_from(room).unwrap_or(0);
        reach
            .effects
            .push_back(Effect::EntropyWanted { bytes: self.wanted });
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
        self.serve(rings, reach)
    }

    fn reset(&mut self) {
        *self = Entropy::default();
    }
}

impl VirtioMmio<Entropy> {
    /// How many bytes were asked for and not yet received; `None`: there is no such wish.
    pub fn wanted(&self) -> Option<u32> {
        Some(self.function.wanted).filter(|wanted| *wanted > 0)
    }

    /// Random bytes have come ([`crate::Input::Entropy`]). They are ignored if none are wanted or none came;
    /// more than wanted are cut, and fewer are passed on, as the driver must expect (VIRTIO 5.4.6.1).
    pub fn receive(&mut self, bytes: &[u8], reach: &mut Reach<'_>) {
        let wanted = usize::try_from(self.function.wanted).unwrap_or(0);
        if wanted > 0 && !bytes.is_empty() {
            self.run(reach, |entropy, rings, reach| {
                entropy.wanted = 0;
                entropy.pool.extend(bytes.iter().take(wanted));
                entropy.serve(rings, reach)
            });
        }
    }
}

impl Visit for Entropy {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            pool,
            wanted,
            waiting,
        } = self;
        v.bytes("pool", pool, ENTROPY_POOL_BYTES);
        v.u32("wanted", wanted);
        hart::state::component(v, "waiting", waiting);
        let free = ENTROPY_POOL_BYTES.saturating_sub(pool.len());
        if usize::try_from(*wanted).map_or(true, |wanted| wanted > free) {
            v.reject("rng: more bytes are wanted than the pool has room for");
        }
    }
}
