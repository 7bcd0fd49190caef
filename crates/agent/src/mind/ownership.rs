//! Who owns a VM at the arbiter, for VMs that have no process here and are to be started. The arbiter is
//! asked on a thread of its own, since a dead file server answers nobody.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arbiter::{Arbiter, DirectoryArbiter};
use messages::vm_name::VmName;
use os::sys::clock;
use plan::{HostName, Ownership};

use super::told::{AskedOwners, Owners, Told};
use crate::lock;

/// Time between two questions while somebody waits for the answer.
const SOON: Duration = Duration::from_millis(300);
/// Questions that are left out while nobody does: the arbiter is asked every few seconds then.
const SELDOM: u32 = 16;

/// Asks the arbiter again and again, until `ends`.
///
/// # Errors
/// This host gives no more threads.
pub fn watch(
    path: PathBuf,
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
                    let owners = ask(&path, &vms);
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

fn ask(path: &std::path::Path, vms: &AskedOwners) -> Result<BTreeMap<VmName, Ownership>, String> {
    let process = arbiter::Process::here(None);
    let mut arbiter = DirectoryArbiter::open(path, process).map_err(|error| error.to_string())?;
    let mut owners = BTreeMap::new();
    for vm in vms {
        let record = arbiter.last(vm).map_err(|error| error.to_string())?;
        let ownership = match record {
            None => Ownership::Closed,
            Some(record) if record.closed.is_some() || record.has_surely_ended() => Ownership::Closed,
            Some(record) => Ownership::Open {
                epoch: record.epoch.0,
                host: HostName::new(record.origin.map_or_else(
                    || "a host that it does not name".into(),
                    |origin| origin.process.host,
                )),
            },
        };
        owners.insert(vm.clone(), ownership);
    }
    Ok(owners)
}
