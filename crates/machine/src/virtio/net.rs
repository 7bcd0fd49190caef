//! virtio-net (VIRTIO 5.1): one receive and one transmit queue, mergeable receive buffers, no offloads.
//!
//! An Ethernet frame that the guest transmits leaves as [`Effect::NetTransmit`]. One from outside comes in
//! through `receive` at its input's step; while the guest has no buffers the frame is held as guest state, up
//! to a limit, and beyond that it is dropped as a real card does. The device never looks into a frame.
//!
//! "Frame" is Ethernet's word here, as in the effect and the input; VIRTIO says "packet". It has nothing to
//! do with the frames of the log.

use bitflags::bitflags;
use hart::{Visit, Visitor};

use super::{
    Accepted, Broken, Function, Rings, TransportFeatures, VirtioMmio,
    chain::{Chain, Spans},
    limits::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, FRAMES_HELD_MAX, QUEUE_MAX},
};
use crate::{Effect, NetConfig, device::Reach};

bitflags! {
    /// VIRTIO 5.1.3: `VIRTIO_NET_F_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct NetFeatures: u64 {
        /// The device's Ethernet address is in the configuration space.
        const MAC = 1 << 5;
        /// The device may spread a frame over several receive buffers.
        const MRG_RXBUF = 1 << 15;
        /// The state of the link is in the configuration space.
        const STATUS = 1 << 16;
    }
}

/// VIRTIO 5.1.2: the index of the queue of buffers to receive into.
const RECEIVE: usize = 0;
/// VIRTIO 5.1.2: the index of the queue of frames to transmit.
const TRANSMIT: usize = 1;
/// VIRTIO 5.1.4: the link is up, as it always is: what cannot leave is lost on the way, as in a network.
const LINK_UP: u8 = 1;
/// VIRTIO 5.1.6: bytes of `struct virtio_net_hdr`, which is before each frame.
const HEADER_BYTES: usize = 12;
/// VIRTIO 5.1.6.1: the same without its last field, `num_buffers`.
const SHORT_HEADER_BYTES: usize = 10;

/// The network device.
#[derive(Clone, Debug)]
pub struct Net {
    /// The index of the network device in the configuration. Part of the machine's build, not of its state,
    /// as is `mac`.
    port: u8,
    /// The Ethernet address that the driver is told.
    mac: [u8; 6],
    /// Frames for which the guest had no buffers yet, oldest first; at most [`FRAMES_HELD_MAX`].
    held: Vec<EthernetFrame>,
}

/// An Ethernet frame of [`FRAME_BYTES_MIN`] to [`FRAME_BYTES_MAX`] bytes, without FCS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct EthernetFrame(Vec<u8>);

impl Net {
    /// The network device of this index in the configuration, after power-on.
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
        let header_bytes = header_bytes(rings);
        while let Some(chain) = rings.queue(TRANSMIT)?.pop(reach.ram)? {
            let total = chain.readable.total();
            let Some(bytes) = total.checked_sub(header_bytes) else {
                return Err(Broken("a frame to transmit has no header"));
            };
            // No offload is offered, so nothing in the header concerns the device.
            let length = usize::try_from(bytes).unwrap_or(usize::MAX);
            if (FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&length) {
                let mut frame = vec![0; length];
                chain.readable.gather(reach.ram, header_bytes, &mut frame)?;
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

/// Puts one frame into receive buffers, or drops it. False: the frame must wait, as there are too few
/// buffers.
fn place(frame: &[u8], rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<bool, Broken> {
    let mergeable = rings.accepted.has(NetFeatures::MRG_RXBUF);
    let header_bytes = header_bytes(rings);
    let queue = rings.queue(RECEIVE)?;
    let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
    let needed = length.saturating_add(header_bytes);
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
        if size < header_bytes {
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
    let header = receive_header(count);
    let kept = usize::try_from(header_bytes).unwrap_or(HEADER_BYTES);
    let mut bytes = Vec::from(header.get(..kept).unwrap_or(&header));
    bytes.extend_from_slice(frame);
    let mut rest = bytes.as_slice();
    for chain in chains {
        let written = fill(&chain.writable, rest, reach)?;
        rest = rest.get(written..).unwrap_or_default();
        queue.push(reach.ram, chain.head, u32::try_from(written).unwrap_or(u32::MAX))?;
    }
    Ok(true)
}

/// Bytes of the header before each frame. VIRTIO 5.1.6.1: a driver that accepted neither
/// VIRTIO_F_VERSION_1 nor merged buffers has one without `num_buffers`.
fn header_bytes(rings: &Rings<'_>) -> u64 {
    let has_count =
        rings.accepted.has(TransportFeatures::VERSION_1) || rings.accepted.has(NetFeatures::MRG_RXBUF);
    let bytes = if has_count {
        HEADER_BYTES
    } else {
        SHORT_HEADER_BYTES
    };
    u64::try_from(bytes).unwrap_or(0)
}

/// VIRTIO 5.1.6, `struct virtio_net_hdr`: no flags, no offload (`VIRTIO_NET_HDR_GSO_NONE`), and in
/// `num_buffers` over how many buffers the frame goes, which is 1 if buffers are not merged (VIRTIO 5.1.6.4).
fn receive_header(buffers: u16) -> [u8; HEADER_BYTES] {
    let [low, high] = buffers.to_le_bytes();
    // flags, gso_type, hdr_len, gso_size, csum_start and csum_offset are all zero.
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, low, high]
}

/// Writes as much of `bytes` as fits; returns how much.
fn fill(spans: &Spans, bytes: &[u8], reach: &mut Reach<'_>) -> Result<usize, Broken> {
    let room = usize::try_from(spans.total()).unwrap_or(usize::MAX);
    let piece = bytes.get(..room).unwrap_or(bytes);
    spans.scatter(reach.ram, 0, piece)?;
    Ok(piece.len())
}

impl Function for Net {
    const ID: u32 = 1;
    const QUEUES: &'static [u16] = &[QUEUE_MAX, QUEUE_MAX];

    fn features(&self) -> u64 {
        NetFeatures::all().bits()
    }

    /// VIRTIO 5.1.4: the address is first, the state of the link (`VIRTIO_NET_S_LINK_UP`) behind it, and no
    /// other field has its feature offered.
    fn config(&self, offset: u64, _: Accepted) -> u8 {
        let [m0, m1, m2, m3, m4, m5] = self.mac;
        let index = usize::try_from(offset).unwrap_or(usize::MAX);
        let fields = [m0, m1, m2, m3, m4, m5, LINK_UP, 0];
        fields.get(index).copied().unwrap_or(0)
    }

    /// No field is the driver's to write.
    fn set_config(&mut self, _: u64, _: u8, _: Accepted) {}

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
    /// A frame from outside ([`crate::Input::NetFrame`]). It is dropped if the driver does not run the
    /// device, if it is too short or too long for a frame, or if too many are held already.
    pub fn receive(&mut self, frame: Vec<u8>, reach: &mut Reach<'_>) {
        let sound = (FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&frame.len());
        if !sound || !self.is_live() || self.function.held.len() >= FRAMES_HELD_MAX {
            return;
        }
        self.function.held.push(EthernetFrame(frame));
        self.run(reach, Net::deliver);
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

impl Visit for EthernetFrame {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self(bytes) = self;
        v.bytes("frame", bytes, FRAME_BYTES_MAX);
    }
}
