//! `Site`: the exports of a server with the fences of their VMs; and `Visitor`, what one connection sees of
//! them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use block::nbd::{Export, Exports, Refused, TransmissionFlags};
use block::{Answer, Ask, Lane};
use disk::{DiskLock, Holder, LockError};
use replica::{Epoch, VmName};

use crate::config::{Config, ExportConfig};
use crate::guard::Guard;
use crate::state::{State, StateError};
use crate::storage::Storage;
use crate::stream::Stream;

/// Name of the VM that an export's lock names: programs that use the file itself see by it who has it.
const LOCK_NAME: &str = "disk-server";

/// Why an export cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Its file cannot be opened.
    #[error("cannot open {path} of the export {name}; check the path and its permissions")]
    Open {
        /// Name of the export.
        name: String,
        /// The file.
        path: PathBuf,
        /// Error that the operating system gave.
        source: std::io::Error,
    },
    /// It has no byte.
    #[error(
        "{path} of the export {name} is empty; give it a size, for instance with `truncate -s 4G {path}`"
    )]
    Empty {
        /// Name of the export.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// Somebody else uses the file.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The server's state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

/// An export.
#[derive(Debug)]
pub struct Offer {
    /// Its name.
    pub name: String,
    /// The fence of its VM; `None`: it is nobody's disk.
    pub guard: Option<Arc<Guard>>,
    /// Its content.
    pub storage: Storage,
    read_only: bool,
    description: String,
    losses: Mutex<Losses>,
    _lock: Option<DiskLock>,
}

/// Whether answered writes may be lost, and who has to hear of it.
#[derive(Debug)]
struct Losses {
    /// The number that clients compare; `None`: a loss could not be written down, so nobody may enter any
    /// more.
    volatile: Option<u128>,
    /// The connections that have entered the export.
    streams: BTreeMap<Lane, Arc<Stream>>,
}

impl Offer {
    fn open(
        config: ExportConfig,
        state: &State,
        guards: &BTreeMap<VmName, Arc<Guard>>,
    ) -> Result<Offer, SiteError> {
        let ExportConfig { name, path, .. } = config;
        let open = |source| SiteError::Open {
            name: name.clone(),
            path: path.clone(),
            source,
        };
        let path = path.canonicalize().map_err(open)?;
        let storage = Storage::open(&path, config.read_only).map_err(open)?;
        if storage.bytes() == 0 {
            return Err(SiteError::Empty { name, path });
        }
        let holder = |vm| Holder {
            vm,
            epoch: Epoch(0),
            owner: state.server(),
        };
        let lock = match VmName::new(LOCK_NAME) {
            Ok(vm) if !config.read_only => Some(DiskLock::acquire(&path, &holder(vm), Epoch(0))?),
            _ => None,
        };
        let losses = Losses {
            volatile: Some(state.volatile(&name)?),
            streams: BTreeMap::new(),
        };
        Ok(Offer {
            name,
            guard: config.vm.and_then(|vm| guards.get(&vm).cloned()),
            storage,
            read_only: config.read_only,
            description: config.description,
            losses: Mutex::new(losses),
            _lock: lock,
        })
    }

    fn losses(&self) -> MutexGuard<'_, Losses> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a flush has failed: the kernel may have dropped what it was to save, and would report
    /// success the next time. Every client is cut off and sees another number when it comes back, so that it
    /// writes again what it was not told to be safe.
    fn lose(&self, state: &State) {
        let mut losses = self.losses();
        losses.volatile = match state.note_loss(&self.name) {
            Ok(number) => Some(number),
            Err(error) => {
                tracing::error!(
                    "{}; the export {} is closed, since a loss of its writes cannot be written down",
                    os::error::chain(&error),
                    self.name
                );
                None
            }
        };
        for stream in losses.streams.values() {
            stream.close();
        }
    }

    fn export(&self, may_write: bool) -> Export {
        let mut flags = TransmissionFlags::SEND_FLUSH
            | TransmissionFlags::SEND_FUA
            | TransmissionFlags::SEND_TRIM
            | TransmissionFlags::SEND_WRITE_ZEROES
            | TransmissionFlags::SEND_FAST_ZERO
            | TransmissionFlags::CAN_MULTI_CONN;
        flags.set(TransmissionFlags::READ_ONLY, !may_write || self.read_only);
        Export {
            bytes: self.storage.bytes(),
            flags,
            description: self.description.clone(),
            block_min: 1,
            block_preferred: 4096,
        }
    }
}

/// All exports of a server.
#[derive(Debug)]
pub struct Site {
    state: Arc<State>,
    /// The fences around the disks of each VM.
    guards: BTreeMap<VmName, Arc<Guard>>,
    offers: BTreeMap<String, Arc<Offer>>,
    lanes: AtomicU64,
}

impl Site {
    /// Opens all exports.
    ///
    /// # Errors
    /// The state or an export cannot be used.
    pub fn open(config: &Config) -> Result<Site, SiteError> {
        let state = Arc::new(State::open(&config.state)?);
        let mut guards = BTreeMap::new();
        for vm in config.exports.iter().filter_map(|export| export.vm.as_ref()) {
            if !guards.contains_key(vm) {
                let guard = Guard::new(vm.clone(), Arc::clone(&state))?;
                guards.insert(vm.clone(), Arc::new(guard));
            }
        }
        let mut offers = BTreeMap::new();
        for export in &config.exports {
            let offer = Offer::open(export.clone(), &state, &guards)?;
            offers.insert(export.name.clone(), Arc::new(offer));
        }
        Ok(Site {
            state,
            guards,
            offers,
            lanes: AtomicU64::new(1),
        })
    }

    fn find(&self, name: &str) -> Result<&Arc<Offer>, Refused> {
        let found = match name {
            // The empty name is that of the only export.
            "" if self.offers.len() == 1 => self.offers.values().next(),
            _ => self.offers.get(name),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.offers.keys().map(String::as_str).collect();
            Refused::Unknown(format!(
                "there is no export '{name}' here, but {}",
                names.join(", ")
            ))
        })
    }

    /// The directory of the cells of the server as an arbiter.
    #[must_use]
    pub fn claims(&self) -> PathBuf {
        self.state.claims()
    }

    /// The fence around the disks of a VM; `None`: no disk here is that VM's.
    #[must_use]
    pub fn guard(&self, vm: &VmName) -> Option<&Guard> {
        self.guards.get(vm).map(|guard| &**guard)
    }

    /// Ends all connections that have entered an export.
    pub fn close(&self) {
        for offer in self.offers.values() {
            for stream in offer.losses().streams.values() {
                stream.close();
            }
        }
    }

    /// Notes that a flush of an export has failed, as [`Offer::lose`] describes it.
    pub fn lose(&self, offer: &Offer) {
        offer.lose(&self.state);
    }
}

