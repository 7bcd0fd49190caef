//! What a command writes to its user.
//!
//! Map: `output` is standard output, for results; `screen` is how wide it is and what it can show; `line` is
//! the line of a terminal that shows how far a command is. [`say!`] and [`tell!`] write the lines.
#![forbid(unsafe_code)]

mod line;
mod output;
mod screen;

pub use line::Line;
#[doc(hidden)]
pub use os;
pub use output::{divert, write_line};
pub use screen::Screen;

/// Writes a line to the standard error. Waits for no reader: a VM neither stands nor ends because nobody
/// reads.
#[macro_export]
macro_rules! tell {
    ($($text:tt)*) => {
        $crate::os::stderr::tell(format_args!($($text)*))
    };
}

/// Prints a line to the standard output; see [`write_line`].
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::write_line(format_args!($($text)*))
    };
}
