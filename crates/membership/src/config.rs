//! `Config`: what `agent.toml` says. Every agent of a site has such a file; those of two hosts differ in the
//! host's name and addresses alone.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use arbiter::{NoPlace, Place};
use serde::{Deserialize, Serialize};

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {path} ({source}); `lockstep agent init` writes one")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Something in it makes no sense.
    #[error("{path}: {sentence}")]
    Bad {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong, with the line where there is one.
        sentence: String,
    },
}

/// What `agent.toml` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this host in the site; default: the host's own name.
    #[serde(default = "os::identity::host_name")]
    pub host: String,
    /// The part of the site that fails as a whole with this host.
    #[serde(default)]
    pub zone: Option<String>,
    /// The address at which the other hosts reach this one.
    pub address: IpAddr,
    /// File with the key of the site, 64 hexadecimal digits: agents know each other by it, and replicas too.
    pub key: PathBuf,
    /// Directory for what must outlive a boot.
    #[serde(default = "state_dir")]
    pub state_dir: PathBuf,
    /// Directory for sockets, below which the processes' own are kept; default: that of the user's processes.
    #[serde(default)]
    pub run_dir: Option<PathBuf>,
    /// Where the agent listens.
    #[serde(default)]
    pub api: Api,
    /// Where the site's wishes are kept.
    pub directory: DirectoryConfig,
    /// Who decides which process owns a VM.
    pub arbiter: ArbiterConfig,
    /// How replicas reach each other.
    #[serde(default)]
    pub pair: Pair,
    /// What VMs may use of this host.
    #[serde(default)]
    pub resources: Resources,
    /// When a VM that has died is started anew.
    #[serde(default)]
    pub restart: Restart,
}

/// When a VM that has died is started anew.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// Is a VM whose processes have all died booted again, once its owner has surely ended? What it had in
    /// its memory is lost then.
    pub cold: bool,
}

impl Default for Restart {
    fn default() -> Restart {
        Restart { cold: true }
    }
}

/// Where the agent listens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Port of the host's address for other agents.
    pub port: u16,
}

/// Where the site's wishes are kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DirectoryConfig {
    /// In a directory that all hosts share.
    Shared {
        /// Path of the directory, the same on each host.
        path: PathBuf,
    },
    /// In etcd.
    Etcd {
        /// Its servers, such as `http://10.0.0.1:2379`.
        endpoints: Vec<String>,
        /// What the names of all keys begin with.
        #[serde(default = "etcd_prefix")]
        prefix: String,
        /// File with the certificates (PEM) by which the servers' are signed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca: Option<PathBuf>,
        /// File with the agent's certificate (PEM).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<PathBuf>,
        /// File with that certificate's private key (PEM).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate_key: Option<PathBuf>,
        /// The agent's user at etcd.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// File with that user's password.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password_file: Option<PathBuf>,
    },
}

/// Who decides which process owns a VM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ArbiterTable")]
pub struct ArbiterConfig {
    /// Where that is, by the same words on each host.
    pub place: Place,
}

/// The arbiter as the file names it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArbiterTable {
    /// A directory that all hosts share, the same path on each.
    path: Option<PathBuf>,
    /// Any other place, such as `etcd://10.0.0.1:2379`.
    place: Option<String>,
}

impl TryFrom<ArbiterTable> for ArbiterConfig {
    type Error = String;

    fn try_from(table: ArbiterTable) -> Result<ArbiterConfig, String> {
        let place = match (table.path, table.place) {
            (Some(path), None) => Place::Directory(path),
            (None, Some(text)) => text.parse().map_err(|error: NoPlace| error.to_string())?,
            _ => {
                return Err(
                    "`[arbiter]` has either `path`, a directory that all hosts share, or `place`, \
                            such as \"etcd://10.0.0.1:2379\""
                        .into(),
                );
            }
        };
        Ok(ArbiterConfig { place })
    }
}

