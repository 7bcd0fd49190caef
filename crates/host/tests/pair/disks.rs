//! How replicas open the disk that they share.
//!
//! Seen in `/proc`, because no request shows it: only a host that dies would.

#[path = "../../../disk/tests/support/mod.rs"]
mod flags;

use flags::{O_DIRECT, O_DSYNC, open_flags};

use crate::replica::{Replica, ask};
use crate::site::Site;

#[test]
fn both_halves_of_a_pair_have_its_disk_open_past_the_page_cache_and_a_vm_alone_has_not() {
    let site = Site::new();
    let path = site.dir.path().join("disk");
    let past_the_cache = |replica: &Replica| {
        let flags = open_flags(&replica.child.id().to_string(), &path);
        assert_eq!(flags.len(), 1, "{flags:?}");
        flags[0] & (O_DIRECT | O_DSYNC) != 0
    };
    let (mut primary, mut backup, mut cable) = site.pair(false);
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    assert!(past_the_cache(&primary) && past_the_cache(&backup));
    cable.send(b"o").unwrap();
    assert_eq!(primary.says("ended"), "Some(Off(Off))");
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
    let alone = site.start("run", None, false);
    let mut cable = site.gateway.accept();
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    assert!(!past_the_cache(&alone));
}
