//! `Config`: what a disk server offers, from a file of TOML.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use block::limits::NAME_LEN_MAX;
use link::{KeyFile, Security};
use replica::VmName;
use serde::Deserialize;

use crate::limits::{CONFIG_LEN_MAX, EXPORTS_MAX};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}; check the path and its permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// Error that the operating system gave.
        source: io::Error,
    },
    /// The file is no configuration.
    #[error("{path} is no configuration of a disk server")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says, with the line.
        source: toml::de::Error,
    },
    /// What stands in the file cannot be.
    #[error("{path}: {problem}")]
    Meaning {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// At an address of TCP.
    Tcp(SocketAddr),
    /// At a socket in the file system.
    Unix(PathBuf),
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Door::Tcp(address) => address.fmt(f),
            Door::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A disk that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportConfig {
    /// By which name clients ask for it.
    pub name: String,
    /// The VM whose disk it is, and whose epochs it obeys; `None`: it is nobody's.
    pub vm: Option<VmName>,
    /// The file or block device with its content.
    pub path: PathBuf,
    /// May nobody write to it?
    pub read_only: bool,
    /// What people should know of it.
    pub description: String,
}

/// What a disk server offers, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where it listens for Lockstep, and how that is protected; `None`: nowhere.
    pub listen: Option<(SocketAddr, Security)>,
    /// Where it listens for NBD in the clear; `None`: nowhere.
    pub nbd: Option<Door>,
    /// The directory of its state.
    pub state: PathBuf,
    /// The disks.
    pub exports: Vec<ExportConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: Option<String>,
    key: Option<PathBuf>,
    #[serde(default)]
    insecure: bool,
    nbd: Option<String>,
    state: PathBuf,
    #[serde(default)]
    export: Vec<RawExport>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExport {
    name: String,
    vm: Option<String>,
    path: PathBuf,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    description: String,
}

impl Config {
    /// Reads a file. Paths in it that are relative are relative to the file.
    ///
    /// # Errors
    /// It cannot be read, or makes no sense.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(CONFIG_LEN_MAX).read_to_string(&mut text));
        read.map_err(|source| ConfigError::Read {
            path: path.into(),
            source,
        })?;
        let raw: Raw = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.into(),
            source,
        })?;
        let base = path.parent().unwrap_or(Path::new("."));
        raw.understood(base).map_err(|problem| ConfigError::Meaning {
            path: path.into(),
            problem,
        })
    }

    /// The directory in which the state is, and what is offered, are known without any key.
    fn security(key: Option<PathBuf>, insecure: bool, base: &Path) -> Result<Security, String> {
        match (key, insecure) {
            (Some(_), true) => {
                Err("there is a `key`, and `insecure` says that there is none; keep one".into())
            }
            (Some(key), false) => {
                let file = KeyFile {
                    path: base.join(key),
                    though_open: false,
                };
                file.load()
                    .map(Security::Key)
                    .map_err(|error| os::error::chain(&error))
            }
            (None, true) => Ok(Security::Insecure),
            (None, false) => Err("`listen` needs `key = \"FILE\"`, or `insecure = true`".into()),
        }
    }
}

impl Raw {
    fn understood(self, base: &Path) -> Result<Config, String> {
        let listen = match self.listen {
            Some(text) => {
                let address = text
                    .parse()
                    .map_err(|_| format!("`listen` is an address such as 10.0.0.5:10810, not {text}"))?;
                Some((address, Config::security(self.key, self.insecure, base)?))
            }
            None => None,
        };
        let nbd = match self.nbd {
            Some(text) => Some(match text.strip_prefix("unix:") {
                Some(path) => Door::Unix(base.join(path)),
                None => Door::Tcp(text.parse().map_err(|_| {
                    format!("`nbd` is an address such as 127.0.0.1:10809 or unix:/run/disks.sock, not {text}")
                })?),
            }),
            None => None,
        };
        if listen.is_none() && nbd.is_none() {
            return Err(
                "nobody could reach the server: give `listen` for VMs, `nbd` for others, or both".into(),
            );
        }
        if self.export.is_empty() && listen.is_none() {
            let text = "there is no [[export]], and without `listen` the server is no arbiter either";
            return Err(text.into());
        }
        if self.export.len() > EXPORTS_MAX {
            return Err(format!("there are more than {EXPORTS_MAX} exports"));
        }
        let mut names = BTreeSet::new();
        let mut exports = Vec::new();
        for export in self.export {
            if !names.insert(export.name.clone()) {
                return Err(format!("two exports have the name {}", export.name));
            }
            exports.push(export.understood(base)?);
        }
        Ok(Config {
            listen,
            nbd,
            state: base.join(self.state),
            exports,
        })
    }
}

impl RawExport {
    fn understood(self, base: &Path) -> Result<ExportConfig, String> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let starts_well = self
            .name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !starts_well || self.name.len() > NAME_LEN_MAX || !self.name.bytes().all(is_good) {
            return Err(format!(
                "'{}' is no name for an export: use letters, digits, '-', '_', '.' and '/', beginning with a \
                 letter or digit",
                self.name
            ));
        }
        let vm = self.vm.as_deref().map(VmName::new).transpose();
        Ok(ExportConfig {
            name: self.name,
            vm: vm.map_err(|error| error.to_string())?,
            path: base.join(self.path),
            read_only: self.read_only,
            description: self.description,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disks.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|error| os::error::chain(&error))
    }

    #[test]
    fn a_configuration_names_doors_state_and_exports() {
        let config = load(
            "nbd = '127.0.0.1:10809'\nstate = '/s'\n\
             [[export]]\nname = 'shop/vda'\nvm = 'shop'\npath = '/x'\n",
        )
        .unwrap();
        assert_eq!(config.nbd, Some(Door::Tcp("127.0.0.1:10809".parse().unwrap())));
        assert_eq!(config.exports[0].name, "shop/vda");
        assert_eq!(config.exports[0].vm.as_ref().unwrap().as_str(), "shop");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_sentence() {
        let head = "nbd = 'unix:x'\nstate = '/s'\n";
        let export =
            |name: &str, more: &str| format!("{head}[[export]]\nname = '{name}'\npath = 'x'\n{more}");
        for (text, word) in [
            (head.to_owned(), "no [[export]]"),
            (export("../a", ""), "no name for an export"),
            (export("a", "vm = 'a b'"), "no name for a VM"),
            (export("a", "wm = 'a'"), "unknown field"),
            (
                format!("{}{}", export("a", ""), "[[export]]\nname = 'a'\npath = 'y'\n"),
                "two exports",
            ),
            (export("a", "").replace("unix:x", "here"), "`nbd` is an address"),
            (
                export("a", "").replace("nbd = 'unix:x'", ""),
                "nobody could reach",
            ),
            (
                format!("listen = '127.0.0.1:1'\n{}", export("a", "")),
                "needs `key",
            ),
            (
                format!("listen = 'x'\n{}", export("a", "")),
                "`listen` is an address",
            ),
        ] {
            let error = load(&text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