/// What one connection sees of a site.
#[derive(Debug)]
pub struct Visitor {
    site: Arc<Site>,
    lane: Lane,
    stream: Arc<Stream>,
    /// The number of losses that the client was told before it entered.
    told: Option<u128>,
    entered: Option<Entered>,
}

/// The export that a connection has entered.
#[derive(Clone, Debug)]
pub struct Entered {
    /// The export.
    pub offer: Arc<Offer>,
    /// May this connection write, as long as nobody cuts it off?
    pub may_write: bool,
    lane: Lane,
}

impl Visitor {
    /// A connection that has just begun.
    #[must_use]
    pub fn new(site: &Arc<Site>, stream: &Arc<Stream>) -> Visitor {
        Visitor {
            site: Arc::clone(site),
            lane: Lane(site.lanes.fetch_add(1, Ordering::Relaxed)),
            stream: Arc::clone(stream),
            told: None,
            entered: None,
        }
    }

    /// The export that the client has entered.
    #[must_use]
    pub fn entered(&self) -> Option<&Entered> {
        self.entered.as_ref()
    }

    /// Leaves the export, with nothing under way there. `goodbye`: the client has said that it is done.
    pub fn leave(&mut self, goodbye: bool) {
        if let Some(Entered { offer, lane, .. }) = self.entered.take() {
            offer.losses().streams.remove(&lane);
            if let Some(guard) = &offer.guard {
                guard.leave(lane, goodbye);
            }
        }
    }

