//! A disk at an NBD server. `place` is where it is, and `way` how it is reached; `socket` is a connection and
//! `line` what is said on it; `remote` keeps a connection through every failure of the server and the
//! network, with what `standing` notes; `disk` is what the threads of the disk's lane see.

mod disk;
mod line;
mod place;
mod remote;
mod socket;
mod standing;
mod way;

pub use disk::NbdDisk;
pub use place::{NbdPlace, PlaceError, Scheme};
pub use way::{DiskSecurity, Of};
