//! `Place`: where a VM's arbiter is, as people write it, and the arbiter of that place. Whoever starts
//! processes, limits them or names the arbiter in a sentence goes by this alone, and knows no kind of it.
//!
//! A new kind of arbiter is one more variant here, with its cells in a file of its own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use replica::VmName;

use crate::Arbiter;
use crate::directory::{DirectoryArbiter, DirectoryCells};
use crate::error::{ArbiterError, NoPlace};
use crate::etcd_place::EtcdPlace;
use crate::over_etcd::{EtcdArbiter, EtcdCells};
use crate::over_server::{ServerArbiter, ServerCells};
use crate::record::Process;
use crate::server_place::ServerPlace;

/// Where an arbiter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a directory that all hosts share which may run the VM.
    Directory(PathBuf),
    /// In an etcd cluster that all these hosts reach.
    Etcd(Box<EtcdPlace>),
    /// In a disk server that all these hosts reach.
    Server(Box<ServerPlace>),
}

impl FromStr for Place {
    type Err = NoPlace;

    /// Reads `DIRECTORY`, `etcd://SERVERS`, `etcds://SERVERS` or `lockstep://SERVER`.
    fn from_str(text: &str) -> Result<Place, NoPlace> {
        match text.split_once("://") {
            Some(("etcd", rest)) => Ok(Place::Etcd(Box::new(EtcdPlace::parse(rest, false)?))),
            Some(("etcds", rest)) => Ok(Place::Etcd(Box::new(EtcdPlace::parse(rest, true)?))),
            Some(("lockstep", rest)) => Ok(Place::Server(Box::new(ServerPlace::parse(rest)?))),
            Some((kind, _)) => Err(NoPlace(format!(
                "there are no arbiters of the kind `{kind}`; give a directory, etcd://HOST:PORT, \
                 etcds://HOST:PORT,ca=FILE or lockstep://HOST,key=FILE"
            ))),
            None if text.is_empty() => Err(NoPlace(
                "an arbiter has a name; give for example a directory".into(),
            )),
            None => Ok(Place::Directory(text.into())),
        }
    }
}

impl Place {
    /// Opens the arbiter for claims of `process`, after having seen that it can be used. Call it before the
    /// sandbox is entered: files are read and names of hosts are looked up now, and never again.
    ///
    /// # Errors
    /// It cannot be reached, or cannot be written.
    pub fn open(&self, process: Process) -> Result<Box<dyn Arbiter>, ArbiterError> {
        Ok(match self {
            Place::Directory(path) => Box::new(DirectoryArbiter::open(path, process)?),
            Place::Etcd(place) => Box::new(EtcdArbiter::open(place, process)?),
            Place::Server(place) => Box::new(ServerArbiter::open(place, process)?),
        })
    }

    /// The same place with each path in it changed, for instance by the directory that it is relative to.
    #[must_use]
    pub fn with_paths(self, change: impl Fn(&Path) -> PathBuf) -> Place {
        match self {
            Place::Directory(path) => Place::Directory(change(&path)),
            Place::Etcd(place) => Place::Etcd(Box::new(place.with_paths(change))),
            Place::Server(place) => Place::Server(Box::new(place.with_paths(change))),
        }
    }

    /// The place by the name that processes of this host have for it in their signs of life: the same name,
    /// whatever way leads to it.
    #[must_use]
    pub fn at(&self) -> String {
        match self {
            Place::Directory(path) => {
                let path = path.canonicalize().unwrap_or_else(|_| path.clone());
                path.display().to_string()
            }
            Place::Etcd(place) => place.at(),
            Place::Server(place) => place.at(),
        }
    }

