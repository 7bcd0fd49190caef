//! How a machine is built, and what a reset does to it: images and registers as power-on leaves them.
//!
//! Where the images go, `boot` knows; it is asked once. A machine that is filled by another one's pages and
//! state begins blank, and may get its images later than its pages.

use hart::{Engine, Hart, Ram, Step};

use super::{Machine, Power, QUANTUM};
use crate::{
    Boot, Config,
    board::Board,
    boot::{self, BootError, Layout},
    narrow::{index, wide},
    pages::Pages,
};

impl Machine {
    /// The machine at step 0: images loaded, all harts at the firmware's entry.
    ///
    /// # Errors
    /// If the configuration makes no machine, or the host has no memory for the guest's.
    pub fn new(config: Config, engine: Box<dyn Engine>) -> Result<Machine, BootError> {
        let mut machine = Machine::blank(config, engine)?;
        if machine.layout.is_none() {
            return Err(BootError::NothingToBoot);
        }
        machine.load_images();
        Ok(machine)
    }

    /// The machine with nothing in its RAM, to be filled by [`Machine::place`] and
    /// [`Machine::restore_state`]. The configuration may lack all images, which must have come by then
    /// ([`Machine::provide`]): only a reset needs them.
    ///
    /// # Errors
    /// As [`Machine::new`], but that there may be nothing to boot.
    pub fn blank(config: Config, engine: Box<dyn Engine>) -> Result<Machine, BootError> {
        boot::validate(&config)?;
        let layout = layout(&config)?;
        let ram = Ram::new(config.memory).map_err(|error| BootError::HostMemory(error.to_string()))?;
        Ok(Machine {
            engine,
            pages: Pages::new(ram.pages()),
            begun: None,
            ram,
            harts: start(&config, layout.as_ref()),
            board: Board::new(&config),
            now: Step(0),
            turn: 0,
            left: QUANTUM,
            power: Power::On,
            config_digest: config.digest(),
            config,
            layout,
        })
    }

    /// Gives the machine the images, which a reset loads. RAM does not change.
    ///
    /// # Errors
    /// If they make no machine. The machine has then the images that it had.
    pub fn provide(&mut self, images: Boot) -> Result<(), BootError> {
        let mut config = self.config.clone();
        config.boot = images;
        boot::validate(&config)?;
        self.layout = layout(&config)?;
        self.config_digest = config.digest();
        self.config = config;
        Ok(())
    }

    /// Does the machine have the images that a reset loads?
    #[must_use]
    pub fn has_images(&self) -> bool {
        self.layout.is_some()
    }

    /// Resets the machine as QEMU's `virt` is reset: images are loaded again, the rest of RAM stays as it is,
    /// `mtime` begins anew; the clock behind it and the steps go on.
    pub(super) fn reset(&mut self) {
        self.board.reset(self.now);
        self.harts = start(&self.config, self.layout.as_ref());
        self.turn = 0;
        self.left = QUANTUM;
        self.clear_rooms();
        self.load_images();
    }

    fn load_images(&mut self) {
        for piece in self.layout.iter().flat_map(|layout| &layout.images) {
            let written = self.ram.write(piece.address, piece.bytes());
            debug_assert!(written.is_ok(), "the layout lies inside RAM");
        }
    }

    /// Makes the zeroed data of ELF files zero again, which it is when the machine is new.
    fn clear_rooms(&mut self) {
        const ZEROS: [u8; hart::ram::PAGE] = [0; hart::ram::PAGE];
        let pieces = self.layout.iter().flat_map(|layout| &layout.images);
        for piece in pieces.filter(|piece| piece.is_cleared) {
            let mut at = piece.address + wide(piece.bytes().len());
            let end = piece.address + piece.size;
            while at < end {
                let length = (end - at).min(wide(hart::ram::PAGE) - at % wide(hart::ram::PAGE));
                let zeros = ZEROS.get(..index(length)).unwrap_or_default();
                let written = self.ram.write(at, zeros);
                debug_assert!(written.is_ok(), "the layout lies inside RAM");
                at += length;
            }
        }
    }
}

/// What a reset of this machine loads; `None`: the configuration has no image.
fn layout(config: &Config) -> Result<Option<Layout>, BootError> {
    match boot::firmware::layout(config) {
        Ok(layout) => Ok(Some(layout)),
        Err(BootError::NothingToBoot) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first argument register, x10.
const A0: usize = 10;

/// All harts at the firmware's first instruction, with the arguments that QEMU's reset ROM would pass.
fn start(config: &Config, layout: Option<&Layout>) -> Vec<Hart> {
    let (entry, fdt, info) = layout.map_or((hart::ram::BASE, 0, 0), |layout| {
        (layout.entry, layout.fdt, layout.info)
    });
    let hart = |id| {
        let mut hart = Hart::new(id, entry);
        let arguments = [wide(id), fdt, info];
        for (register, argument) in hart.x.iter_mut().skip(A0).zip(arguments) {
            *register = argument;
        }
        hart
    };
    (0..config.harts).map(hart).collect()
}
