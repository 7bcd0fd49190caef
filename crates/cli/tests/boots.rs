//! Disks that boot by themselves, and what cloud-init in the guest is told: U-Boot is fetched if this host
//! has none, reads the disk for cloud-init, and switches the machine off; and a backup of a guest that runs
//! gets that disk by its content, whatever has become of the files.

mod site;

use std::io::{Read, Write};
use std::process::Stdio;

use site::{Running, Site};

/// A firmware that waits for ever: `j .`
const WAITS: [u32; 1] = [0x0000_006f];

impl Site {
    /// A process that waits for whichever VM comes, and its address. It has a runtime directory of its own,
    /// as if it ran on another host.
    fn attends(&self, host: &str) -> (Running, String) {
        let words = "backup --listen 127.0.104.1:0 --serial none --key {key}";
        let mut child = self
            .lockstep(words)
            .env("XDG_RUNTIME_DIR", self.path(host))
            .spawn()
            .unwrap();
        let errors = std::io::BufReader::new(child.stderr.take().unwrap());
        let mut running = Running { child, errors };
        let listens = running.says("waiting for the primary on ");
        (running, listens.rsplit(' ').next().unwrap().to_owned())
    }

    /// Has the VM web, whose process is on this host, get a backup at this address.
    fn protects(&self, host: &str, address: &str) {
        let mut command = self.lockstep(&format!("protect web --to {address}"));
        let output = command.env("XDG_RUNTIME_DIR", self.path(host)).output().unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{told}");
    }
}

/// Reads from the console until it has shown this, and gives all that it has shown since the last time.
fn shows(console: &mut impl Read, what: &str) -> String {
    let mut shown = Vec::new();
    let mut byte = [0];
    loop {
        let text = String::from_utf8_lossy(&shown);
        if text.ends_with(what) {
            return text.into_owned();
        }
        assert_eq!(
            console.read(&mut byte).unwrap(),
            1,
            "it never showed `{what}`: {text}"
        );
        shown.extend(byte);
    }
}

#[test]
fn u_boot_reads_the_disk_for_cloud_init_and_powers_off() {
    let site = Site::new(&[]);
    let files = site.ends("image uboot --json").with(0);
    assert!(
        files.contains("/fw_dynamic.bin\"") && files.contains("/u-boot.bin\""),
        "{files}"
    );
    let user_data = "#cloud-config\nhostname: from-user-data\n";
    std::fs::write(site.path("user-data"), user_data).unwrap();
    let words = "run --name web --firmware uboot --cloud-init {user-data} --memory 256M";
    let mut child = site
        .lockstep(words)
        .stdin(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let (mut typed, mut console) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut says = |prompt: &str, answer: &str| {
        let shown = shows(&mut console, prompt);
        typed.write_all(answer.as_bytes()).unwrap();
        shown
    };
    says("Hit any key to stop autoboot", " ");
    says("=> ", "fatls virtio 0\n");
    let files = says("=> ", "fatload virtio 0 $loadaddr meta-data; md.b $loadaddr 40\n");
    assert!(
        files.contains(&format!("{}   user-data", user_data.len())),
        "{files}"
    );
    let content = says("=> ", "poweroff\n");
    assert!(content.contains("instance-id: \"w"), "{content}");
    let mut rest = String::new();
    console.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
}

#[test]
fn a_backup_gets_what_cloud_init_was_told_though_the_file_is_gone() {
    let site = Site::new(&[("waits", &WAITS)]);
    std::fs::write(site.path("user-data"), "#!/bin/sh\necho \"told\"\n").unwrap();
    let owner = site.begins(
        "run --name web --memory 16M --serial none --firmware {waits} --arbiter {arbiter} --key {key} \
         --cloud-init {user-data}",
    );
    let (mut second, address) = site.attends("second");
    let runs = |output: &[u8]| String::from_utf8_lossy(output).contains("\"guest\":\"running\"");
    while !runs(&site.ends("status web --json").0.stdout) {
        std::thread::yield_now();
    }
    std::fs::remove_file(site.path("user-data")).unwrap();
    site.protects("run", &address);
    owner.dies();
    second.says("this side is live");
    // The survivor gives on what it was given.
    let (mut third, address) = site.attends("third");
    site.protects("second", &address);
    second.dies();
    third.says("this side is live");
}
