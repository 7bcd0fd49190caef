//! `Known`: what the site's store holds, as this agent has read it last. The mind decides by it, and whoever
//! changes something says by the numbers of the states here what they have read.

use std::collections::BTreeMap;
use std::sync::Arc;

use membership::client::Where;
use messages::vm_name::VmName;
use plan::HostName;
use rustls::ClientConfig;
use serde::de::DeserializeOwned;
use store::{Change, Key, Revision, Seen, Stored};

use crate::records::{DrainRecord, HostCard, OperationRecord, Place, Spec, VmKey};

/// A record, and the number of its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<T> {
    /// What it says.
    pub value: T,
    /// Its number, for the next change.
    pub revision: Revision,
}

/// What the store holds of one VM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownVm {
    /// What it is made of and what is wanted; `None`: it is being created or deleted.
    pub spec: Option<Record<Spec>>,
    /// Where it is; `None`: it never ran.
    pub place: Option<Record<Place>>,
    /// What somebody has begun last; `None`: nothing yet.
    pub operation: Option<Record<OperationRecord>>,
}

/// What the site's store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The hosts of the site.
    pub hosts: BTreeMap<HostName, Record<HostCard>>,
    /// Those that are to be emptied.
    pub drains: BTreeMap<HostName, Record<DrainRecord>>,
    /// The VMs of the site.
    pub vms: BTreeMap<VmName, KnownVm>,
    /// Keys whose values this agent cannot read, each with the reason.
    pub unreadable: BTreeMap<String, String>,
}

impl Known {
    /// Where the agent of a host is called, with what the caller shows; `None`: the host is not known.
    #[must_use]
    pub fn agent_of(&self, host: &HostName, tls: &Arc<ClientConfig>) -> Option<Where> {
        let card = self.hosts.get(host)?;
        Some(Where::Host {
            address: card.value.agent,
            name: host.as_str().to_owned(),
            tls: tls.clone(),
        })
    }

    /// Takes in what a watch has seen.
    pub fn take(&mut self, seen: Seen) {
        match seen {
            Seen::Nothing => {}
            Seen::Everything(all) => {
                *self = Known::default();
                for (key, stored) in all {
                    self.write(&key, &stored);
                }
            }
            Seen::Changes(changes) => {
                for change in changes {
                    match change {
                        Change::Written(key, stored) => self.write(&key, &stored),
                        Change::Removed(key) => self.remove(&key),
                    }
                }
            }
        }
    }

    fn write(&mut self, key: &Key, stored: &Stored) {
        self.unreadable.remove(key.as_str());
        let parts: Vec<&str> = key.parts().collect();
        let taken = match parts.as_slice() {
            ["hosts", host] => read(stored).map(|card| {
                self.hosts.insert(HostName::new(*host), card);
            }),
            ["drain", host] => read(stored).map(|drain| {
                self.drains.insert(HostName::new(*host), drain);
            }),
            ["vms", name, part] => match VmName::new(name) {
                Ok(name) => self.write_vm(name, part, stored),
                Err(error) => Err(error.to_string()),
            },
            // A newer agent's.
            _ => Ok(()),
        };
        if let Err(why) = taken {
            self.unreadable.insert(key.as_str().to_owned(), why);
        }
    }

    fn write_vm(&mut self, name: VmName, part: &str, stored: &Stored) -> Result<(), String> {
        let vm = self.vms.entry(name).or_default();
        if part == VmKey::Spec.part() {
            vm.spec = Some(read(stored)?);
        } else if part == VmKey::Place.part() {
            vm.place = Some(read(stored)?);
        } else if part == VmKey::Operation.part() {
            vm.operation = Some(read(stored)?);
        }
        Ok(())
    }

    fn remove(&mut self, key: &Key) {
        self.unreadable.remove(key.as_str());
        let parts: Vec<&str> = key.parts().collect();
        match parts.as_slice() {
            ["hosts", host] => drop(self.hosts.remove(&HostName::new(*host))),
            ["drain", host] => drop(self.drains.remove(&HostName::new(*host))),
            ["vms", name, part] => {
                let Ok(name) = VmName::new(name) else {
                    return;
                };
                let Some(vm) = self.vms.get_mut(&name) else {
                    return;
                };
                match *part {
                    "spec" => vm.spec = None,
                    "place" => vm.place = None,
                    "operation" => vm.operation = None,
                    _ => {}
                }
                if *vm == KnownVm::default() {
                    self.vms.remove(&name);
                }
            }
            _ => {}
        }
    }

    /// The VM of this name, if it is one of the site.
    #[must_use]
    pub fn vm(&self, name: &VmName) -> Option<(&KnownVm, &Record<Spec>)> {
        let vm = self.vms.get(name)?;
        Some((vm, vm.spec.as_ref()?))
    }
}

fn read<T: DeserializeOwned>(stored: &Stored) -> Result<Record<T>, String> {
    let value = serde_json::from_slice(&stored.value).map_err(|error| error.to_string())?;
    Ok(Record {
        value,
        revision: stored.revision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{AskedRecord, PowerWord, ProtectionWord};

    fn spec() -> Spec {
        Spec {
            generation: 1,
            toml: "name = \"shop\"".into(),
            created: AskedRecord::default(),
            power: PowerWord::Off,
            hard: false,
            power_asked: AskedRecord::default(),
            protection: ProtectionWord::On,
            protection_asked: None,
            home: None,
            rest: serde_json::Map::new(),
        }
    }

    fn stored(value: impl Into<Vec<u8>>, revision: u64) -> Stored {
        Stored {
            value: value.into(),
            revision: Revision(revision),
        }
    }

    #[test]
    fn what_is_written_is_known_and_what_a_newer_agent_has_added_is_kept() {
        let shop = VmName::new("shop").unwrap();
        let key = Key::spec(&shop);
        let mut known = Known::default();
        let text = serde_json::to_string(&spec()).unwrap();
        let newer = text.replace("\"generation\":1", "\"generation\":2,\"colour\":\"red\"");
        known.take(Seen::Everything(vec![(key.clone(), stored(text, 1))]));
        assert_eq!(known.vm(&shop).unwrap().1.value, spec());
        known.take(Seen::Changes(vec![Change::Written(
            key.clone(),
            stored(newer, 2),
        )]));
        let read = &known.vm(&shop).unwrap().1;
        assert_eq!((read.value.generation, read.revision), (2, Revision(2)));
        assert!(serde_json::to_string(&read.value).unwrap().contains("red"));
        known.take(Seen::Changes(vec![Change::Removed(key)]));
        assert!(known.vms.is_empty());
    }

    #[test]
    fn a_value_that_cannot_be_read_is_told_of_and_harms_no_other() {
        let mut known = Known::default();
        let keys = ["vms/shop/spec", "hosts/a", "vms/shop/colour", "other"];
        let all = keys.map(|key| (Key::new(key).unwrap(), stored("{", 1)));
        known.take(Seen::Everything(all.to_vec()));
        let unreadable: Vec<&str> = known.unreadable.keys().map(String::as_str).collect();
        assert_eq!(unreadable, ["hosts/a", "vms/shop/spec"]);
        let card = r#"{"agent":"10.0.0.1:7701","address":"10.0.0.1"}"#;
        let change = Change::Written(Key::host("a").unwrap(), stored(card, 2));
        known.take(Seen::Changes(vec![change]));
        assert!(known.hosts.contains_key(&HostName::new("a")));
        assert_eq!(known.unreadable.len(), 1);
    }
}
