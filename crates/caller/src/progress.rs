//! `Progress`: how far a clone is, as a line that is drawn again and again: phase, how much of the memory is
//! copied, how fast, and when it may be over. It is made of one status after the other.

use std::time::Instant;

use report::{PhaseWord, amount};

use control::Status;

/// Cells of the bar.
const CELLS: u64 = 20;

/// How far a clone has come until now.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    /// When the first of the memory was seen to be copied, and how many bytes were by then.
    first: Option<(Instant, u64)>,
    /// The most of the bar that was drawn, in cells: a bar does not go back.
    drawn: u64,
}

impl Progress {
    /// The beginning.
    #[must_use]
    pub fn new(began: Instant) -> Progress {
        Progress {
            began,
            first: None,
            drawn: 0,
        }
    }

    /// The line for this status at this time.
    pub fn line(&mut self, status: &Status, now: Instant) -> String {
        let since = now.duration_since(self.began).as_secs();
        let Some(clone) = &status.clone else {
            return match status.protection.phase {
                Some(phase) => format!("{} ({since} s)", phase.as_str()),
                None => format!("waiting for the other side ({since} s)"),
            };
        };
        let phase = clone.phase.as_str();
        if clone.phase != PhaseWord::Copying || clone.total_bytes == 0 {
            let lag = status.figures.as_ref().map(|figures| figures.lag_ms);
            let lag = lag.filter(|_| clone.phase == PhaseWord::CatchingUp);
            let lag = lag.map_or(String::new(), |lag| format!(", {lag:.0} ms behind"));
            return format!("{phase}{lag} ({since} s)");
        }
        let (done, total) = (clone.copied_bytes.min(clone.total_bytes), clone.total_bytes);
        let (first, before) = *self.first.get_or_insert((now, done));
        let seconds = now.duration_since(first).as_secs_f64();
        let rate = done.saturating_sub(before) as f64 / seconds;
        let cells = (done as f64 / total as f64 * CELLS as f64) as u64;
        self.drawn = self.drawn.max(cells.min(CELLS));
        let bar = "#".repeat(self.drawn as usize) + &".".repeat((CELLS - self.drawn) as usize);
        let speed = if rate.is_normal() {
            let left = ((total - done) as f64 / rate).ceil();
            format!(", {}/s, {left:.0} s left", amount::bytes(rate as u64 >> 20 << 20))
        } else {
            String::new()
        };
        let mib = |bytes: u64| amount::grouped(bytes >> 20);
        format!("{phase} [{bar}] {} of {} MiB{speed}", mib(done), mib(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::Cloning;
    use report::{Reason, StateWord};
    use std::time::Duration;

    #[test]
    fn a_bar_says_how_much_of_how_much_how_fast_and_how_long_still() {
        let began = Instant::now();
        let mut progress = Progress::new(began);
        let mut status = Status::only("shop", 1, StateWord::Starting, Reason::new("copying", ""));
        let at = |s: u64| began + Duration::from_secs(s);
        assert_eq!(progress.line(&status, at(3)), "waiting for the other side (3 s)");
        let clone = |phase, copied: u64, total: u64| {
            Some(Cloning {
                peer: "10.0.0.3:7800".into(),
                phase,
                copied_bytes: copied << 20,
                total_bytes: total << 20,
            })
        };
        status.clone = clone(PhaseWord::Copying, 0, 1000);
        assert_eq!(
            progress.line(&status, at(4)),
            "copying [....................] 0 of 1,000 MiB"
        );
        status.clone = clone(PhaseWord::Copying, 500, 1000);
        assert_eq!(
            progress.line(&status, at(6)),
            "copying [##########..........] 500 of 1,000 MiB, 250 MiB/s, 2 s left"
        );
        // A second round is begun: there is more to copy than it seemed.
        status.clone = clone(PhaseWord::Copying, 600, 2000);
        assert!(
            progress
                .line(&status, at(7))
                .starts_with("copying [##########......")
        );
        status.clone = clone(PhaseWord::Arming, 2000, 2000);
        assert_eq!(progress.line(&status, at(9)), "arming (9 s)");
    }
}
