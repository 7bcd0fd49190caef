//! `Uplinks`: the interfaces by which the bridge of a tap reaches other hosts. A tap in a bridge is up as
//! long as its VM runs; whether the guest reaches anybody, the carriers of these interfaces say.
//!
//! They are looked for once, when the tap is opened, since the sandbox leaves no way to `/sys`. So this is a
//! guess about what lies outside: an interface that has gone since then counts for nothing, and one that came
//! since is not known.

use std::fs;
use std::io;
use std::path::Path;

use crate::limits::UPLINKS_MAX;

/// The uplinks of the bridge that a tap is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uplinks(Vec<String>);

impl Uplinks {
    /// The uplinks of the interface `tap`, read below `net`, which is `/sys/class/net`: those ports of its
    /// bridge that are devices (`device`) or rest on other interfaces (`lower_..`), as bonds and VLANs do.
    /// Taps and the ends of pairs into containers are neither. There are none if the tap is in no bridge, if
    /// the bridge has no such port, or has more than can be looked at.
    pub fn of(net: &Path, tap: &str) -> Uplinks {
        let ports = fs::read_dir(net.join(tap).join("master/brif"));
        let names = ports.into_iter().flatten().flatten().map(|port| port.file_name());
        let names = names.filter(|name| name != tap && is_uplink(&net.join(name)));
        let names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
        match names.len() {
            0..=UPLINKS_MAX => Uplinks(names),
            _ => Uplinks::default(),
        }
    }

    /// Has every uplink that is still there lost its carrier, and is there one at least? `has_carrier`: does
    /// an interface have a carrier; `None`: there is no such interface.
    pub fn are_cut(&self, has_carrier: impl Fn(&str) -> io::Result<Option<bool>>) -> bool {
        let mut count = 0;
        for name in &self.0 {
            match has_carrier(name) {
                Ok(Some(false)) => count += 1,
                Ok(None) => {}
                // What the kernel does not tell is taken to be well.
                Ok(Some(true)) | Err(_) => return false,
            }
        }
        count > 0
    }
}

/// Does the port of a bridge, whose directory is `port`, lead to other hosts?
fn is_uplink(port: &Path) -> bool {
    let names = fs::read_dir(port).into_iter().flatten().flatten();
    let mut names = names.map(|entry| entry.file_name());
    names.any(|name| name == "device" || name.as_encoded_bytes().starts_with(b"lower_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A tree as the kernel's, in which `lk0` is in a bridge with these interfaces, each with a file that it
    /// has.
    fn tree(ports: &[(&str, &str)]) -> tempfile::TempDir {
        let net = tempfile::tempdir().unwrap();
        let brif = net.path().join("br0/brif");
        fs::create_dir_all(&brif).unwrap();
        for (name, file) in ports.iter().chain(&[("lk0", "tun_flags")]) {
            let port = net.path().join(name);
            fs::create_dir(&port).unwrap();
            fs::write(port.join(file), "").unwrap();
            symlink(net.path().join("br0"), port.join("master")).unwrap();
            fs::create_dir(brif.join(name)).unwrap();
        }
        net
    }

    #[test]
    fn uplinks_are_the_devices_and_what_rests_on_others_in_the_bridge_of_the_tap() {
        let net = tree(&[
            ("eth0", "device"),
            ("bond0.5", "lower_bond0"),
            ("lk1", "tun_flags"),
            ("veth7", "peer"),
        ]);
        let Uplinks(mut names) = Uplinks::of(net.path(), "lk0");
        names.sort();
        assert_eq!(names, ["bond0.5", "eth0"]);
        assert_eq!(
            Uplinks::of(net.path(), "lk9"),
            Uplinks::default(),
            "there is none"
        );
        fs::remove_file(net.path().join("lk0/master")).unwrap();
        assert_eq!(Uplinks::of(net.path(), "lk0"), Uplinks::default(), "in no bridge");
    }

    #[test]
    fn a_bridge_with_more_uplinks_than_are_looked_at_is_taken_to_be_well() {
        let names: Vec<String> = (0..=UPLINKS_MAX).map(|number| format!("eth{number}")).collect();
        let ports: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "device")).collect();
        let Uplinks(most) = Uplinks::of(tree(&ports[1..]).path(), "lk0");
        assert_eq!(most.len(), UPLINKS_MAX);
        assert_eq!(Uplinks::of(tree(&ports).path(), "lk0"), Uplinks::default());
    }

    #[test]
    fn uplinks_are_cut_when_none_that_is_there_has_a_carrier() {
        let uplinks = Uplinks(vec!["a".into(), "b".into()]);
        let cut =
            |a: Option<bool>, b: Option<bool>| uplinks.are_cut(|name| Ok(if name == "a" { a } else { b }));
        assert!(cut(Some(false), Some(false)));
        assert!(!cut(Some(false), Some(true)));
        assert!(cut(Some(false), None), "one is gone");
        assert!(!cut(None, None), "all are gone, and others may have come");
        assert!(!uplinks.are_cut(|_| Err(io::ErrorKind::PermissionDenied.into())));
        assert!(
            !Uplinks::default().are_cut(|_| Ok(Some(false))),
            "the host's own business"
        );
    }
}
