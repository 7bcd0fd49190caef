//! Who owns a VM at the arbiter, for VMs that have no process and are to be started, or of which nobody has
//! written down how they ended. The arbiter is asked on a thread of its own, since a dead server answers
//! nobody.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arbiter::{Closing, Place, Process, Record};
use messages::vm_name::VmName;
use os::error::chain;
use os::sys::clock;
use plan::{HostName, Ownership};

use super::told::{AskedOwners, Over, Owner, Owners, Told};
use crate::lock;
use crate::records::EndWord;

/// Time between two questions while somebody waits for the answer.
const SOON: Duration = Duration::from_millis(300);
/// Questions that are left out while nobody does: the arbiter is asked every few seconds then.
const SELDOM: u32 = 16;

/// Asks the arbiter again and again, until `ends`.
///
/// # Errors
/// This host gives no more threads.
pub fn watch(
    arbiter: Place,
    wanted: Arc<Mutex<AskedOwners>>,
    tell: Sender<Told>,
    ends: Arc<AtomicBool>,
) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("arbiter".into())
        .spawn(move || {
            let mut rests = 0;
            while !ends.load(Ordering::Relaxed) {
                let vms = lock(&wanted).clone();
                if !vms.is_empty() || rests == 0 {
                    rests = SELDOM;
                    let at = clock::now();
                    let owners = ask(&arbiter, &vms);
                    if tell.send(Told::Arbiter(Owners { at, owners })).is_err() {
                        return;
                    }
                }
                rests -= 1;
                std::thread::sleep(SOON);
            }
        })?;
    Ok(())
}

fn ask(arbiter: &Place, vms: &AskedOwners) -> Result<BTreeMap<VmName, Owner>, String> {
    let mut arbiter = arbiter.open(Process::here(None)).map_err(|error| chain(&error))?;
    let mut owners = BTreeMap::new();
    for vm in vms {
        let record = arbiter.last(vm).map_err(|error| chain(&error))?;
        owners.insert(vm.clone(), owner(record));
    }
    Ok(owners)
}

/// How an owner has ended whose record is closed.
fn end(closing: &Closing) -> EndWord {
    match closing {
        Closing::Off => EndWord::SwitchedOff,
        Closing::Stopped => EndWord::Stopped,
        Closing::Gone | Closing::Released { .. } => EndWord::Died,
    }
}

/// What a VM's newest record says.
fn owner(record: Option<Record>) -> Owner {
    let Some(record) = record else {
        let (ownership, over) = (Ownership::Closed, None);
        return Owner { ownership, over };
    };
    let epoch = record.epoch.0;
    let how = match &record.closed {
        Some(closing) => Some(end(closing)),
        None => record.has_surely_ended().then_some(EndWord::Died),
    };
    let claimed = record.origin.as_ref().map_or(0, |origin| origin.time);
    let ownership = match how {
        Some(_) => Ownership::Closed,
        None => Ownership::Open {
            epoch,
            host: HostName::new(record.origin.map_or_else(
                || "a host that it does not name".into(),
                |origin| origin.process.host,
            )),
        },
    };
    let over = how.map(|how| Over {
        epoch,
        how,
        claimed_wall_ns: claimed.saturating_mul(1_000_000_000),
    });
    Owner { ownership, over }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_arbiter_has_of_an_end_is_told() {
        let ends = [
            (Closing::Off, EndWord::SwitchedOff),
            (Closing::Stopped, EndWord::Stopped),
            (Closing::Gone, EndWord::Died),
            (Closing::Released { by: "anna".into() }, EndWord::Died),
        ];
        for (closing, how) in ends {
            assert_eq!(end(&closing), how);
        }
        let never = owner(None);
        assert_eq!((never.ownership, never.over), (Ownership::Closed, None));
    }
}
