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
    start_with(site, role, peer, "")
}

fn start_with(site: &Site, role: &str, peer: Option<&str>, socket: &str) -> Replica {
    Replica::start_with(role, site.dir.path(), peer, false, &[(ECHOES, socket.as_ref())])
}

/// Connects to the console of `role`.
fn connect(site: &Site, role: &str) -> UnixStream {
    let path = site.dir.path().join(format!("{role}.socket"));
    loop {
        // Nothing tells when the socket is there, which is before the guest's first step.
        match UnixStream::connect(&path) {
            Ok(client) => return client,
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// Types more at the console of `role` than all queues on the way hold, and checks that all of it comes back.
fn paste(site: &Site, role: &str) {
    // The guest is switched off by its last byte; the lines make its UART send at once.
    let line = |n: usize| format!("{n:05} and what is typed in a line\n").into_bytes();
    let mut text: Vec<u8> = (0..12_000).flat_map(line).collect();
    text.push(guest::LAST);
    let mut client = connect(site, role);
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

#[test]
fn a_break_reaches_the_guests_of_a_pair_where_it_was_typed_and_only_by_the_escape_key() {
    for (socket, back) in [("keys", &b"a\x10h!"[..]), ("", b"a\x01bh!")] {
        let site = site();
        let mut backup = start_with(&site, "backup", None, socket);
        let address = backup.says("listening");
        let mut primary = start_with(&site, "primary", Some(&address), socket);
        let _cable = site.gateway.accept();
        let mut client = connect(&site, "primary");
        client.write_all(b"a\x01bh!").unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, back);
        assert_eq!(primary.says("ended"), "Some(Off(Off))");
        assert_eq!(backup.says("ended"), "Some(Off(Off))");
    }
}

#[test]
fn whoever_types_at_a_backup_is_told_that_it_leads_nowhere() {
    let site = site();
    let mut backup = start(&site, "backup", None);
    let address = backup.says("listening");
    let _primary = start(&site, "primary", Some(&address));
    let mut client = connect(&site, "backup");
    client.write_all(b"hello").unwrap();
    let mut told = [0; 100];
    let length = client.read(&mut told).unwrap();
    let told = String::from_utf8_lossy(&told[..length]);
    assert!(told.contains("this is the backup"), "{told}");
}

/// A guest that takes nothing of what is typed: it jumps to itself.
const HUNG: [u8; 4] = [0x6f, 0, 0, 0];

/// More than the guest, the recorder and the queues between them hold.
fn long_paste(then: &[u8]) -> Vec<u8> {
    [&vec![b'y'; 300 << 10], then].concat()
}

#[test]
fn the_quit_key_is_heard_behind_a_paste_that_a_hung_guest_does_not_take() {
    let site = site();
    std::fs::write(site.dir.path().join("firmware"), HUNG).unwrap();
    let mut alone = start_with(&site, "run", None, "keys");
    let mut client = connect(&site, "run");
    client.write_all(&long_paste(b"\x01x")).unwrap();
    assert_eq!(alone.says("ended"), "Some(Off(Off))");
}

#[test]
fn the_answer_to_the_quit_key_is_typed_behind_it_and_not_a_letter_of_the_paste_before_it() {
    let site = site();
    std::fs::write(site.dir.path().join("firmware"), HUNG).unwrap();
    let mut backup = start_with(&site, "backup", None, "keys");
    let address = backup.says("listening");
    let mut primary = start_with(&site, "primary", Some(&address), "keys");
    let _cable = site.gateway.accept();
    let mut client = connect(&site, "primary");
    client.write_all(&long_paste(b"\x01xn\x01xy")).unwrap();
    assert_eq!(primary.says("ended"), "Some(Off(Off))");
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
    let events = site.events("primary").into_iter();
    let stops = events.filter(|event| event["event"] == "stop");
    let courses: Vec<_> = stops
        .map(|event| event["course"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(courses, ["ask-back", "go-on", "ask-back", "power-off"]);
}

#[test]
fn a_break_is_heard_behind_a_paste_and_whoever_types_is_told_what_it_has_overtaken() {
    let site = site();
    std::fs::write(site.dir.path().join("firmware"), HUNG).unwrap();
    let _alone = start_with(&site, "run", None, "keys");
    let mut client = connect(&site, "run");
    client.write_all(&long_paste(b"\x01bh")).unwrap();
    let mut told = String::new();
    while !told.contains("that were typed before the break") {
        let mut some = [0; 200];
        let length = client.read(&mut some).unwrap();
        assert_ne!(length, 0, "{told}");
        told += &String::from_utf8_lossy(&some[..length]);
    }
}
