//! How fast this host computes guests, which placement compares: the program measures it, in processes of its
//! own, when the agent begins and twice soon after, in case the host had other things to do.
//!
//! A host that was not measured is none that is slow. Nothing depends on the figure but which hosts are taken
//! for backups.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;

use crate::limits::SPEED_PAUSES;
use controller::mind::Told;

/// The word with which the program is started to measure this host; it prints steps a second.
pub const SPEED: &str = "measure-speed";

/// Has this host measured a few times, and the mind told.
///
/// # Errors
/// This host gives no more threads.
pub fn measure(executable: &Path, tell: Sender<Told>) -> std::io::Result<()> {
    let executable = executable.to_owned();
    std::thread::Builder::new().name("speed".into()).spawn(move || {
        for pause in SPEED_PAUSES {
            std::thread::sleep(pause);
            let mut command = Command::new(&executable);
            command.arg(SPEED).stdin(Stdio::null()).stderr(Stdio::null());
            let output = command.output().map(|output| output.stdout).unwrap_or_default();
            let Some(speed) = parse(&output) else {
                tracing::warn!("this host's speed cannot be measured; it is taken for as fast as any");
                continue;
            };
            if tell.send(Told::Speed(speed)).is_err() {
                // Nobody listens any more when the agent ends.
                return;
            }
        }
    })?;
    Ok(())
}

fn parse(output: &[u8]) -> Option<u64> {
    std::str::from_utf8(output).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_no_speed() {
        assert_eq!(parse(b"1250000000\n"), Some(1_250_000_000));
        assert_eq!(parse(b"lockstep: no\n"), None);
        assert_eq!(parse(b""), None);
    }
}
