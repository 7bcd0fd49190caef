//! No buffer of a replica grows beyond its limit (FT 3.2-c), as far as its metrics tell.
//!
//! The world asks after each slice. The limits are those of `replica::limits`, and what one slice may add to
//! them. A node's word is all that there is to go by here, so this check is about honest bugs only.

use replica::{Metrics, RoleName, limits};

use toy_outside::names::ProcessId;

use crate::checker::{Check, Violation, ensure};

/// What one slice may add to a buffer before the guest is stopped: a frame of the greatest size.
const SLICE_BYTES_MAX: u64 = limits::FRAME_BYTES_MAX as u64;

/// Looks at the buffers of `who`.
///
/// # Errors
/// If one holds more than it may.
pub fn check(who: ProcessId, metrics: &Metrics) -> Result<(), Violation> {
    let (held, log) = match metrics.role {
        RoleName::Apprentice => (limits::KEPT_BYTES_MAX as u64, limits::APPRENTICE_COST_MAX),
        RoleName::Backup => (limits::KEPT_BYTES_MAX as u64, limits::BUFFER_COST_MAX),
        RoleName::Primary => (
            limits::HELD_BYTES_MAX as u64,
            limits::BUFFER_COST_MAX + limits::UNSENT_COST_MAX,
        ),
        // These keep what they had as a primary or a backup, and their metrics stay.
        RoleName::Solo | RoleName::Claiming | RoleName::Handing | RoleName::Halted => return Ok(()),
    };
    let buffers = [
        ("outputs", metrics.held_bytes, held),
        ("log", metrics.buffered_bytes, log),
    ];
    for (name, bytes, limit) in buffers {
        ensure(bytes <= limit + SLICE_BYTES_MAX, Check::Memory, || {
            format!("{who} buffers {bytes} bytes of {name}, at most {limit} and a slice are allowed")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_beyond_its_limit_is_noticed_in_each_role_that_has_it() {
        for (role, held) in [
            (RoleName::Primary, limits::HELD_BYTES_MAX as u64),
            (RoleName::Backup, limits::KEPT_BYTES_MAX as u64),
        ] {
            let mut metrics = Metrics {
                role,
                held_bytes: held,
                buffered_bytes: limits::BUFFER_COST_MAX,
                ..Metrics::default()
            };
            assert_eq!(check(ProcessId::A, &metrics), Ok(()));
            metrics.held_bytes = held + SLICE_BYTES_MAX + 1;
            assert!(check(ProcessId::A, &metrics).is_err(), "{role:?}");
            metrics.held_bytes = 0;
            metrics.buffered_bytes = u64::MAX;
            assert!(check(ProcessId::A, &metrics).is_err(), "{role:?}");
        }
    }
}
