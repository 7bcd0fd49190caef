//! `Rest`: a guest that runs only a share of its time rests after each slice.
//!
//! Whoever slows the guest down says the share; what the guest computes never depends on it.

use messages::time::{Span, Time};

/// How long the guest rests after its last slice.
#[derive(Debug, Default)]
pub struct Rest {
    /// When the last slice began; `None`: its end has been seen.
    slice: Option<Time>,
    /// Until when the guest must rest; `None`: it may run.
    until: Option<Time>,
}

impl Rest {
    /// Notes that a slice begins now.
    pub fn on_slice(&mut self, now: Time) {
        self.slice = Some(now);
    }

    /// Takes the time, the end of the last slice: its length says how long a guest rests that may run
    /// `permille` thousandths of its time.
    pub fn look(&mut self, now: Time, permille: u32) {
        if let Some(began) = self.slice.take().filter(|_| permille < 1000) {
            let whole = now.since(began).0.saturating_mul(1000) / u64::from(permille);
            self.until = Some(began.after(Span(whole)));
        }
        self.until = self.until.filter(|&until| now < until);
    }

    /// Until when the guest must rest; `None`: it may run.
    #[must_use]
    pub fn until(&self) -> Option<Time> {
        self.until
    }
}
