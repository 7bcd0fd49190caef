//! `Network`: whether the guest's network leads anywhere from this host.

use replica::Time;

use crate::limits::NET_DOWN_AFTER;
use crate::load::ms;
use ports::{Lead, Port};
use report::{AspectWord, Change};

/// Where all of the guest's ports together lead, as far as can be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// None is known to lead somewhere, and of one at least nothing is known.
    Unknown,
    /// One at least leads somewhere, or there is none that should.
    Somewhere,
    /// None leads anywhere.
    Nowhere {
        /// The reason, as a clause.
        why: String,
        /// Since when the last of them has led nowhere.
        since: Time,
    },
}

impl Way {
    /// Where these ports together lead: a guest that is reached by one of two ports is still reached. For a
    /// claim the side with all its cables in is the better one ([`Lead::and`]).
    pub fn of<'a>(ports: impl Iterator<Item = &'a Port>, now: Time) -> Way {
        let (mut nowhere, mut is_known, mut since) = (Vec::new(), true, Time(0));
        for port in ports.filter(|port| port.has_cable()) {
            match port.lead(now) {
                Lead::Somewhere(_) => return Way::Somewhere,
                Lead::Unknown => is_known = false,
                Lead::Nowhere => {
                    since = since.max(port.nowhere_since(now));
                    nowhere.push(port);
                }
            }
        }
        match (is_known, nowhere.split_first()) {
            (false, _) => Way::Unknown,
            (true, None) => Way::Somewhere,
            (true, Some((first, []))) => Way::Nowhere {
                why: first.obstacle(),
                since,
            },
            (true, Some((first, others))) => Way::Nowhere {
                why: format!("{}, and so for {} more", first.obstacle(), others.len()),
                since,
            },
        }
    }
}

/// Ports that lead nowhere, as it was told.
#[derive(Debug)]
pub(crate) struct Down {
    /// Since when no port leads anywhere.
    pub since: Time,
    /// Why, as a clause.
    pub why: String,
}

/// Whether the guest's network leads anywhere.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Since when no port leads anywhere; `None`: one does, or it is not known.
    nowhere_since: Option<Time>,
    /// Nobody can tell at present where the ports lead.
    is_unknown: bool,
    /// What was told and is not over.
    told: Option<Down>,
}

impl Network {
    /// The ports lead this way now; gives what is to be told.
    pub fn sees(&mut self, now: Time, way: Way) -> Option<Change> {
        self.is_unknown = way == Way::Unknown;
        let Way::Nowhere { why, since } = way else {
            self.nowhere_since = None;
            // What was told is not over before a port is seen to lead somewhere.
            let down = self.told.take_if(|_| way == Way::Somewhere)?;
            let lasted_ms = ms(now.since(down.since));
            return Some(Change {
                what: AspectWord::Network,
                well: true,
                sentence: format!("the network of this side is back after {:.1} s", lasted_ms / 1e3),
                since_ns: down.since.0,
                lasted_ms,
            });
        };
        let since = *self.nowhere_since.get_or_insert(since);
        if self.told.is_some() || now.since(since) < NET_DOWN_AFTER {
            return None;
        }
        let sentence = format!("the network of this side leads nowhere: {why}");
        self.told = Some(Down { since, why });
        Some(Change {
            what: AspectWord::Network,
            well: false,
            sentence,
            since_ns: since.0,
            lasted_ms: 0.0,
        })
    }

    /// Is the network down, and what was told of that? Neither is known while nobody can tell.
    pub fn state(&self) -> (Option<bool>, Option<&Down>) {
        match &self.told {
            _ if self.is_unknown => (None, None),
            told => (Some(told.is_some()), told.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use os::sys::clock;
    use os::wake::Waker;
    use ports::{Endpoint, PortSpec};
    use replica::{Epoch, Span};
    use std::os::unix::net::UnixListener;

    fn at(ms: u64) -> Time {
        Time(Span::from_ms(ms).0)
    }

    /// Nothing has led anywhere since this time, in milliseconds.
    fn nowhere(since: u64) -> Way {
        Way::Nowhere {
            why: "a".into(),
            since: at(since),
        }
    }

    #[test]
    fn a_network_is_down_when_no_port_has_led_anywhere_for_a_second_and_back_at_once() {
        let mut network = Network::default();
        assert_eq!(network.sees(at(500), nowhere(500)), None);
        assert_eq!(network.sees(at(1_000), Way::Somewhere), None, "that was short");
        assert_eq!(network.sees(at(1_500), nowhere(1_400)), None);
        assert_eq!(network.sees(at(2_000), nowhere(1_400)), None);
        assert_eq!(network.state().0, Some(false));
        // A port that is given up and dialled anew tells another time: the first one counts.
        let down = network.sees(at(2_500), nowhere(2_300)).unwrap();
        assert_eq!(down.sentence, "the network of this side leads nowhere: a");
        assert_eq!((down.well, down.since_ns), (false, at(1_400).0));
        assert_eq!(network.sees(at(3_000), nowhere(1_400)), None, "it was told");
        assert_eq!(network.state().0, Some(true));
        let up = network.sees(at(3_500), Way::Somewhere).unwrap();
        assert_eq!(up.sentence, "the network of this side is back after 2.1 s");
        assert_eq!((up.well, up.lasted_ms), (true, 2_100.0));
        assert_eq!(network.state().0, Some(false));
    }

    #[test]
    fn what_is_not_known_is_neither_well_nor_down() {
        let mut network = Network::default();
        for ms in [0, 1_000] {
            network.sees(at(ms), nowhere(0));
        }
        assert_eq!(network.sees(at(2_000), Way::Unknown), None);
        assert_eq!(network.state().0, None);
        assert!(network.sees(at(3_000), Way::Somewhere).is_some());
        assert_eq!(network.state().0, Some(false));
    }

    #[test]
    fn a_guest_is_cut_off_when_every_port_that_has_a_cable_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let waker = Waker::new().unwrap();
        let gateway = |name: &str| PortSpec::Gateway {
            endpoint: Endpoint::Unix(dir.path().join(name)),
            key: None,
        };
        let open = |spec: &PortSpec| Port::open(spec, &waker).unwrap();
        let way = |ports: &[Port]| Way::of(ports.iter(), clock::now());
        let mut ports = Vec::new();
        assert_eq!(way(&ports), Way::Somewhere, "no port should lead anywhere");
        ports.push(open(&PortSpec::None));
        assert_eq!(way(&ports), Way::Somewhere, "nobody wants a cable");
        ports.push(open(&gateway("a")));
        assert_eq!(way(&ports), Way::Unknown, "it is quiet and has no key");
        ports[1].go_live(Epoch(1));
        assert!(matches!(way(&ports), Way::Nowhere { why, .. } if why.ends_with("/a does not answer")));
        ports.push(open(&gateway("c")));
        ports[2].go_live(Epoch(1));
        assert!(
            matches!(way(&ports), Way::Nowhere { why, .. } if why.ends_with("answer, and so for 1 more"))
        );
        let _listener = UnixListener::bind(dir.path().join("b")).unwrap();
        let mut well = open(&gateway("b"));
        well.check(&gateway("b")).unwrap();
        well.go_live(Epoch(1));
        ports.push(well);
        assert_eq!(way(&ports), Way::Somewhere);
    }
}
