//! What a host that joins and the agent that it calls say to each other. Fields may be added.

use std::net::IpAddr;

use machine::MODEL;
use messages::joining::{PROTOCOL, PROTOCOL_OLDEST};
use serde::{Deserialize, Serialize};

use crate::config::{Config, DirectoryConfig};

/// A host that wants to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newcomer {
    /// The name that it wants to have in the site.
    pub host: String,
    /// The address at which the other hosts are to reach it.
    pub address: IpAddr,
    /// Version of its program.
    pub version: String,
    /// Machine models that the program has.
    pub models: Vec<u32>,
    /// Oldest version of the replicas' protocol that it speaks.
    pub protocol_oldest: u32,
    /// Newest version of the replicas' protocol that it speaks.
    pub protocol_newest: u32,
}

/// What a host must know to be one of the site, except for the site's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The host whose agent says this.
    pub host: String,
    /// Where the site's wishes are kept.
    pub directory: DirectoryConfig,
    /// Where the arbiter is, as [`arbiter::Place`] reads it.
    pub arbiter: String,
    /// Port at which agents listen for each other.
    pub port: u16,
    /// First port at which a process waits to be a backup.
    pub first_port: u16,
    /// Last such port.
    pub last_port: u16,
}

/// Whether the agent sees a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkSeen {
    /// Does it?
    pub seen: bool,
}

/// The site's key. It is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGiven {
    /// 64 hexadecimal digits.
    pub key: String,
}

impl Newcomer {
    /// This host, with this program.
    #[must_use]
    pub fn new(host: &str, address: IpAddr, version: &str) -> Newcomer {
        Newcomer {
            host: host.to_owned(),
            address,
            version: version.to_owned(),
            models: vec![MODEL],
            protocol_oldest: u32::try_from(PROTOCOL_OLDEST).unwrap_or(u32::MAX),
            protocol_newest: u32::try_from(PROTOCOL).unwrap_or(u32::MAX),
        }
    }

    /// Why this host's program and that one, on a host of the site, could never hold the two halves of a VM;
    /// `None`: they could.
    #[must_use]
    pub fn is_too_different(&self, site: &Newcomer) -> Option<String> {
        let models = |of: &Newcomer| {
            let models: Vec<String> = of.models.iter().map(u32::to_string).collect();
            models.join(", ")
        };
        let has_model = self.models.iter().any(|model| site.models.contains(model));
        let speaks =
            self.protocol_oldest <= site.protocol_newest && site.protocol_oldest <= self.protocol_newest;
        if has_model && speaks {
            return None;
        }
        Some(format!(
            "{} has Lockstep {} (machine model {}, protocol {} to {}), and {} has {} (machine model {}, \
             protocol {} to {}): they could not hold the two halves of a VM; install the same release \
             on both",
            self.host,
            self.version,
            models(self),
            self.protocol_oldest,
            self.protocol_newest,
            site.host,
            site.version,
            models(site),
            site.protocol_oldest,
            site.protocol_newest
        ))
    }
}

impl Offer {
    /// What a host's own file says that concerns the whole site.
    #[must_use]
    pub fn of(config: &Config) -> Offer {
        Offer {
            host: config.host.clone(),
            directory: config.directory.clone(),
            arbiter: config.arbiter.place.to_string(),
            port: config.api.port,
            first_port: config.pair.first_port,
            last_port: config.pair.last_port,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_which_no_pair_can_be_made_are_too_different_and_others_are_not() {
        let here = Newcomer::new("b", [10, 0, 0, 2].into(), "0.2.0");
        let mut site = Newcomer::new("a", [10, 0, 0, 1].into(), "0.1.0");
        assert_eq!(here.is_too_different(&site), None, "versions may differ");
        site.protocol_newest += 1;
        assert_eq!(here.is_too_different(&site), None);
        site.protocol_oldest = here.protocol_newest + 1;
        let sentence = here.is_too_different(&site).unwrap();
        assert!(
            sentence.starts_with("b has Lockstep 0.2.0 (machine model "),
            "{sentence}"
        );
        let other_model = Newcomer {
            models: vec![0],
            ..here.clone()
        };
        assert!(other_model.is_too_different(&here).is_some());
    }
}
