//! A flat image for a board with RAM at 0x8000_0000: runtime, templates, records.
//!
//! Whoever compares two machines gives both the same image as their firmware. The image depends on its
//! programs only, so that it is the same on every host.

use crate::{
    layout::{HEADER, RAM, RAM_BYTES, RECORDS, TEMPLATES},
    program::Program,
    runtime, values,
};

/// The most programs of one image: with this many it stays far smaller than RAM.
pub const PROGRAMS_MAX: usize = 4000;

/// The image that runs these programs one after the other, prints a line for each, and switches the machine
/// off. `verbose`: also prints every trap and the registers at the end.
///
/// The line has the hash in hexadecimal, and after a space the number of instructions, which is for this
/// machine only: what counts as one is not the same everywhere.
#[must_use]
pub fn image(programs: &[Program], verbose: bool) -> Vec<u8> {
    assert!(programs.len() <= PROGRAMS_MAX, "too many programs for one image");
    let mut image = runtime::code();
    image.resize((TEMPLATES - RAM) as usize, 0);
    image.extend(values::templates());
    image.resize((HEADER - RAM) as usize, 0);
    image.extend((programs.len() as u64).to_le_bytes());
    image.extend(u64::from(verbose).to_le_bytes());
    assert!(
        image.len() as u64 == RECORDS - RAM,
        "the records follow the header"
    );
    for program in programs {
        image.extend(program.record());
    }
    assert!(
        (image.len() as u64) < RAM_BYTES / 2,
        "the image leaves room in RAM"
    );
    image
}
