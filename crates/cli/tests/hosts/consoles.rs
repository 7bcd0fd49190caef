//! People at the console of a VM that runs on another host, and goes on elsewhere.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::process::ChildStdout;

use super::*;
use crate::terminal::pseudo_terminal;

/// Somebody at a terminal who is at a VM's console.
struct Person {
    keyboard: File,
    screen: Option<ChildStdout>,
    command: Running,
}

impl Person {
    fn at(cluster: &Cluster, host: &str, words: &str) -> Person {
        let (keyboard, end) = pseudo_terminal();
        let mut command = cluster.command(host, words);
        let mut child = command.stdin(end).spawn().unwrap();
        let screen = child.stdout.take().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let mut command = Running { child, errors };
        command.says("Ctrl-] leaves it");
        Person {
            keyboard,
            screen: Some(screen),
            command,
        }
    }

    fn types(&mut self, text: &[u8]) {
        self.keyboard.write_all(text).unwrap();
    }

    /// The next bytes on the screen are these.
    fn sees(&mut self, text: &[u8]) {
        let mut seen = vec![0; text.len()];
        self.screen.as_mut().unwrap().read_exact(&mut seen).unwrap();
        assert_eq!(seen, text);
    }

    fn ends(mut self, words: &str) {
        self.command.says(words);
        assert!(self.command.child.wait().unwrap().success());
    }
}

#[test]
fn a_console_follows_its_vm_and_one_person_at_a_time_types_there() {
    let mut cluster = Cluster::new(57);
    cluster.runs("echoes");
    cluster.at("a", "create {web.toml}").with(0);
    cluster.at("a", "start web --on a").with(0);
    let backup = cluster.protected("a", "a");
    let third = HOSTS
        .into_iter()
        .find(|host| *host != "a" && *host != backup)
        .unwrap();
    let mut ada = Person::at(&cluster, third, "console web");
    ada.types(b"1");
    ada.sees(b"1");
    let text = cluster.at(&backup, "console web").with(4);
    assert!(
        text.contains("has had the console of web for ") && text.contains("`--force` takes it"),
        "{text}"
    );
    let mut bob = Person::at(&cluster, &backup, "console web --force");
    ada.command.says("has taken the console; you watch");
    // What a person types who only watches reaches nobody.
    ada.types(b"lost");
    bob.types(b"2");
    ada.sees(b"2");
    bob.sees(b"12");
    // Twice planned, so that the first host's process is live for the second time.
    let expected = format!("[web is live on {backup}, ");
    for (expected, key) in [(expected.as_str(), b"a"), ("[web is live on a, ", b"b")] {
        cluster.at("a", "failover web").with(0);
        ada.command.says(expected);
        bob.command.says(expected);
        bob.types(key);
        ada.sees(key);
        bob.sees(key);
    }
    cluster.host_dies("a");
    let line = bob.command.says(&expected);
    assert!(line.ends_with(" ms]"), "{line}");
    ada.command.says(&expected);
    bob.types(b"3");
    bob.sees(b"3");
    ada.sees(b"3");
    bob.types(b"\x1d");
    bob.ends("you have left the console of web; the VM runs on");
    cluster.at(&backup, "stop web --hard --yes").with(0);
    ada.ends("web is off");
    let text = cluster.at(&backup, "console web").with(4);
    assert!(text.contains("web is not seen to run"), "{text}");
}

#[test]
fn a_guest_that_never_stops_writing_keeps_nobody_at_its_console() {
    let cluster = Cluster::new(59);
    cluster.runs("floods");
    cluster.at("a", "create {web.toml} --unprotected").with(0);
    cluster.at("a", "start web --on b").with(0);
    let mut ada = Person::at(&cluster, "a", "console web");
    ada.sees(&[b'x'; 1 << 20]);
    ada.types(b"\x1d");
    let mut screen = ada.screen.take().unwrap();
    let rest = std::thread::spawn(move || screen.read_to_end(&mut Vec::new()));
    ada.ends("you have left the console of web; the VM runs on");
    rest.join().unwrap().unwrap();
}

#[test]
fn what_comes_from_a_pipe_is_typed_as_it_is() {
    let cluster = Cluster::new(58);
    cluster.runs("echoes");
    cluster.at("a", "create {web.toml} --unprotected").with(0);
    cluster.at("a", "start web --on b").with(0);
    let mut command = cluster.command("a", "console web");
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    // Ctrl-] leaves nothing where no person types, and a long text waits until the guest takes it.
    let mut text = b"a\x1db".to_vec();
    text.extend((0..256 << 10).map(|number| b'a' + (number % 26) as u8));
    let mut stdin = child.stdin.take().unwrap();
    let typed = text.clone();
    let typing = std::thread::spawn(move || stdin.write_all(&typed));
    let mut seen = vec![0; text.len()];
    child.stdout.take().unwrap().read_exact(&mut seen).unwrap();
    assert!(seen == text);
    typing.join().unwrap().unwrap();
    cluster.at("b", "stop web --hard --yes").with(0);
    assert!(child.wait().unwrap().success());
}
