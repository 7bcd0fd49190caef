//! virtio-net (VIRTIO 5.1): one receive and one transmit queue, mergeable receive buffers, no offloads.
//!
//! A transmitted frame leaves as `Effect::NetTransmit`. A frame from outside comes in through `receive` at
//! its input's step; while the guest has no buffers it is held as state, up to a limit, and beyond that it
//! is dropped as a real card does.

use hart::{Visit, Visitor};

use super::{
    Broken, Function, Rings, VirtioMmio,
    chain::{Chain, Spans},
    limits::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, FRAMES_HELD_MAX, QUEUE_MAX},
};
use crate::{Effect, NetConfig, device::Reach};

/// VIRTIO 5.1.3: feature bits.
pub mod feature {
    /// The configuration space has the address.
    pub const MAC: u64 = 1 << 5;
    /// A frame may span several buffers.
    pub const MRG_RXBUF: u64 = 1 << 15;
}

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// VIRTIO 5.1.6: bytes of the header before each frame.
const HEADER_BYTES: u64 = 12;

/// The network device.
#[derive(Clone, Debug)]
pub struct Net {
    /// Which network device; with the address part of the machine's build.
    port: u8,
    mac: [u8; 6],
    /// Frames for which the guest had no buffers yet, oldest first; at most [`FRAMES_HELD_MAX`].
    held: Vec<Frame>,
}

/// A frame of [`FRAME_BYTES_MIN`] to [`FRAME_BYTES_MAX`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Frame(Vec<u8>);

impl Net {
    /// Network device `port`.
    #[must_use]
    pub fn new(port: u8, config: &NetConfig) -> Net {
        Net {
            port,
            mac: config.mac,
            held: Vec::new(),
        }
    }

    /// Hands held frames to the guest as long as it has buffers.
    fn deliver(&mut self, rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<(), Broken> {
        let mut done: usize = 0;
        for frame in &self.held {
            if !place(&frame.0, rings, reach)? {
                break;
            }
            done = done.saturating_add(1);
        }
        self.held.drain(..done);
        Ok(())
    }

    /// Sends every frame in the transmit queue.
    fn transmit(&mut self, rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<(), Broken> {
        while let Some(chain) = rings.queue(TRANSMIT)?.pop(reach.ram)? {
            let total = chain.readable.total();
            let Some(bytes) = total.checked_sub(HEADER_BYTES) else {
                return Err(Broken("a frame to transmit has no header"));
            };
            // No offload is offered, so nothing in the header concerns the device.
            let length = usize::try_from(bytes).unwrap_or(usize::MAX);
            if (FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&length) {
                let mut frame = vec![0; length];
                chain.readable.gather(reach.ram, HEADER_BYTES, &mut frame)?;
                reach.effects.push_back(Effect::NetTransmit {
                    port: self.port,
                    frame,
                });
            }
            rings.queue(TRANSMIT)?.push(reach.ram, chain.head, 0)?;
        }
        Ok(())
    }
}

/// Puts one frame into receive buffers, or drops it. False: it must wait, there are too few.
fn place(frame: &[u8], rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<bool, Broken> {
    let mergeable = rings.accepted(feature::MRG_RXBUF);
    let queue = rings.queue(RECEIVE)?;
    let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
    let needed = length.saturating_add(HEADER_BYTES);
    // A chain in each of at most QUEUE_MAX places of the ring.
    let mut chains: Vec<Chain> = Vec::new();
    let mut count: u16 = 0;
    let mut room: u64 = 0;
    while room < needed {
        let Some(chain) = queue.pop(reach.ram)? else {
            queue.unpop(count);
            // A frame that the whole ring is too small for never fits: it is lost, and delays no other.
            return Ok(count == queue.size());
        };
        count = count.wrapping_add(1);
        let size = chain.writable.total();
        if size < HEADER_BYTES {
            return Err(Broken("a receive buffer is too small for the header"));
        }
        if !mergeable && size < needed {
            // VIRTIO 5.1.6.3.1: the driver should have had larger ones. The frame is lost, not the buffer.
            queue.unpop(count);
            return Ok(true);
        }
        room = room.saturating_add(size);
        chains.push(chain);
    }
    // VIRTIO 5.1.6.4: the header says over how many buffers the frame goes on; 1 if not mergeable.
    let [low, high] = count.to_le_bytes();
    let mut bytes = vec![0; 10];
    bytes.extend_from_slice(&[low, high]);
    bytes.extend_from_slice(frame);
    let mut rest = bytes.as_slice();
    for chain in chains {
        let written = fill(&chain.writable, rest, reach)?;
        rest = rest.get(written..).unwrap_or_default();
        queue.push(reach.ram, chain.head, u32::try_from(written).unwrap_or(u32::MAX))?;
    }
    Ok(true)
}

/// Writes as much of `bytes` as fits; returns how much.
fn fill(spans: &Spans, bytes: &[u8], reach: &mut Reach<'_>) -> Result<usize, Broken> {
    let room = usize::try_from(spans.total()).unwrap_or(usize::MAX);
    let piece = bytes.get(..room).unwrap_or(bytes);
    spans.scatter(reach.ram, piece)?;
    Ok(piece.len())
}

impl Function for Net {
    const ID: u32 = 1;
    const QUEUES: &'static [u16] = &[QUEUE_MAX, QUEUE_MAX];

    fn features(&self) -> u64 {
        feature::MAC | feature::MRG_RXBUF
    }

    /// VIRTIO 5.1.4.
    fn config(&self, offset: u64) -> u8 {
        let index = usize::try_from(offset).unwrap_or(usize::MAX);
        self.mac.get(index).copied().unwrap_or(0)
    }

    fn notify(&mut self, queue: usize, rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<(), Broken> {
        match queue {
            RECEIVE => self.deliver(rings, reach),
            _ => self.transmit(rings, reach),
        }
    }

    fn reset(&mut self) {
        self.held.clear();
    }
}

impl VirtioMmio<Net> {
    /// A frame from outside ([`crate::Input::NetFrame`]). Dropped if the driver does not run, the frame is
    /// none, or too many are held already.
    pub fn receive(&mut self, frame: Vec<u8>, reach: &mut Reach<'_>) {
        let sound = (FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&frame.len());
        if !sound || !self.is_live() || self.function.held.len() >= FRAMES_HELD_MAX {
            return;
        }
        self.function.held.push(Frame(frame));
        self.run(reach, Net::deliver);
    }

    /// Frames that wait for buffers.
    #[must_use]
    pub fn held(&self) -> usize {
        self.function.held.len()
    }
}

impl Visit for Net {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            port: _,
            mac: _,
            held,
        } = self;
        hart::state::list(v, "held", held, FRAMES_HELD_MAX);
    }
}

impl Visit for Frame {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self(bytes) = self;
        v.bytes("frame", bytes, FRAME_BYTES_MAX);
    }
}
