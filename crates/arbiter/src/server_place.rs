//! `ServerPlace`: which disk server is an arbiter and how its door is passed, in one text.
//!
//! ```text
//! lockstep://store.example.org,key=/etc/lockstep/store.key
//! lockstep://10.0.0.5:10810,insecure
//! ```
//! Nothing here asks a server, and only [`ServerPlace::security`] opens a file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use link::{KeyError, KeyFile, Security};

use crate::error::NoPlace;
use crate::limits::{DEADLINE_MS, SERVER_PATIENCE};

/// The port of a disk server's own door, if none is said.
const PORT: u16 = 10810;
/// What is said of a text that cannot be read.
const FORM: &str =
    "write lockstep://HOST[:PORT],key=FILE or lockstep://HOST[:PORT],insecure, and maybe ,deadline_ms=N";

/// A disk server that is an arbiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPlace {
    /// Name or address of the server; an IPv6 address has its brackets.
    host: String,
    port: u16,
    /// The file with the key of the server's door; `None`: the door asks for none.
    key: Option<PathBuf>,
    /// How long one question may take.
    deadline: Duration,
}

impl ServerPlace {
    /// Reads what stands behind `lockstep://`.
    pub(crate) fn parse(text: &str) -> Result<ServerPlace, NoPlace> {
        let no_place = || NoPlace(format!("lockstep://{text} is no arbiter: {FORM}"));
        let mut options = text.split(',');
        let server = options.next().unwrap_or_default();
        let (mut security, mut deadline) = (None, SERVER_PATIENCE);
        for option in options {
            match option.split_once('=').unwrap_or((option, "")) {
                ("key", path) if !path.is_empty() => security = Some(Some(path.into())),
                ("insecure", "") => security = Some(None),
                ("deadline_ms", ms) => {
                    let ms = ms.parse().ok().filter(|ms| DEADLINE_MS.contains(ms));
                    deadline = Duration::from_millis(ms.ok_or_else(no_place)?);
                }
                _ => return Err(no_place()),
            }
        }
        let key = security.ok_or_else(no_place)?;
        // An IPv6 address has colons of its own, within its brackets.
        let behind = server.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match server[behind..].split_once(':') {
            Some((rest, port)) => {
                let port = port.parse().map_err(|_| no_place())?;
                (&server[..behind + rest.len()], port)
            }
            None => (server, PORT),
        };
        if host.is_empty() || host.contains(['/', ' ']) {
            return Err(no_place());
        }
        Ok(ServerPlace {
            host: host.into(),
            port,
            key,
            deadline,
        })
    }

    /// Host and port, as a socket's address is written.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The server's TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The place by the name that all processes have for it, whatever file their key is in.
    #[must_use]
    pub fn at(&self) -> String {
        format!("lockstep://{}", self.address())
    }

    /// How long one question may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The file with the key, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<&Path> {
        self.key.as_deref()
    }

    /// The same place with the path of its key changed.
    pub(crate) fn with_paths(mut self, change: impl Fn(&Path) -> PathBuf) -> ServerPlace {
        self.key = self.key.map(|path| change(&path));
        self
    }

    /// How the server's door is passed. Reads the key.
    ///
    /// # Errors
    /// The key file is of no use.
    pub fn security(&self) -> Result<Security, KeyError> {
        match &self.key {
            Some(path) => {
                let file = KeyFile {
                    path: path.clone(),
                    though_open: false,
                };
                file.load().map(Security::Key)
            }
            None => Ok(Security::Insecure),
        }
    }
}

impl fmt::Display for ServerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(path) => write!(f, "{},key={}", self.at(), path.display())?,
            None => write!(f, "{},insecure", self.at())?,
        }
        match self.deadline {
            SERVER_PATIENCE => Ok(()),
            deadline => write!(f, ",deadline_ms={}", deadline.as_millis()),
        }
    }
}
