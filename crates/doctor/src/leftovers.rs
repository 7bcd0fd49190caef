//! What processes that have ended have left behind on this host: control sockets that nobody answers, signs
//! of life that nobody holds, and records at the arbiter that are open.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use arbiter::{Place, Process};

use crate::line::{Line, names};

/// What processes that have ended have left on this host and at the arbiter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Names of control sockets whose process has ended.
    pub sockets: Vec<String>,
    /// VMs of which a process of this host was killed, and that were not started again here.
    pub signs: Vec<String>,
    /// Records that are open though their process, which was of this host, has surely ended.
    pub records: Vec<OpenRecord>,
}

/// A record at the arbiter that says of no end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRecord {
    /// Name of the VM.
    pub vm: String,
    /// The epoch that the record's owner has claimed.
    pub epoch: u64,
}

/// Judges what was found. `arbiter`: where it is; `None`: this host is of no site.
#[must_use]
pub fn judge(found: &Leftovers, arbiter: Option<&Place>) -> Vec<Line> {
    let mut lines = Vec::new();
    if !found.sockets.is_empty() {
        lines.push(Line::warn(
            "leftovers",
            format!(
                "control sockets whose process has ended: {}; `lockstep status` removes them",
                names(&found.sockets)
            ),
        ));
    }
    for record in &found.records {
        let OpenRecord { vm, epoch } = record;
        let flag = arbiter.map_or(String::new(), |place| format!(" --arbiter {place}"));
        lines.push(Line::warn(
            "leftovers",
            format!(
                "{vm} is epoch {epoch} at the arbiter, whose process was on this host and has ended; a start \
                 of {vm} on this host closes that, or `lockstep release {vm} --epoch {epoch}{flag}`"
            ),
        ));
    }
    let of_records = |vm: &&String| found.records.iter().any(|record| record.vm == **vm);
    let others: Vec<String> = found.signs.iter().filter(|vm| !of_records(vm)).cloned().collect();
    if !others.is_empty() {
        lines.push(Line::warn(
            "leftovers",
            format!(
                "locks of processes that were killed, of {}; the next start of each on this host removes \
                 them",
                names(&others)
            ),
        ));
    }
    if lines.is_empty() {
        lines.push(Line::ok(
            "leftovers",
            "no process that has ended has left anything behind",
        ));
    }
    lines
}

/// Looks in the directory of this user's sockets and locks, and at the arbiter.
#[must_use]
pub fn look(directory: &Path, arbiter: Option<&Place>) -> Leftovers {
    let mut found = Leftovers::default();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        if is_socket && name.ends_with(".control") && is_dead(&entry.path()) {
            found.sockets.push(name);
        } else if let Some(vm) = vm_of_sign(&name)
            && File::open(entry.path()).is_ok_and(|file| file.try_lock_shared().is_ok())
        {
            found.signs.push(vm.to_owned());
        }
    }
    found.sockets.sort();
    found.signs.sort();
    found.signs.dedup();
    found.records = arbiter.map_or_else(Vec::new, records);
    found
}

/// Has the process of this socket ended? One that is busy lives.
fn is_dead(socket: &Path) -> bool {
    UnixStream::connect(socket).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The VM of a sign of life of this name.
fn vm_of_sign(name: &str) -> Option<&str> {
    let (vm, owner) = name.strip_suffix(".alive")?.rsplit_once('.')?;
    (owner.len() == 32).then_some(vm)
}

/// The records of this arbiter whose process has surely ended on this host. What cannot be read is told of
/// elsewhere.
fn records(place: &Place) -> Vec<OpenRecord> {
    let (Ok(vms), Ok(mut arbiter)) = (place.vms(), place.open(Process::here(None))) else {
        return Vec::new();
    };
    let mut open = Vec::new();
    for vm in vms {
        if let Ok(Some(record)) = arbiter.last(&vm)
            && record.closed.is_none()
            && record.has_surely_ended()
        {
            open.push(OpenRecord {
                vm: vm.to_string(),
                epoch: record.epoch.0,
            });
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Verdict;
    use arbiter::{DirectoryArbiter, LocalDirectory};
    use replica::VmName;
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_a_dead_process_has_left_is_found_and_what_a_living_one_has_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let local = LocalDirectory::open(&run).unwrap();
        let (web, shop) = (VmName::new("web").unwrap(), VmName::new("shop").unwrap());
        let arbiter = dir.path().join("arbiter");
        fs::create_dir(&arbiter).unwrap();
        let lives = UnixListener::bind(run.join("web.0123456789abcdef.control")).unwrap();
        drop(UnixListener::bind(run.join("shop.0123456789abcdef.control")).unwrap());
        let at = arbiter.display().to_string();
        let mut signs = Vec::new();
        for (vm, owner) in [(&web, 7), (&shop, 8)] {
            let sign = local.sign(vm, owner, &at).unwrap();
            let process = Process::here(Some(sign.path()));
            let mut open = DirectoryArbiter::open(&arbiter, process).unwrap();
            arbiter::start::begin(&mut open, vm, owner, &mut |_| {}).unwrap();
            signs.push(sign);
        }
        // The process of shop is killed.
        drop(signs.pop());
        let place = Place::Directory(arbiter);
        let found = look(&run, Some(&place));
        let expected = Leftovers {
            sockets: vec!["shop.0123456789abcdef.control".into()],
            signs: vec!["shop".into()],
            records: vec![OpenRecord {
                vm: "shop".into(),
                epoch: 1,
            }],
        };
        assert_eq!(found, expected);
        let lines = judge(&found, Some(&place));
        assert_eq!(lines.len(), 2, "the sign is that of the record: {lines:?}");
        assert!(
            lines[1]
                .sentence
                .contains("lockstep release shop --epoch 1 --arbiter ")
        );
        drop(lives);
    }

    #[test]
    fn each_kind_of_leftover_is_a_line_and_none_is_a_good_one() {
        let none = judge(&Leftovers::default(), None);
        assert_eq!((none.len(), none[0].verdict), (1, Verdict::Ok));
        let found = Leftovers {
            sockets: vec!["a.control".into()],
            signs: vec!["shop".into(), "web".into()],
            records: vec![OpenRecord {
                vm: "web".into(),
                epoch: 3,
            }],
        };
        let lines = judge(&found, None);
        assert!(lines.iter().all(|line| line.verdict == Verdict::Warn));
        let parts = ["a.control", "web is epoch 3", "killed, of shop;"];
        for (line, part) in lines.iter().zip(parts) {
            assert!(line.sentence.contains(part), "{}", line.sentence);
        }
        assert_eq!(lines.len(), parts.len());
    }
}