/// How replicas reach each other.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pair {
    /// First port at which a process of this host waits to be a backup.
    pub first_port: u16,
    /// Last such port.
    pub last_port: u16,
}

/// What VMs may use of this host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Share of the host's memory that VMs may use, in percent.
    pub memory_percent: u64,
    /// Processors that VMs may use; default: all.
    pub processors: Option<u32>,
    /// Protected VMs of which the host holds a half at most.
    pub protected_max: u32,
    /// Clones that leave this host at once.
    pub clones: u32,
}

/// The port at which other hosts call an agent, unless `agent.toml` has another one.
pub const AGENT_PORT: u16 = 7701;

impl Default for Api {
    fn default() -> Api {
        Api { port: AGENT_PORT }
    }
}

impl Default for Pair {
    fn default() -> Pair {
        Pair {
            first_port: 7800,
            last_port: 7899,
        }
    }
}

impl Default for Resources {
    fn default() -> Resources {
        Resources {
            memory_percent: 90,
            processors: None,
            protected_max: 8,
            clones: 1,
        }
    }
}

impl DirectoryConfig {
    /// An etcd at these servers, which asks for neither certificates nor a user.
    #[must_use]
    pub fn etcd(endpoints: &[String]) -> DirectoryConfig {
        DirectoryConfig::Etcd {
            endpoints: endpoints.to_vec(),
            prefix: etcd_prefix(),
            ca: None,
            certificate: None,
            certificate_key: None,
            user: None,
            password_file: None,
        }
    }

    /// Files of this host by which etcd is reached.
    #[must_use]
    pub fn files(&self) -> Vec<&Path> {
        match self {
            DirectoryConfig::Shared { .. } => Vec::new(),
            DirectoryConfig::Etcd {
                ca,
                certificate,
                certificate_key,
                password_file,
                ..
            } => [ca, certificate, certificate_key, password_file]
                .into_iter()
                .flatten()
                .map(PathBuf::as_path)
                .collect(),
        }
    }
}

fn state_dir() -> PathBuf {
    "/var/lib/lockstep".into()
}

fn etcd_prefix() -> String {
    "/lockstep/1/".into()
}

