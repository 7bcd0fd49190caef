//! `EtcdPlace`: which etcd cluster is an arbiter and how it is reached, in one text: servers, and behind them
//! options with the words that `agent.toml` has for its etcd.
//!
//! ```text
//! etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379
//! etcds://etcd1.example.org:2379,ca=/etc/lockstep/etcd-ca.pem,user=shop,password_file=/etc/lockstep/etcd.pw
//! ```
//! Nothing here asks a server, and only [`EtcdPlace::settings`] opens a file.

use std::fmt::{self, Display};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd::limits::DEADLINE_USUAL;
use etcd::{ClientCertificate, EtcdError, Settings, User};

use crate::error::NoPlace;
use crate::limits::{DEADLINE_MS, PASSWORD_LEN_MAX, PREFIX_LEN_MAX};

/// What the names of all keys begin with, if nothing else is said. It is not below the prefix of the agents'
/// store, whose watches see every change there.
const PREFIX: &str = "/lockstep/arbiter/1/";
/// The port at which etcd servers take clients, if none is said.
const PORT: u16 = 2379;
/// The options that name a file.
const FILES: [&str; 4] = ["ca", "certificate", "certificate_key", "password_file"];
/// What is said of a text that cannot be read.
const FORM: &str =
    "write etcd://HOST:PORT[,HOST:PORT...][,OPTION=VALUE...] or, with TLS, etcds://HOST:PORT,ca=FILE";

/// An etcd cluster that is an arbiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdPlace {
    has_tls: bool,
    /// Host and port of each server. An IPv6 address has its brackets.
    servers: Vec<(String, u16)>,
    prefix: String,
    /// How long one call may take.
    deadline: Duration,
    user: Option<String>,
    /// The file of each of [`FILES`] that is given.
    files: [Option<PathBuf>; FILES.len()],
}

impl EtcdPlace {
    /// Reads what stands behind `etcd://`, or `etcds://` if `has_tls`.
    pub(crate) fn parse(text: &str, has_tls: bool) -> Result<EtcdPlace, NoPlace> {
        let mut place = EtcdPlace {
            has_tls,
            servers: Vec::new(),
            prefix: PREFIX.into(),
            deadline: DEADLINE_USUAL,
            user: None,
            files: Default::default(),
        };
        for part in text.split(',') {
            match part.split_once('=') {
                Some((word, value)) => place.set(word, value)?,
                None => place.servers.push(server(part)?),
            }
        }
        place.check()?;
        Ok(place)
    }

