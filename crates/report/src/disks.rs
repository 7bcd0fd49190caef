//! What a disk's threads tell, as happenings. `world` hands over what it hears from them, and the reporter
//! tells it like everything else.
//!
//! Nothing is decided here: whether a disk is ill is the business of `disk`.

use std::path::Path;

use replica::Span;

use super::figures::ms;
use super::happening::Happening;
use disk::Trouble;

impl From<Trouble> for Happening {
    fn from(trouble: Trouble) -> Happening {
        Happening::DiskTrouble {
            disk: trouble.disk,
            path: trouble.path.display().to_string(),
            what: trouble.what,
            sentence: trouble.sentence,
            since_ns: trouble.since.0,
            waits: trouble.waits,
        }
    }
}

impl From<disk::Size> for Happening {
    fn from(size: disk::Size) -> Happening {
        Happening::DiskSize {
            disk: size.disk,
            path: size.path.display().to_string(),
            sectors: size.sectors,
            before: size.before,
        }
    }
}

impl Happening {
    /// The happening that the trouble of a disk is over, after it has `lasted` so long.
    #[must_use]
    pub fn disk_well(disk: u8, path: &Path, lasted: Span) -> Happening {
        Happening::DiskWell {
            disk,
            path: path.display().to_string(),
            lasted_ms: ms(lasted),
        }
    }
}
