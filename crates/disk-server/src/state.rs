//! What a server keeps beside its exports, in a directory of its own: who it is, and which owner of each VM
//! may write. All of it is durable before anybody is told of it, so a server that is killed at any moment
//! goes on as if nothing had happened.
//!
//! The directory is made by `--init` and by nothing else. A server that finds none does not start: a mount
//! that is missing must not be taken for a server that knows of no epochs.
//!
//! `server` names the server, `lock` is locked by the one process that serves, `fences/VM` has the standing
//! of each VM, `claims` the cells of an arbiter, and `lost/EXPORT` says that a flush has failed since the
//! host was booted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use block::Standing;
use replica::VmName;

use crate::limits::STATE_LEN_MAX;

const SERVER_HEADER: &str = "lockstep disk server 1";
const FENCE_HEADER: &str = "lockstep fence 1";
const LOST_HEADER: &str = "lockstep lost 1";

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is none.
    #[error(
        "{path} has no state of a disk server; if this is a new server make it with `lockstep disk-server \
         CONFIG --init`, else look whether the right file system is mounted there"
    )]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// There is one already.
    #[error("{path} has the state of a disk server already; start it without --init")]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// Another process serves.
    #[error("another process is the disk server of {path}; end it first")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file is not as this program writes it.
    #[error("{path} is damaged; restore it, or ask whoever changed it")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The kernel gave an error.
    #[error("cannot use {path}, where the disk server keeps its state")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Error that the operating system gave.
        source: io::Error,
    },
}

/// The state of a server, which this process alone has.
#[derive(Debug)]
pub struct State {
    directory: PathBuf,
    server: u128,
    boot: String,
    /// Kept open for its `flock`.
    _lock: File,
}

impl State {
    /// Makes the state of a new server.
    ///
    /// # Errors
    /// There is one already, or the directory cannot be written.
    pub fn init(directory: &Path) -> Result<(), StateError> {
        let path = directory.join("server");
        if path.exists() {
            return Err(StateError::Exists {
                path: directory.into(),
            });
        }
        for name in ["fences", "lost", "claims"] {
            fs::create_dir_all(directory.join(name)).map_err(io_at(directory))?;
        }
        let text = format!("{SERVER_HEADER}\nid {:032x}\n", os::entropy::random_u128());
        replace(&path, &text).map_err(io_at(&path))
    }

