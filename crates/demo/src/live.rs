//! What the demo says while it runs: sentences, and on a terminal a line that is rewritten several times a
//! second. Also where Ctrl-C is noticed: every wait of the demo ticks.
//!
//! Nothing of it is said when the result is for a program.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use os::signals::Signals;
use terminal::tell;

/// Longest wait between two looks at the operator's signals.
pub const TICK: Duration = Duration::from_millis(50);
/// Time between two versions of the line.
const REDRAW: Duration = Duration::from_millis(200);

/// The operator has stopped the demo.
#[derive(Debug, thiserror::Error)]
#[error("stopped; none of its processes is left")]
pub struct Stopped;

/// What is said, and whether to stop.
pub struct Live {
    signals: Signals,
    is_silent: bool,
    has_line: bool,
    /// When the line was drawn last; `None`: there is none at present.
    drawn: Option<Instant>,
}

impl Live {
    /// From here on SIGINT and SIGTERM end the demo in good order.
    pub fn new(is_silent: bool) -> Result<Live> {
        Ok(Live {
            signals: Signals::catch().context("cannot catch signals")?,
            is_silent,
            has_line: !is_silent && std::io::stderr().is_terminal(),
            drawn: None,
        })
    }

    /// Says a sentence.
    pub fn say(&mut self, sentence: &str) {
        self.clear();
        if !self.is_silent {
            tell!("demo: {sentence}");
        }
    }

    /// Says what went wrong, also to a program's user.
    pub fn complain(&mut self, sentence: &str) {
        self.clear();
        tell!("demo: {sentence}");
    }

    /// Looks whether the demo is to stop, and draws the line if it is time.
    pub fn tick(&mut self, line: impl FnOnce() -> String) -> Result<()> {
        if self.signals.take() > 0 {
            self.clear();
            return Err(Stopped.into());
        }
        if self.has_line && self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            self.drawn = Some(Instant::now());
            os::stderr::write_text(format_args!("\r\x1b[Kdemo: {}", line()));
        }
        Ok(())
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if self.drawn.take().is_some() {
            os::stderr::write_text(format_args!("\r\x1b[K"));
        }
    }
}
