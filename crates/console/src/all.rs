//! `Consoles`: all consoles of a guest, by their port numbers. `World` asks it what was typed next and gives
//! it what the guest writes.
//!
//! Nothing here decides what typing means; a console takes from whoever types only what there is room for.

use crate::{Console, Typed, Want};

/// What whoever types at a backup's console is told, once.
const IDLE: &[u8] =
    b"\r\n[lockstep: this is the backup; what is typed here does not reach the guest before it is live]\r\n";

/// All consoles of a guest.
#[derive(Debug, Default)]
pub struct Consoles {
    /// The consoles; the place of each is its port number.
    all: Vec<Console>,
    /// Was somebody who types at a backup's console told that it leads nowhere?
    told_idle: bool,
}

impl Consoles {
    /// Adds the console of the next port.
    pub fn push(&mut self, console: Console) {
        self.all.push(console);
    }

    /// Was something typed at any console that [`Consoles::typed`] would give?
    pub fn has_typed(&mut self, want: Want) -> bool {
        self.all.iter_mut().any(|console| console.has_typed(want))
    }

    /// Takes out what is wanted from any console that has it ([`Console::typed`]), with the console's port;
    /// `None`: nothing at present.
    pub fn typed(&mut self, want: Want) -> Option<(u8, Typed)> {
        let mut consoles = (0..).zip(&mut self.all);
        consoles.find_map(|(port, console)| Some((port, console.typed(want)?)))
    }

    /// Takes what the guest has written to a port. Never waits; bytes for a port without a console go
    /// nowhere.
    pub fn write(&self, port: u8, bytes: &[u8]) {
        if let Some(console) = self.all.get(usize::from(port)) {
            console.write(bytes);
        }
    }

    /// Tells whoever types at a backup's console, the first time, that it leads nowhere.
    pub fn tell_idle(&mut self, port: u8) {
        if !std::mem::replace(&mut self.told_idle, true) {
            self.write(port, IDLE);
        }
    }

    /// Bytes of the guest that went nowhere because nobody read them in time.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.all.iter().map(Console::lost).sum()
    }

    /// Waits until the guest's last words are written, but not for ever.
    pub fn finish(&self) {
        self.all.iter().for_each(Console::finish);
    }
}
