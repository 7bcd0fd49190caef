//! virtio-console (VIRTIO 5.3): one port, no multiport, no size.
//!
//! What the guest writes leaves as `Effect::ConsoleWrite`; what is typed comes in through `receive` and is
//! held as state until the guest has buffers for it, up to a limit.

use hart::{Visit, Visitor};

use super::{
    Broken, Function, Rings, VirtioMmio,
    limits::{CONSOLE_HELD_MAX, CONSOLE_WRITE_MAX, QUEUE_MAX},
};
use crate::{Effect, device::Context};

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// The console.
#[derive(Clone, Debug)]
pub struct Console {
    /// Which console; part of the machine's build.
    port: u8,
    /// Typed and not yet read, oldest first; at most [`CONSOLE_HELD_MAX`].
    held: Vec<u8>,
}

impl Console {
    /// Console `port`; port 0 is the UART.
    #[must_use]
    pub fn new(port: u8) -> Console {
        Console {
            port,
            held: Vec::new(),
        }
    }

    /// Hands typed bytes to the guest as long as it has buffers.
    fn deliver(&mut self, rings: &mut Rings<'_>, cx: &mut Context<'_>) -> Result<(), Broken> {
        let queue = rings.queue(RECEIVE)?;
        let mut rest = self.held.as_slice();
        while !rest.is_empty() {
            let Some(chain) = queue.pop(cx.ram)? else {
                break;
            };
            let room = usize::try_from(chain.writable.total()).unwrap_or(usize::MAX);
            if room == 0 {
                return Err(Broken("a receive buffer is not writable"));
            }
            let (piece, later) = rest.split_at(room.min(rest.len()));
            chain.writable.scatter(cx.ram, piece)?;
            queue.push(cx.ram, chain.head, u32::try_from(piece.len()).unwrap_or(u32::MAX))?;
            rest = later;
        }
        let taken = self.held.len().saturating_sub(rest.len());
        self.held.drain(..taken);
        Ok(())
    }

    /// Sends everything in the transmit queue.
    fn transmit(&mut self, rings: &mut Rings<'_>, cx: &mut Context<'_>) -> Result<(), Broken> {
        while let Some(chain) = rings.queue(TRANSMIT)?.pop(cx.ram)? {
            let total = usize::try_from(chain.readable.total()).unwrap_or(usize::MAX);
            let mut bytes = vec![0; total.min(CONSOLE_WRITE_MAX)];
            chain.readable.gather(cx.ram, 0, &mut bytes)?;
            if !bytes.is_empty() {
                cx.effects.push_back(Effect::ConsoleWrite {
                    port: self.port,
                    bytes,
                });
            }
            rings.queue(TRANSMIT)?.push(cx.ram, chain.head, 0)?;
        }
        Ok(())
    }
}

impl Function for Console {
    const ID: u32 = 3;
    const QUEUES: &'static [u16] = &[QUEUE_MAX, QUEUE_MAX];

    fn features(&self) -> u64 {
        0
    }

    /// VIRTIO 5.3.4: every field belongs to a feature that is not offered.
    fn config(&self, _: u64) -> u8 {
        0
    }

    fn notify(&mut self, queue: usize, rings: &mut Rings<'_>, cx: &mut Context<'_>) -> Result<(), Broken> {
        match queue {
            RECEIVE => self.deliver(rings, cx),
            _ => self.transmit(rings, cx),
        }
    }

    fn reset(&mut self) {
        self.held.clear();
    }
}

impl VirtioMmio<Console> {
    /// Bytes from outside ([`crate::Input::Console`]). Held until the driver runs and has buffers; what
    /// goes beyond [`CONSOLE_HELD_MAX`] is dropped.
    pub fn receive(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        let room = CONSOLE_HELD_MAX.saturating_sub(self.function.held.len());
        self.function.held.extend(bytes.iter().take(room));
        self.run(cx, Console::deliver);
    }

    /// Bytes that wait for buffers.
    #[must_use]
    pub fn held(&self) -> usize {
        self.function.held.len()
    }
}

impl Visit for Console {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self { port: _, held } = self;
        v.bytes("held", held, CONSOLE_HELD_MAX);
    }
}
