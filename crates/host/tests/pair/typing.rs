//! What is typed at a running VM, in every mode: a paste of any length arrives whole, and both halves of a
//! pair live through it alike.
//!
//! The guest is a real machine, since the toy has no UART: it sends back what it gets, slower than the client
//! types.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::guest;
use crate::replica::{ECHOES, Replica};
use crate::site::Site;

/// A site whose VM boots the guest that sends back what is typed.
fn site() -> Site {
    let site = Site::new();
    std::fs::write(site.dir.path().join("firmware"), guest::echoing()).unwrap();
    site
}

fn start(site: &Site, role: &str, peer: Option<&str>) -> Replica {
    Replica::start_with(role, site.dir.path(), peer, false, &[(ECHOES, "".as_ref())])
}

/// Types more at the console of `role` than all queues on the way hold, and checks that all of it comes back.
fn paste(site: &Site, role: &str) {
    // The guest is switched off by its last byte; the lines make its UART send at once.
    let line = |n: usize| format!("{n:05} and what is typed in a line\n").into_bytes();
    let mut text: Vec<u8> = (0..12_000).flat_map(line).collect();
    text.push(guest::LAST);
    let path = site.dir.path().join(format!("{role}.socket"));
    let mut client = loop {
        // Nothing tells when the socket is there, which is before the guest's first step.
        match UnixStream::connect(&path) {
            Ok(client) => break client,
            Err(_) => std::thread::yield_now(),
        }
    };
    let (mut typist, typed) = (client.try_clone().unwrap(), text.clone());
    let typist = std::thread::spawn(move || typist.write_all(&typed));
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    typist.join().unwrap().unwrap();
    assert!(back == text, "{} of {} bytes came back", back.len(), text.len());
}

#[test]
fn a_paste_into_a_vm_alone_arrives_whole_recorded_or_not() {
    for role in ["run", "record"] {
        let site = site();
        let mut replica = start(&site, role, None);
        let _cable = site.gateway.accept();
        paste(&site, role);
        assert_eq!(replica.says("ended"), "Some(Off(Off))");
    }
}

#[test]
fn a_paste_into_a_pair_arrives_whole_and_the_backup_does_not_part_from_it() {
    let site = site();
    let mut backup = start(&site, "backup", None);
    let address = backup.says("listening");
    let mut primary = start(&site, "primary", Some(&address));
    let _cable = site.gateway.accept();
    assert_eq!(backup.says("paired"), "1");
    paste(&site, "primary");
    assert_eq!(primary.says("ended"), "Some(Off(Off))");
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
}
