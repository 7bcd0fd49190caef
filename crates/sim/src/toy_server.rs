//! The toy server as the simulator's subject: how it is booted, asked and watched.
//!
//! The guest itself stands in the crate `toy`; `bare.rs` does the same for the real machine. This file only
//! translates and must never change what the server does.

use machine::{Effect, Input};
use replica::Guest;
use toy::{Server, hash::mix, server};

use crate::subject::Subject;

/// The guest of most worlds: the toy with the program that decides by itself what it does.
pub type Toy = toy::Toy<Server>;

impl Subject for Toy {
    type Config = u64;
    const REMEMBERS: bool = true;
    const SECTORS: u64 = server::SECTORS;

    fn boot(seed: &u64) -> Toy {
        Toy::boot(*seed)
    }

    /// A server of another seed, so that whatever a clone leaves as it is shows.
    fn blank(seed: &u64) -> Toy {
        Toy::boot(!*seed)
    }

    fn whole(&self) -> u64 {
        let digest = self.clone().digest();
        let parts = digest.parts.iter();
        parts.fold(self.fingerprint(), |sum, (_, part)| mix(sum, *part))
    }

    fn fingerprint(&self) -> u64 {
        Toy::fingerprint(self)
    }

    fn request(seq: u64, payload: u64) -> Input {
        let frame = Toy::request(seq, payload);
        Input::NetFrame { port: 0, frame }
    }

    fn reply(effect: &Effect) -> Option<(u64, Vec<u8>)> {
        match effect {
            Effect::NetTransmit { frame, .. } => Toy::reply(frame),
            _ => None,
        }
    }
}
