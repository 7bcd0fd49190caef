//! `Keeper`: this agent's end of the site's store. One thread watches, and calls are made on threads that may
//! wait: a store on a file server may be silent for long, and neither the mind nor a client waits for it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use store::{Directory, Doubt, Etcd, Expected, Key, Prefix, Revision, Seen, Store, StoreError};

use crate::limits::{STORE_PAUSE, STORE_WATCH};
use membership::config::DirectoryConfig;

/// What the watch tells.
#[derive(Debug)]
pub enum Watched {
    /// The store has answered.
    Seen(Seen),
    /// It has not; the sentence says why.
    Away(String),
}

/// The site's store, as soon as it was reached once.
#[derive(Clone, Debug)]
pub struct Keeper {
    config: DirectoryConfig,
    store: Arc<OnceLock<Arc<dyn Store>>>,
}

/// One change of the store.
#[derive(Clone, Debug)]
pub struct Write {
    /// The key.
    pub key: Key,
    /// Its new value; `None`: it is removed.
    pub value: Option<Vec<u8>>,
    /// How it must be before.
    pub expected: Expected,
}

impl Keeper {
    /// The store of this file.
    #[must_use]
    pub fn new(config: &DirectoryConfig) -> Keeper {
        Keeper {
            config: config.clone(),
            store: Arc::new(OnceLock::new()),
        }
    }

    /// Makes a change, and waits for it.
    ///
    /// # Errors
    /// As those of [`Store::write`].
    pub fn make(&self, write: &Write) -> Result<Option<Revision>, StoreError> {
        let store = self.store()?;
        match &write.value {
            Some(value) => store.write(&write.key, value, write.expected).map(Some),
            None => store.remove(&write.key, write.expected).map(|()| None),
        }
    }

    /// Watches the whole store on a thread of its own, until `ends`.
    ///
    /// # Errors
    /// This host gives no more threads.
    pub fn watch(
        &self,
        ends: Arc<AtomicBool>,
        mut tell: impl FnMut(Watched) -> bool + Send + 'static,
    ) -> std::io::Result<()> {
        let keeper = self.clone();
        std::thread::Builder::new().name("store".into()).spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let Err(error) = keeper.follow(&ends, &mut tell) else {
                    return;
                };
                if !tell(Watched::Away(error.to_string())) {
                    return;
                }
                std::thread::sleep(STORE_PAUSE);
            }
        })?;
        Ok(())
    }

    /// Tells of all changes until the agent ends.
    fn follow(&self, ends: &AtomicBool, tell: &mut dyn FnMut(Watched) -> bool) -> Result<(), StoreError> {
        let mut watch = self.store()?.watch(&Prefix::all())?;
        while !ends.load(Ordering::Relaxed) {
            let told = match watch.next(STORE_WATCH) {
                Ok(seen) => Watched::Seen(seen),
                Err(error) => Watched::Away(error.to_string()),
            };
            let is_away = matches!(told, Watched::Away(_));
            if !tell(told) {
                return Ok(());
            }
            if is_away {
                std::thread::sleep(STORE_PAUSE);
            }
        }
        Ok(())
    }

    fn store(&self) -> Result<Arc<dyn Store>, StoreError> {
        if let Some(store) = self.store.get() {
            return Ok(store.clone());
        }
        let opened = open(&self.config)?;
        Ok(self.store.get_or_init(|| opened).clone())
    }
}

/// Makes a site's store of a directory that its hosts share, unless it is one already.
///
/// # Errors
/// The directory does not exist, or cannot be written.
pub fn create(directory: &Path) -> Result<(), StoreError> {
    Directory::create(directory)
}

/// Is this host one of those that the site's store knows?
///
/// # Errors
/// As those of [`Store::read`].
pub fn has_host(config: &DirectoryConfig, host: &str) -> Result<bool, StoreError> {
    let key = Key::host(host).map_err(|error| StoreError::Refused(error.to_string()))?;
    Ok(open(config)?.read(&key)?.is_some())
}

/// Does the site's store know any host?
///
/// # Errors
/// As those of [`Store::read`].
pub fn has_hosts(config: &DirectoryConfig) -> Result<bool, StoreError> {
    let hosts = Prefix::new("hosts/").map_err(|error| StoreError::Refused(error.to_string()))?;
    Ok(!open(config)?.list(&hosts)?.is_empty())
}

/// Writes a key of this host's own into the site's store, reads it back, and removes it.
///
/// # Errors
/// The store does not do that, or gives another value than was written.
pub fn try_store(config: &DirectoryConfig, host: &str) -> Result<(), StoreError> {
    let store = open(config)?;
    let key = Key::new(&format!("doctor/{host}")).map_err(|error| StoreError::Refused(error.to_string()))?;
    let value = format!("{:032x}", os::entropy::random_u128());
    store.write(&key, value.as_bytes(), Expected::Any)?;
    let read = store.read(&key)?;
    store.remove(&key, Expected::Any)?;
    match read {
        Some(stored) if stored.value == value.as_bytes() => Ok(()),
        _ => Err(StoreError::Refused(
            "what was written into the directory was not there afterwards; two hosts may use different ones, \
             or somebody else runs a doctor of this host's name"
                .into(),
        )),
    }
}

/// Opens the store of a file. That etcd answers is not needed for that.
fn open(config: &DirectoryConfig) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match config {
        DirectoryConfig::Shared { path } => Arc::new(Directory::open(path)?),
        DirectoryConfig::Etcd {
            endpoints,
            prefix,
            ca,
            certificate,
            certificate_key,
            user,
            password_file,
        } => {
            let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
            let mut settings = etcd::Settings::new(&endpoints);
            settings.ca.clone_from(ca);
            settings.certificate = certificate
                .clone()
                .zip(certificate_key.clone())
                .map(|(certificate, key)| etcd::ClientCertificate { certificate, key });
            if let Some(name) = user {
                settings.user = Some(etcd::User {
                    name: name.clone(),
                    password: password(password_file.as_deref())?,
                });
            }
            Arc::new(Etcd::new(settings, prefix)?)
        }
    })
}

fn password(file: Option<&Path>) -> Result<String, StoreError> {
    let Some(file) = file else {
        let sentence = "etcd's `user` needs a `password_file` beside it";
        return Err(StoreError::Refused(sentence.into()));
    };
    let text = std::fs::read_to_string(file).map_err(|error| StoreError::Away {
        place: file.display().to_string(),
        doubt: Doubt::Unchanged,
        reason: error.to_string(),
    })?;
    Ok(text.trim_end().to_owned())
}
