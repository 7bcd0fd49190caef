//! `DirectoryArbiter`: an arbiter that is a directory on storage both hosts share. `link(2)` is its
//! test-and-set.
//!
//! A claim is written to a file of its own and made durable; then it is linked to the name of the epoch,
//! which succeeds for exactly one claimant, on local file systems and on NFS. NFS may lose the answer of a
//! link that was made, so who gets "exists" looks whether the file there is its own.
//!
//! A path can lead to different directories on two hosts, or to an empty one where a mount is missing. So a
//! claim that ends a pair names the owner of the epoch before, and only a directory that holds that owner's
//! claim answers it. Claims must never be changed or removed: only so does it not matter how much earlier
//! than the link they are read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use replica::{Claim, Epoch, Verdict};

use crate::{Answer, Arbiter, ArbiterError};
use replica::VmName;

/// First line of every claim.
const HEADER: &str = "lockstep claim 1";

/// An arbiter in a shared directory.
#[derive(Debug)]
pub struct DirectoryArbiter {
    directory: PathBuf,
}

impl DirectoryArbiter {
    /// Uses `directory`, after having written a file there to see that it can.
    ///
    /// # Errors
    /// The directory does not exist or cannot be written.
    pub fn open(directory: &Path) -> Result<DirectoryArbiter, ArbiterError> {
        let arbiter = DirectoryArbiter {
            directory: directory.into(),
        };
        arbiter.touch()?;
        Ok(arbiter)
    }

    /// Makes a file in the directory and removes it: so the directory can be written, and what a network file
    /// system remembers of it is out of date.
    fn touch(&self) -> Result<(), ArbiterError> {
        let probe = self.unique_path("probe");
        let result = write_durably(&probe, b"probe\n").and_then(|()| fs::remove_file(&probe));
        result.map_err(|source| self.unusable(source))
    }

    fn unusable(&self, source: io::Error) -> ArbiterError {
        ArbiterError::Directory {
            path: self.directory.clone(),
            source,
        }
    }

    fn claim_path(&self, vm: &VmName, epoch: Epoch) -> PathBuf {
        // The epoch has digits of fixed length, so that a listing is in the order of epochs.
        self.directory.join(format!("{vm}.{:020}.claim", epoch.0))
    }

    /// A path that no other process on any host uses. Its name begins with a dot, which no VM's name does.
    fn unique_path(&self, purpose: &str) -> PathBuf {
        self.directory
            .join(format!(".{purpose}.{:032x}", os::entropy::random_u128()))
    }

