//! `PerfMap`: a file that tells Linux' `perf` what lies where in the code that the translator makes.
//!
//! `perf` looks for `/tmp/perf-PID.map` when it meets an address in memory that belongs to no file. Each line
//! is `START SIZE name`, in hexadecimal. The file is read when a report is made, not when samples are taken:
//! where memory was used twice, the file tells of the last use.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hart::profile::{CodeMap, Part};

use super::symbols::{Symbols, name};

/// The file, and what is in it.
pub struct PerfMap {
    path: PathBuf,
    /// `None`: it cannot be written any more.
    file: Option<File>,
    symbols: Arc<Symbols>,
    /// By first address: the one behind the last, and the name.
    known: BTreeMap<u64, (u64, String)>,
    /// Memory was used again: the file has lines that are not true any more.
    is_stale: bool,
}

impl PerfMap {
    /// The map of this process, where `perf` looks for it.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn of_process(symbols: Arc<Symbols>) -> io::Result<PerfMap> {
        PerfMap::create(format!("/tmp/perf-{}.map", std::process::id()).into(), symbols)
    }

    fn create(path: PathBuf, symbols: Arc<Symbols>) -> io::Result<PerfMap> {
        Ok(PerfMap {
            file: Some(fresh(&path)?),
            path,
            symbols,
            known: BTreeMap::new(),
            is_stale: false,
        })
    }

    /// Path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn forget(&mut self, start: u64, end: u64) {
        // Parts do not overlap, so the first one below reaches farthest.
        while let Some((&first, _)) = self
            .known
            .range(..end)
            .next_back()
            .filter(|(_, (last, _))| *last > start)
        {
            self.known.remove(&first);
            self.is_stale = true;
        }
    }

    fn write(&mut self, text: &str) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(text.as_bytes())
        {
            tracing::warn!("{} is not written any more: {error}", self.path.display());
            self.file = None;
        }
    }
}

impl CodeMap for PerfMap {
    fn made(&mut self, start: u64, size: usize, part: Part) {
        let end = start + size as u64;
        self.forget(start, end);
        let name = match part {
            Part::Shared(name) => format!("lockstep: {name}"),
            Part::Hot(place) => name(place, &self.symbols),
            Part::Cold(place) => format!("{} (rare)", name(place, &self.symbols)),
        };
        self.write(&line(start, end, &name));
        self.known.insert(start, (end, name));
    }
}

impl Drop for PerfMap {
    fn drop(&mut self) {
        // While the process runs, lines are only added: somebody may be reading.
        if !self.is_stale || self.file.is_none() {
            return;
        }
        let text: String = self
            .known
            .iter()
            .map(|(&start, (end, name))| line(start, *end, name))
            .collect();
        // The same file: to make another in /tmp is more than this process may do any more.
        if let Some(file) = &mut self.file
            && let Err(error) = file.set_len(0).and_then(|()| file.rewind())
        {
            tracing::warn!(
                "{} tells of memory that was used again: {error}",
                self.path.display()
            );
            return;
        }
        self.write(&text);
    }
}

/// A file of that name that is ours: the directory is everybody's, and may hold what another process of this
/// number left.
fn fresh(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn line(start: u64, end: u64, name: &str) -> String {
    format!("{start:x} {:x} {name}\n", end - start)
}

#[cfg(test)]
mod tests {
    use hart::Privilege;
    use hart::profile::Place;

    use super::*;

    const PLACE: Place = Place {
        privilege: Privilege::Supervisor,
        root: 0,
        pc: 0xffff_ffff_8000_1004,
    };

    #[test]
    fn memory_that_is_used_again_has_the_last_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("perf-1.map");
        std::fs::write(&path, "left over").unwrap();
        let mut map = PerfMap::create(path.clone(), Arc::default()).unwrap();
        map.made(0x1000, 0x40, Part::Shared("enter"));
        map.made(0x1040, 0x20, Part::Hot(PLACE));
        map.made(0x1060, 0x20, Part::Hot(PLACE));
        map.made(0x2000, 0x10, Part::Cold(PLACE));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "1000 40 lockstep: enter\n1040 20 S 0xffffffff80001004\n1060 20 S 0xffffffff80001004\n\
             2000 10 S 0xffffffff80001004 (rare)\n"
        );
        let user = Place {
            privilege: Privilege::User,
            pc: 0x5000,
            ..PLACE
        };
        map.made(0x1050, 0x18, Part::Hot(user));
        drop(map);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "1000 40 lockstep: enter\n1050 18 U 0x5000\n2000 10 S 0xffffffff80001004 (rare)\n"
        );
    }
}