    /// Takes an option.
    fn set(&mut self, word: &str, value: &str) -> Result<(), NoPlace> {
        if value.is_empty() {
            return Err(NoPlace(format!("`{word}=` has no value")));
        }
        if let Some(index) = FILES.iter().position(|file| *file == word) {
            self.files[index] = Some(value.into());
            return Ok(());
        }
        match word {
            "user" => self.user = Some(value.into()),
            "prefix" => {
                let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
                let is_short = value.len() <= PREFIX_LEN_MAX;
                if !(is_short && value.ends_with('/') && value.bytes().all(good)) {
                    return Err(NoPlace(format!(
                        "`{value}` cannot be a prefix in etcd: use up to {PREFIX_LEN_MAX} letters, digits, \
                         '-', '_', '.' and '/', with a '/' at the end"
                    )));
                }
                self.prefix = value.into();
            }
            "deadline_ms" => match value.parse() {
                Ok(ms) if DEADLINE_MS.contains(&ms) => self.deadline = Duration::from_millis(ms),
                _ => {
                    let (least, most) = (DEADLINE_MS.start(), DEADLINE_MS.end());
                    return Err(NoPlace(format!(
                        "`deadline_ms` is a number from {least} to {most}"
                    )));
                }
            },
            _ => {
                return Err(NoPlace(format!(
                    "there is no option `{word}` of etcd; there are {}, user, prefix, deadline_ms",
                    FILES.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Looks whether options fit each other.
    fn check(&self) -> Result<(), NoPlace> {
        let [ca, certificate, key, password] = &self.files;
        let wrong = match (self.has_tls, ca, certificate) {
            (true, None, _) => {
                Some("etcds:// needs `ca=FILE`, by which the servers' certificates are checked")
            }
            (false, Some(_), _) | (false, _, Some(_)) => {
                Some("`ca` and `certificate` are for TLS: write etcds:// instead of etcd://")
            }
            _ if certificate.is_some() != key.is_some() => {
                Some("`certificate` and `certificate_key` go together")
            }
            _ if self.user.is_some() != password.is_some() => Some("`user` and `password_file` go together"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(NoPlace(wrong.into()));
        }
        let servers = self.bare_settings().check();
        servers.map_err(|error| NoPlace(error.to_string()))
    }

    /// The settings of a client without what stands in files that are opened for it.
    fn bare_settings(&self) -> Settings {
        let scheme = if self.has_tls { "https" } else { "http" };
        let endpoints = self
            .servers
            .iter()
            .map(|(host, port)| format!("{scheme}://{host}:{port}"));
        let [ca, certificate, key, _] = self.files.clone();
        Settings {
            endpoints: endpoints.collect(),
            deadline: self.deadline,
            ca,
            certificate: certificate
                .zip(key)
                .map(|(certificate, key)| ClientCertificate { certificate, key }),
            user: None,
        }
    }

    /// The settings of a client of this cluster, with the password, which is read now.
    ///
    /// # Errors
    /// The file with the password cannot be read.
    pub fn settings(&self) -> Result<Settings, EtcdError> {
        let mut settings = self.bare_settings();
        let [.., password] = &self.files;
        if let (Some(name), Some(path)) = (&self.user, password) {
            settings.user = Some(User {
                name: name.clone(),
                password: read_password(path)?,
            });
        }
        Ok(settings)
    }

    /// The cluster and the prefix by names that do not depend on how they are reached.
    pub(crate) fn at(&self) -> String {
        let servers = self.servers.iter().map(|(host, port)| format!("{host}:{port}"));
        let mut servers: Vec<String> = servers.collect();
        servers.sort();
        format!("etcd {} {}", servers.join(","), self.prefix)
    }

    /// What the names of all keys begin with; it ends with a '/'.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The TCP ports at which its servers are called.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|(_, port)| *port).collect()
    }

    /// Files of this host by which the cluster is reached.
    pub(crate) fn files(&self) -> Vec<&Path> {
        self.files.iter().flatten().map(PathBuf::as_path).collect()
    }

    /// The same place with each of its paths changed.
    #[must_use]
    pub(crate) fn with_paths(mut self, change: impl Fn(&Path) -> PathBuf) -> EtcdPlace {
        for file in self.files.iter_mut().flatten() {
            *file = change(file);
        }
        self
    }
}

/// A server `HOST` or `HOST:PORT`.
fn server(text: &str) -> Result<(String, u16), NoPlace> {
    let wrong = || NoPlace(format!("`{text}` is no server of etcd; {FORM}"));
    // The last colon of an address in brackets may be one of the address.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (text, PORT),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]:".contains(&byte);
    let has_brackets = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || port == 0 || !host.bytes().all(is_host) || (host.contains(':') && !has_brackets) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

fn read_password(path: &Path) -> Result<String, EtcdError> {
    let unusable = |why: &dyn Display| {
        EtcdError::Settings(format!("the file {} with etcd's password {why}", path.display()))
    };
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(PASSWORD_LEN_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > PASSWORD_LEN_MAX => {
            Err(unusable(&format!("is longer than {PASSWORD_LEN_MAX} bytes")))
        }
        Ok(_) => Ok(text.trim_end().to_owned()),
        Err(error) => Err(unusable(&format!("cannot be read: {error}"))),
    }
}

impl Display for EtcdPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.has_tls { "etcds://" } else { "etcd://" })?;
        for (index, (host, port)) in self.servers.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{host}:{port}")?;
        }
        if self.prefix != PREFIX {
            write!(f, ",prefix={}", self.prefix)?;
        }
        for (word, file) in FILES.iter().zip(&self.files) {
            if let Some(file) = file {
                write!(f, ",{word}={}", file.display())?;
            }
        }
        if let Some(user) = &self.user {
            write!(f, ",user={user}")?;
        }
        if self.deadline != DEADLINE_USUAL {
            write!(f, ",deadline_ms={}", self.deadline.as_millis())?;
        }
        Ok(())
    }
}
