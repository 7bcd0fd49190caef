//! VMs whose disk and whose arbiter are at a disk server: it is killed while they run, a half dies, and a
//! half that stood still may not come back. All processes of VMs are in the sandbox.

use std::net::TcpListener;

use super::*;

/// A site with a disk server, which is the arbiter too.
struct Stored {
    site: Site,
    server: Option<Replica>,
    listen: String,
}

impl Stored {
    fn new() -> Stored {
        // A port that nobody else has at this moment.
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = probe.local_addr().unwrap().to_string();
        drop(probe);
        let mut site = Site::new();
        site.arbiter = format!("lockstep://{listen},key={}", site.path("key").display());
        std::fs::File::create(site.path("vda"))
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
        let text = format!(
            "listen = '{listen}'\nkey = 'key'\nstate = 'state'\n\
             [[export]]\nname = 'shop/vda'\nvm = 'vm'\npath = 'vda'\n"
        );
        std::fs::write(site.path("disks.toml"), text).unwrap();
        let mut stored = Stored {
            site,
            server: None,
            listen,
        };
        assert!(stored.command().arg("--init").status().unwrap().success());
        stored.start();
        stored
    }

    fn command(&self) -> Command {
        let mut command = self.site.program();
        command.arg("disk-server").arg(self.site.path("disks.toml"));
        command
    }

    fn start(&mut self) {
        let mut server = Replica::start(&mut self.command());
        let stdout = server.child.stdout.take().unwrap();
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert!(
            line.starts_with("lockstep: offers 1 disk to Lockstep at"),
            "{line}"
        );
        self.server = Some(server);
    }

    fn kill(&mut self) {
        // Dropping it kills it.
        self.server = None;
    }

    fn half(&self, role: &str, address: &str) -> Command {
        let mut half = self.site.half(role, address);
        half.args(["--disk", &format!("lockstep://{}/shop/vda", self.listen)]);
        half
    }

    fn pair(&self) -> (Replica, Replica) {
        let mut backup = Replica::start(&mut self.half("backup", "127.0.0.1:0"));
        let line = backup.says("waiting for the primary on");
        let address = line.rsplit(' ').next().unwrap().to_owned();
        let mut primary = Replica::start(&mut self.half("primary", &address));
        primary.says("paired with");
        backup.says("paired with");
        primary.echoes(b'a');
        (primary, backup)
    }

    /// Checks which epoch the server lets write.
    fn admits(&self, epoch: u64) {
        let text = std::fs::read_to_string(self.site.path("state/fences/vm")).unwrap();
        assert!(text.contains(&format!("\nepoch {epoch}\n")), "{text}");
    }
}

#[test]
fn a_server_that_is_killed_is_not_missed_and_gives_the_vm_and_its_disk_to_the_backup() {
    // FT 2.3-e
    let mut stored = Stored::new();
    let (mut primary, mut backup) = stored.pair();
    stored.admits(1);
    stored.kill();
    for _ in 0..20 {
        primary.echoes(b'b');
    }
    stored.start();
    primary.signal(Signal::KILL);
    backup.says("this side is live, epoch 2");
    backup.echoes(b'c');
    stored.admits(2);
    backup.types(b"o");
    backup.ends_well();
}

#[test]
fn a_backup_waits_for_its_server_and_goes_on_when_it_is_back() {
    let mut stored = Stored::new();
    let (primary, mut backup) = stored.pair();
    stored.kill();
    primary.signal(Signal::KILL);
    backup.says("the guest stands");
    stored.start();
    backup.says("this side is live, epoch 2");
    backup.echoes(b'c');
    stored.admits(2);
    backup.types(b"o");
    backup.ends_well();
}

#[test]
fn a_primary_that_stood_still_ends_when_it_goes_on() {
    let stored = Stored::new();
    let (mut primary, mut backup) = stored.pair();
    primary.stands_still();
    backup.says("this side is live, epoch 2");
    stored.admits(2);
    primary.signal(Signal::CONT);
    let (status, said) = primary.ends();
    assert_eq!(status.code(), Some(3), "{said}");
    backup.echoes(b'c');
    backup.types(b"o");
    backup.ends_well();
}

#[test]
fn a_server_without_its_state_does_not_start_and_state_is_made_once() {
    let mut stored = Stored::new();
    stored.kill();
    let complaint = |command: &mut Command| {
        let done = command.output().unwrap();
        assert_eq!(done.status.code(), Some(1));
        String::from_utf8(done.stderr).unwrap()
    };
    let said = complaint(stored.command().arg("--init"));
    assert!(said.contains("has the state of a disk server already"), "{said}");
    std::fs::rename(stored.site.path("state"), stored.site.path("away")).unwrap();
    let said = complaint(&mut stored.command());
    assert!(said.contains("has no state of a disk server"), "{said}");
    std::fs::rename(stored.site.path("away"), stored.site.path("state")).unwrap();
    stored.start();
    let said = complaint(&mut stored.command());
    assert!(said.contains("another process is the disk server of"), "{said}");
}