impl Config {
    /// Reads a file. Paths in it are relative to its directory.
    ///
    /// # Errors
    /// It cannot be read, or something in it makes no sense.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.into(),
            source,
        })?;
        let base = path.parent().unwrap_or(Path::new("."));
        Config::parse(&text, base).map_err(|sentence| ConfigError::Bad {
            path: path.into(),
            sentence,
        })
    }

    /// Reads a file's text; the sentence of an error says what makes no sense.
    ///
    /// # Errors
    /// Something in it makes no sense.
    pub fn parse(text: &str, base: &Path) -> Result<Config, String> {
        let mut config: Config = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                1 + text
                    .bytes()
                    .take(span.start)
                    .filter(|&byte| byte == b'\n')
                    .count()
            });
            format!("line {line}: {}", error.message().replace('\n', "; "))
        })?;
        config.check()?;
        let base = std::path::absolute(base).unwrap_or_else(|_| base.into());
        for path in config.paths() {
            *path = base.join(&*path);
        }
        let place = config.arbiter.place.clone();
        config.arbiter.place = place.with_paths(|path| base.join(path));
        Ok(config)
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let mut paths = vec![&mut self.key, &mut self.state_dir];
        paths.extend(&mut self.run_dir);
        match &mut self.directory {
            DirectoryConfig::Shared { path } => paths.push(path),
            DirectoryConfig::Etcd {
                ca,
                certificate,
                certificate_key,
                password_file,
                ..
            } => {
                let some = [ca, certificate, certificate_key, password_file];
                paths.extend(some.into_iter().flatten());
            }
        }
        paths
    }

    fn check(&self) -> Result<(), String> {
        if store::Key::host(&self.host).is_err() || crate::identity::server_name(&self.host).is_none() {
            return Err(format!(
                "`host` is {:?}, and a host's name is made of letters, digits, - and .; give for example \
                 \"a\"",
                self.host
            ));
        }
        if self.address.is_unspecified() {
            return Err(format!(
                "`address` is {}, and must be the one address at which the other hosts reach this one",
                self.address
            ));
        }
        if self.pair.first_port == 0 || self.pair.first_port > self.pair.last_port {
            return Err(format!(
                "the ports of `[pair]` are {} to {}, and there must be at least one",
                self.pair.first_port, self.pair.last_port
            ));
        }
        if !(1..=100).contains(&self.resources.memory_percent) {
            return Err("`memory_percent` is a number from 1 to 100".into());
        }
        if self.resources.clones == 0 {
            return Err("`clones` is 0, and no VM would ever get a backup; give at least 1".into());
        }
        Ok(())
    }

    /// The directory in which the processes of this host have their control sockets, and the agent its own.
    #[must_use]
    pub fn sockets(&self, of_user: &Path) -> PathBuf {
        match &self.run_dir {
            Some(run_dir) => run_dir.join("lockstep"),
            None => of_user.into(),
        }
    }

    /// Where the other agents reach this one.
    #[must_use]
    pub fn agent_address(&self) -> SocketAddr {
        (self.address, self.api.port).into()
    }

    /// Ports at which processes of this host wait to be backups.
    #[must_use]
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.pair.first_port..=self.pair.last_port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"
        host = "a"
        address = "10.0.0.1"
        key = "site.key"
        [directory]
        kind = "shared"
        path = "/shared/lockstep"
        [arbiter]
        path = "/shared/arbiter"
    "#;

    #[test]
    fn the_least_file_has_the_usual_settings() {
        let config = Config::parse(LEAST, Path::new("/etc/lockstep")).unwrap();
        assert_eq!(config.key, Path::new("/etc/lockstep/site.key"));
        assert_eq!(config.state_dir, Path::new("/var/lib/lockstep"));
        assert_eq!(config.agent_address().to_string(), "10.0.0.1:7701");
        assert_eq!((config.ports(), config.resources.clones), (7800..=7899, 1));
        assert_eq!(
            config.sockets(Path::new("/run/lockstep")),
            Path::new("/run/lockstep")
        );
    }

    #[test]
    fn the_arbiter_is_a_directory_or_another_place_with_its_files() {
        let of = |line: &str| {
            let text = LEAST.replace("path = \"/shared/arbiter\"", line);
            Config::parse(&text, Path::new("/etc/lockstep"))
                .unwrap()
                .arbiter
                .place
                .to_string()
        };
        assert_eq!(of("path = \"arbiter\""), "/etc/lockstep/arbiter");
        assert_eq!(
            of("place = \"etcds://a:1,ca=ca.pem\""),
            "etcds://a:1,ca=/etc/lockstep/ca.pem"
        );
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused_with_a_sentence() {
        let refusals = [
            ("host = \"a\"", "host = \"a b\"", "a host's name is made of"),
            ("10.0.0.1", "0.0.0.0", "must be the one address"),
            ("[arbiter]", "[resources]\nclones = 0\n[arbiter]", "at least 1"),
            (
                "[arbiter]",
                "[pair]\nfirst_port = 9\nlast_port = 8\n[arbiter]",
                "at least one",
            ),
            ("kind = \"shared\"", "kind = \"consul\"", "line"),
            ("host = \"a\"", "hots = \"a\"", "unknown field `hots`"),
            ("path = \"/shared/arbiter\"", "", "has either `path`"),
            (
                "path = \"/shared/arbiter\"",
                "place = \"etcd://\"",
                "is no server of etcd",
            ),
            (
                "path = \"/shared/arbiter\"",
                "paths = \"x\"",
                "unknown field `paths`",
            ),
        ];
        for (from, to, sentence) in refusals {
            let refusal = Config::parse(&LEAST.replace(from, to), Path::new("/")).unwrap_err();
            assert!(refusal.contains(sentence), "{refusal}");
        }
    }
}