    /// Admits the client at the fence; whether it may write.
    fn admit(&self, offer: &Offer, ask: Option<&Ask>) -> Result<bool, Refused> {
        let policy = |text: String| Err(Refused::Policy(text));
        match (ask, &offer.guard) {
            (Some(ask), Some(guard)) => match guard.admit(self.lane, ask, &self.stream) {
                Ok(()) => Ok(ask.mode.writes()),
                Err(error) => {
                    guard.leave(self.lane, false);
                    policy(format!("{}: {}", guard.vm(), os::error::chain(&error)))
                }
            },
            (Some(_), None) => policy(no_vm(offer)),
            (None, Some(guard)) => Ok(guard.admit_stock(self.lane, &self.stream)),
            (None, None) => Ok(true),
        }
    }
}

fn no_vm(offer: &Offer) -> String {
    format!(
        "the export {} is no VM's; the server's configuration must give it `vm`",
        offer.name
    )
}

impl Exports for Visitor {
    fn names(&mut self) -> Vec<String> {
        self.site.offers.keys().cloned().collect()
    }

    fn describe(&mut self, name: &str) -> Result<Export, Refused> {
        let offer = self.site.find(name)?;
        let may_write = offer.guard.as_ref().is_none_or(|guard| guard.allows_stock());
        Ok(offer.export(may_write))
    }

    fn answer(&mut self, name: &str, ask: &Ask) -> Result<Answer, Refused> {
        let offer = self.site.find(name)?;
        let Some(guard) = &offer.guard else {
            return Err(Refused::Policy(no_vm(offer)));
        };
        if guard.vm().as_str() != ask.vm {
            return Err(Refused::Policy(format!(
                "the export {} belongs to the VM {}, not to {}",
                offer.name,
                guard.vm(),
                ask.vm
            )));
        }
        let Some(volatile) = offer.losses().volatile else {
            return Err(Refused::Policy(closed(offer)));
        };
        self.told = Some(volatile);
        let standing = guard.standing();
        Ok(Answer {
            server: self.site.state.server(),
            volatile,
            epoch: standing.epoch,
            owner: standing.owner.unwrap_or_default(),
        })
    }

    fn enter(&mut self, name: &str, ask: Option<&Ask>) -> Result<Export, Refused> {
        let offer = Arc::clone(self.site.find(name)?);
        let may_write = self.admit(&offer, ask)? && !offer.read_only;
        let mut losses = offer.losses();
        let seen = losses.volatile;
        losses.streams.insert(self.lane, Arc::clone(&self.stream));
        drop(losses);
        let export = offer.export(may_write);
        let refused = match seen {
            None => Some(closed(&offer)),
            Some(_) if ask.is_some() && seen != self.told => {
                Some("writes were lost at this moment; connect again".into())
            }
            Some(_) => None,
        };
        self.entered = Some(Entered {
            offer,
            may_write,
            lane: self.lane,
        });
        if let Some(text) = refused {
            self.leave(false);
            return Err(Refused::Policy(text));
        }
        Ok(export)
    }
}

fn closed(offer: &Offer) -> String {
    format!(
        "the export {} has lost writes, and the server cannot write that down",
        offer.name
    )
}

impl Entered {
    /// Begins a change of the disk; `false`: it must not be made.
    #[must_use]
    pub fn begin(&self) -> bool {
        self.may_write
            && self
                .offer
                .guard
                .as_ref()
                .is_none_or(|guard| guard.begin(self.lane))
    }

    /// Ends a change that was begun.
    pub fn end(&self) {
        if let Some(guard) = &self.offer.guard {
            guard.end(self.lane);
        }
    }
}