    /// The claim, as [`Arbiter::claim`] describes it, with an error where the arbiter cannot be reached.
    fn try_claim(&self, vm: &VmName, claim: &Claim) -> Result<Answer, ArbiterError> {
        let path = self.claim_path(vm, claim.epoch);
        if let Some(after) = claim.after {
            self.owned_by(vm, Epoch(claim.epoch.0.saturating_sub(1)), after)?;
        }
        // A claim for an epoch that others have gone beyond comes too late, even if nobody has claimed that
        // epoch.
        if let Some(last) = self.last_claimed(vm)?
            && last > claim.epoch
        {
            let found = self.written(&path)?;
            if found.as_ref().is_none_or(|found| found.owner != claim.owner) {
                let heir = found.is_some_and(|found| found.heirs.contains(&claim.owner));
                return Ok(lost(
                    heir,
                    format!("epoch {} of '{vm}' is claimed already", last.0),
                ));
            }
        }
        let io = |source| self.unusable(source);
        let own = self.unique_path("claim");
        let content = format!(
            "{HEADER}\nvm {vm}\nepoch {}\nowner {:032x}\nheirs{}\n",
            claim.epoch.0,
            claim.owner,
            claim
                .heirs
                .iter()
                .map(|heir| format!(" {heir:032x}"))
                .collect::<String>(),
        );
        write_durably(&own, content.as_bytes()).map_err(io)?;
        let linked = fs::hard_link(&own, &path);
        let cleaned = fs::remove_file(&own);
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match self.written(&path)? {
                Some(found) if found.owner == claim.owner => {}
                Some(Written { owner, heirs }) => {
                    return Ok(lost(
                        heirs.contains(&claim.owner),
                        format!("epoch {} of '{vm}' went to {owner:032x}", claim.epoch.0),
                    ));
                }
                None => return Err(self.unusable(error)),
            },
            Err(error) => return Err(self.unusable(error)),
        }
        cleaned.map_err(io)?;
        // The name is durable only after this, and only a durable claim is won.
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(io)?;
        Ok(Answer {
            verdict: Verdict::Won,
            reason: None,
        })
    }

    /// Does this directory hold the claim of `epoch` by `owner`?
    fn owned_by(&self, vm: &VmName, epoch: Epoch, owner: u128) -> Result<(), ArbiterError> {
        let path = self.claim_path(vm, epoch);
        let mut found = self.written(&path)?;
        if found.is_none() {
            // A network file system may remember that there was no such file, until it sees that the
            // directory has changed.
            self.touch()?;
            found = self.written(&path)?;
        }
        let finding = match found {
            Some(found) if found.owner == owner => return Ok(()),
            Some(_) => "knows another owner of",
            None => "does not know",
        };
        Err(ArbiterError::NotShared {
            path: self.directory.clone(),
            host: os::identity::host_name(),
            finding,
            vm: vm.to_string(),
            epoch: epoch.0,
        })
    }

    /// The claim in this file; `None` if there is no file.
    fn written(&self, path: &Path) -> Result<Option<Written>, ArbiterError> {
        let content = match fs::read_to_string(path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
            Err(error) => return Err(self.unusable(error)),
        };
        let hex = |text: &str| u128::from_str_radix(text, 16).ok();
        let owner = content.lines().find_map(|line| line.strip_prefix("owner "));
        // A claim of an earlier version has no line with heirs.
        let heirs = content.lines().find_map(|line| line.strip_prefix("heirs"));
        let heirs = heirs.unwrap_or_default().split_whitespace().map(hex);
        match (owner.and_then(hex), heirs.collect()) {
            (Some(owner), Some(heirs)) if content.starts_with(HEADER) => Ok(Some(Written { owner, heirs })),
            _ => Err(ArbiterError::Damaged { path: path.into() }),
        }
    }

    /// The highest epoch of which there is a claim of `vm`.
    fn last_claimed(&self, vm: &VmName) -> Result<Option<Epoch>, ArbiterError> {
        let mut last = None;
        for entry in fs::read_dir(&self.directory).map_err(|e| self.unusable(e))? {
            let name = entry.map_err(|e| self.unusable(e))?.file_name();
            last = last.max(name.to_str().and_then(|name| epoch_in(name, vm)));
        }
        Ok(last)
    }
}

impl Arbiter for DirectoryArbiter {
    fn claim(&mut self, vm: &VmName, claim: &Claim) -> Answer {
        self.try_claim(vm, claim).unwrap_or_else(|error| Answer {
            verdict: Verdict::Unreachable,
            reason: Some(os::error::chain(&error)),
        })
    }

    fn last(&mut self, vm: &VmName) -> Result<Option<Epoch>, ArbiterError> {
        self.last_claimed(vm)
    }

    fn check(&mut self, vm: &VmName, epoch: Epoch, owner: u128) -> Result<(), ArbiterError> {
        self.owned_by(vm, epoch, owner)
    }
}

/// What a file with a claim says.
struct Written {
    owner: u128,
    heirs: Vec<u128>,
}

fn lost(heir: bool, reason: String) -> Answer {
    Answer {
        verdict: Verdict::Lost { heir },
        reason: Some(reason),
    }
}

/// The epoch in this file's name, if it is the name of a claim of `vm`.
fn epoch_in(name: &str, vm: &VmName) -> Option<Epoch> {
    let rest = name.strip_prefix(vm.as_str())?.strip_prefix('.')?;
    let digits = rest.strip_suffix(".claim")?;
    // A VM named "a.1" must not be seen as claims of "a".
    (digits.len() == 20).then(|| digits.parse().ok().map(Epoch))?
}

/// Writes a new file, which is on its disk when this returns.
fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let result = file.write_all(content).and_then(|()| file.sync_all());
    if result.is_err() {
        // A full directory must not fill up further with each retry.
        let _ = fs::remove_file(path);
    }
    result
}