    /// Opens the state, and keeps other processes out of it.
    ///
    /// # Errors
    /// There is none, another process has it, or it cannot be read.
    pub fn open(directory: &Path) -> Result<State, StateError> {
        let path = directory.join("server");
        let Some(text) = read(&path)? else {
            return Err(StateError::Missing {
                path: directory.into(),
            });
        };
        let damaged = || StateError::Damaged { path: path.clone() };
        let mut fields = Fields::new(&text, SERVER_HEADER).ok_or_else(damaged)?;
        let server = fields.hex("id").ok_or_else(damaged)?;
        let path = directory.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let lock = lock.map_err(io_at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(StateError::InUse {
                    path: directory.into(),
                });
            }
            Err(fs::TryLockError::Error(source)) => return Err(StateError::Io { path, source }),
        }
        Ok(State {
            directory: directory.into(),
            server,
            boot: os::identity::boot_id(),
            _lock: lock,
        })
    }

    /// The random number of this server.
    #[must_use]
    pub fn server(&self) -> u128 {
        self.server
    }

    /// The directory of an arbiter's cells.
    #[must_use]
    pub fn claims(&self) -> PathBuf {
        self.directory.join("claims")
    }

    fn fence_path(&self, vm: &VmName) -> PathBuf {
        self.directory.join("fences").join(vm.as_str())
    }

    /// Who may write the disks of a VM.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn standing(&self, vm: &VmName) -> Result<Standing, StateError> {
        let path = self.fence_path(vm);
        let Some(text) = read(&path)? else {
            return Ok(Standing {
                epoch: 0,
                owner: None,
                idle: true,
            });
        };
        parse_standing(&text, vm).ok_or(StateError::Damaged { path })
    }

    /// Writes down who may write the disks of a VM; it is durable when this returns.
    ///
    /// # Errors
    /// It could not be written down, or nobody knows whether it is.
    pub fn remember(&self, vm: &VmName, standing: &Standing) -> Result<(), StateError> {
        let Standing { epoch, owner, idle } = standing;
        let owner = owner.unwrap_or_default();
        let idle = if *idle { "yes" } else { "no" };
        let text = format!("{FENCE_HEADER}\nvm {vm}\nepoch {epoch}\nowner {owner:032x}\nidle {idle}\n");
        let path = self.fence_path(vm);
        replace(&path, &text).map_err(io_at(&path))
    }

    /// The number that changes when writes of an export which were answered may be lost: that of this boot of
    /// the host, since the page cache outlives this process and nothing else; another one after a flush has
    /// failed.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn volatile(&self, export: &str) -> Result<u128, StateError> {
        let path = self.lost_path(export);
        if let Some(text) = read(&path)? {
            let parsed = Fields::new(&text, LOST_HEADER).and_then(|mut fields| {
                let boot = fields.text("boot")?.to_owned();
                Some((boot, fields.hex("number")?))
            });
            let (boot, number) = parsed.ok_or(StateError::Damaged { path })?;
            if boot == self.boot {
                return Ok(number);
            }
        }
        let digits: String = self.boot.chars().filter(char::is_ascii_hexdigit).collect();
        Ok(u128::from_str_radix(&digits, 16).unwrap_or_else(|_| os::entropy::random_u128()))
    }

    /// Notes that writes of an export may be lost, and gives the new number of [`State::volatile`].
    ///
    /// # Errors
    /// It could not be written down.
    pub fn note_loss(&self, export: &str) -> Result<u128, StateError> {
        let (path, number) = (self.lost_path(export), os::entropy::random_u128());
        let text = format!("{LOST_HEADER}\nboot {}\nnumber {number:032x}\n", self.boot);
        replace(&path, &text).map_err(io_at(&path))?;
        Ok(number)
    }

    /// The file of an export. Names of exports may have slashes, and no other character that a file's name
    /// may not have.
    fn lost_path(&self, export: &str) -> PathBuf {
        self.directory.join("lost").join(export.replace('/', "%"))
    }
}

fn parse_standing(text: &str, vm: &VmName) -> Option<Standing> {
    let mut fields = Fields::new(text, FENCE_HEADER)?;
    if fields.text("vm")? != vm.as_str() {
        return None;
    }
    let epoch = fields.text("epoch")?.parse().ok()?;
    let owner = fields.hex("owner")?;
    let idle = match fields.text("idle")? {
        "yes" => true,
        "no" => false,
        _ => return None,
    };
    Some(Standing {
        epoch,
        owner: (owner != 0).then_some(owner),
        idle,
    })
}

/// The lines of a file behind its header, in their order.
struct Fields<'a>(std::str::Lines<'a>);

impl<'a> Fields<'a> {
    fn new(text: &'a str, header: &str) -> Option<Fields<'a>> {
        let mut lines = text.lines();
        (lines.next()? == header).then_some(Fields(lines))
    }

    fn text(&mut self, name: &str) -> Option<&'a str> {
        self.0.next()?.strip_prefix(name)?.strip_prefix(' ')
    }

    fn hex(&mut self, name: &str) -> Option<u128> {
        u128::from_str_radix(self.text(name)?, 16).ok()
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::Io {
        path: path.into(),
        source,
    }
}

/// What a file holds; `None`: there is none.
fn read(path: &Path) -> Result<Option<String>, StateError> {
    let mut text = String::new();
    let result = File::open(path).and_then(|file| file.take(STATE_LEN_MAX).read_to_string(&mut text));
    match result {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(StateError::Damaged { path: path.into() })
        }
        Err(source) => Err(StateError::Io {
            path: path.into(),
            source,
        }),
    }
}

/// Puts a file in the place of another one; it is durable when this returns.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // No VM and no export has a name that begins with a dot.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let own = path.with_file_name(format!(".{name}.new"));
    let mut file = File::create(&own)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&own, path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