    /// The directory in which a process that asks makes files; `None`: it makes none.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Place::Directory(path) => Some(path),
            Place::Etcd(_) | Place::Server(_) => None,
        }
    }

    /// Files of this host without which the arbiter cannot be reached.
    #[must_use]
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Place::Directory(_) => Vec::new(),
            Place::Etcd(place) => place.files(),
            Place::Server(place) => place.key().into_iter().collect(),
        }
    }

    /// The VMs of which there is anything at the arbiter, in the order of their names.
    ///
    /// # Errors
    /// The arbiter cannot be reached.
    pub fn vms(&self) -> Result<Vec<VmName>, ArbiterError> {
        match self {
            Place::Directory(path) => DirectoryCells::open(path)?.vms(),
            Place::Etcd(place) => EtcdCells::open(place)?.vms(),
            Place::Server(place) => ServerCells::open(place)?.vms(),
        }
    }

    /// The TCP ports that a process calls which asks; none: it calls nobody.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        match self {
            Place::Directory(_) => Vec::new(),
            Place::Etcd(place) => place.ports(),
            Place::Server(place) => vec![place.port()],
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Directory(path) => write!(f, "{}", path.display()),
            Place::Etcd(place) => write!(f, "{place}"),
            Place::Server(place) => write!(f, "{place}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        text.parse::<Place>().unwrap_err().to_string()
    }

    #[test]
    fn a_place_is_written_as_it_is_read() {
        for text in [
            "/shared/arbiter",
            "arbiter",
            "etcd://10.0.0.1:2379",
            "etcd://10.0.0.1:2379,[fd00::1]:2380,etcd3:7",
            "etcd://a:1,prefix=/shop/",
            "etcds://a:1,b:2,prefix=/shop/,ca=/ca,certificate=/c,certificate_key=/k",
            "etcds://a:1,ca=/ca,password_file=/pw,user=shop,deadline_ms=500",
        ] {
            assert_eq!(place(text).to_string(), text);
        }
        assert_eq!(place("etcd://a,[::1]").to_string(), "etcd://a:2379,[::1]:2379");
        assert_eq!(place("etcd://a:1,b:2").ports(), [1, 2]);
        assert_eq!(place("etcd://a:1").directory(), None);
        assert_eq!(place("/a").directory(), Some(Path::new("/a")));
    }

    #[test]
    fn what_is_no_place_is_refused_with_what_to_write() {
        for (text, sentence) in [
            ("", "give for example a directory"),
            ("consul://a:1", "no arbiters of the kind `consul`"),
            ("etcd://", "is no server of etcd; write etcd://HOST:PORT"),
            ("etcd://a:0", "`a:0` is no server"),
            ("etcd://a:99999", "`a:99999` is no server"),
            ("etcd://a b:1", "is no server"),
            ("etcd://::1", "is no server"),
            ("etcd://a:1/x", "is no server"),
            (
                "etcd://a:1,x=y",
                "there is no option `x` of etcd; there are ca, certificate",
            ),
            ("etcd://a:1,user=", "`user=` has no value"),
            ("etcd://a:1,user=u", "go together"),
            ("etcd://a:1,prefix=shop", "'/' at the end"),
            ("etcd://a:1,deadline_ms=5", "from 10 to 600000"),
            ("etcd://a:1,ca=/ca", "write etcds://"),
            ("etcds://a:1", "needs `ca=FILE`"),
            ("etcds://a:1,ca=/ca,certificate=/c", "go together"),
            ("etcd://prefix=/a/", "1 to 16 endpoints"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.contains(sentence), "{text}: {refusal}");
        }
        let many = format!("etcd://{}", ["a:1"; 17].join(","));
        assert!(refusal(&many).contains("17 are given"));
    }

    #[test]
    fn a_place_is_known_by_one_name_whatever_way_leads_to_it() {
        let at = |text: &str| place(text).at();
        assert_eq!(at("etcd://b:2,a"), at("etcds://a:2379,b:2,ca=/ca,deadline_ms=50"));
        assert_ne!(at("etcd://a"), at("etcd://a,prefix=/shop/"));
        assert_eq!(at("/proc/self/.."), "/proc");
        assert_eq!(
            at("/none/../a"),
            "/none/../a",
            "what is not there stays as it is written"
        );
    }

    #[test]
    fn paths_are_made_whole_and_nothing_else_is() {
        let whole = |text: &str| {
            place(text)
                .with_paths(|path| Path::new("/base").join(path))
                .to_string()
        };
        assert_eq!(whole("arbiter"), "/base/arbiter");
        assert_eq!(whole("/arbiter"), "/arbiter");
        let files = "ca=ca.pem,certificate=c,certificate_key=/k,password_file=pw,user=u";
        assert_eq!(
            whole(&format!("etcds://a:1,{files}")),
            "etcds://a:1,ca=/base/ca.pem,certificate=/base/c,certificate_key=/k,password_file=/base/pw,user=u"
        );
    }
}
