//! Kernels, firmware, initramfs, snapshots and disks that are missing or of no use.

use super::*;

#[test]
fn a_missing_file_is_named() {
    let sentence = complaint(&["run", "--kernel", "/nowhere/Image", "--firmware", "/nowhere/fw"]);
    assert_contains(&sentence, &["/nowhere/fw", "No such file"]);
    let sentence = complaint(&["run", "/nowhere/VM.toml"]);
    assert_contains(&sentence, &["/nowhere/VM.toml", "No such file"]);
    let sentence = complaint(&["replay", "/nowhere/log", "--firmware", "x"]);
    assert_contains(&sentence, &["/nowhere/log", "No such file"]);
}

#[test]
fn a_snapshot_that_is_none_is_refused_without_saying_it_twice() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let log = directory.path().join("log").display().to_string();
    let record = ["record", "--firmware", &firmware, "--serial", "none", "-o", &log];
    assert_eq!(lockstep(&record).status.code(), Some(0));
    let empty = file(directory.path(), "empty", "");
    let sentence = complaint(&["replay", &log, "--firmware", &firmware, "--from", &empty]);
    assert_contains(
        &sentence,
        &["cannot use the snapshot", "cannot be read to its end"],
    );
    let (_, cause) = sentence.split_once("to its end: ").unwrap();
    assert!(!cause.contains(": "), "{sentence}");
}

#[test]
fn nothing_to_boot_says_what_to_give() {
    assert_contains(&usage(&["run"]), &["nothing to boot", "--kernel"]);
}

#[test]
fn a_kernel_without_a_root_file_system_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let (firmware, kernel) = (
        power_off(directory.path()),
        file(directory.path(), "Image", [0; 64]),
    );
    let warned = |more: &[&str]| {
        let run = [
            "run",
            "--serial",
            "none",
            "--firmware",
            &firmware,
            "--kernel",
            &kernel,
        ];
        let output = lockstep(&[&run[..], more].concat());
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("warning: there is neither an initrd nor a disk")
    };
    assert!(warned(&[]));
    assert!(!warned(&["--initrd", &kernel]));
}

#[test]
fn a_kernel_that_is_none_is_refused_with_what_to_give() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let boot = |name: &str, content: &[u8]| {
        let kernel = file(directory.path(), name, content);
        let run = ["run", "--bios", &firmware, "--kernel", &kernel];
        let sentence = complaint(&[&run[..], &["--serial", "none"]].concat());
        assert_contains(&sentence, &[&kernel]);
        sentence
    };
    let begun = |start: &[u8]| [start, &[0; 4096]].concat();
    assert_contains(
        &boot("elf", &begun(b"\x7fELF")),
        &["another machine", "64-bit RISC-V"],
    );
    assert_contains(&boot("vmlinuz", &begun(b"\x1f\x8b\x08")), &["gzip", "damaged"]);
    assert_contains(&boot("kernel.xz", &begun(b"\xfd7zXZ\0")), &["xz", "unxz"]);
    assert_contains(&boot("initrd", &begun(b"070701")), &["initramfs", "initrd"]);
    assert_contains(&boot("notes", b"the kernel is elsewhere"), &["a text"]);
    assert_contains(&boot("nothing", b""), &["is empty", "nothing"]);
}

#[test]
fn every_image_that_is_of_no_use_is_named_by_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let text = file(directory.path(), "notes.txt", "the firmware is elsewhere");
    let sentence = complaint(&["run", "--serial", "none", "--firmware", &text]);
    assert_contains(&sentence, &["the firmware", &text, "is a text"]);
    let initrd = file(directory.path(), "initrd.img", vec![1; 8 << 20]);
    let run = [
        "run",
        "--serial",
        "none",
        "--firmware",
        &firmware,
        "--memory",
        "4M",
    ];
    let sentence = complaint(&[&run[..], &["--kernel", &firmware, "--initrd", &initrd]].concat());
    assert_contains(&sentence, &["the initrd", &initrd, "give the guest more memory"]);
}

#[test]
fn without_firmware_flat_code_is_entered_also_when_compressed() {
    let directory = tempfile::tempdir().unwrap();
    let kernel = power_off(directory.path());
    assert!(
        Command::new("gzip")
            .args(["--keep", &kernel])
            .status()
            .unwrap()
            .success()
    );
    let vm = file(
        directory.path(),
        "VM.toml",
        "firmware = \"none\"\nserial = \"none\"\n",
    );
    for kernel in [kernel.clone(), format!("{kernel}.gz")] {
        for words in [
            &["run", "--firmware", "none", "--serial", "none"][..],
            &["run", &vm],
        ] {
            let output = lockstep(&[words, &["--kernel", &kernel]].concat());
            assert_eq!(output.status.code(), Some(0), "{kernel}: {output:?}");
        }
    }
}

#[test]
fn a_boot_loader_takes_no_kernel_beside_it() {
    for more in [
        ["--kernel", "Image"],
        ["--initrd", "initrd"],
        ["--append", "quiet"],
    ] {
        let sentence = usage(&[&["run", "--firmware", "uboot"], &more[..]].concat());
        assert_contains(
            &sentence,
            &["come from the disk", &format!("leave `{}` out", more[0])],
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let vm = file(
        directory.path(),
        "VM.toml",
        "firmware = \"uboot\"\nkernel = \"Image\"\n",
    );
    assert_contains(&usage(&["run", &vm]), &["leave `--kernel` out (or the line"]);
}

#[test]
fn what_cloud_init_could_not_use_is_refused_before_the_guest_begins() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let first = ["run", "--firmware", &firmware, "--serial", "none", "--cloud-init"];
    let refused = |files: &str| complaint(&[&first[..], &[files]].concat());
    assert_contains(
        &refused("/nowhere/user-data"),
        &["cannot read the user-data /nowhere/user-data", "No such file"],
    );
    let user_data = file(directory.path(), "user-data", "#cloud-config\n");
    assert_contains(
        &refused(&format!("{user_data},/nowhere/meta-data")),
        &["cannot read the meta-data /nowhere/meta-data"],
    );
    let unknown = file(directory.path(), "unknown", "users: []\n");
    assert_contains(
        &refused(&unknown),
        &[&unknown, "nothing that cloud-init knows", "`#cloud-config`"],
    );
    let packed = file(directory.path(), "packed", b"\x1f\x8b\x08");
    assert_contains(&refused(&packed), &[&packed, "UTF-8"]);
    let long = file(directory.path(), "long", "#!".repeat(20_000));
    assert_contains(&refused(&long), &[&long, "longer than 24576 bytes", "#include"]);
    let run = [&first[..], &[&user_data]].concat();
    assert_eq!(lockstep(&run).status.code(), Some(0));
    // Paths in VM.toml are relative to it.
    let vm = file(
        directory.path(),
        "VM.toml",
        "cloud_init = \"user-data,unknown\"\n",
    );
    let run = ["run", &vm, "--firmware", &firmware, "--serial", "none"];
    assert_eq!(lockstep(&run).status.code(), Some(0));
}

#[test]
fn a_disk_that_is_missing_odd_or_in_use_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let first = ["run", "--firmware", &firmware, "--serial", "none", "--disk"];
    let run = |disk: &str| complaint(&[&first[..], &[disk]].concat());
    assert_contains(&run("/nowhere/disk.raw"), &["/nowhere/disk.raw"]);
    let odd = file(directory.path(), "odd.raw", [7; 1000]);
    assert_contains(&run(&odd), &["odd.raw", "512", "truncate -s 1024"]);
    let empty = file(directory.path(), "empty.raw", "");
    assert_contains(&run(&empty), &["empty.raw is empty", "truncate -s 4G"]);
    // A device cannot be resized with `truncate`.
    let sentence = run("/dev/null");
    assert_contains(&sentence, &["/dev/null is a device without sectors", "attach"]);
    assert!(!sentence.contains("truncate"), "{sentence}");
    assert_eq!(std::fs::read(&odd).unwrap(), [7; 1000]);

    let spin = file(directory.path(), "spin.bin", 0x0000_006f_u32.to_le_bytes());
    let disk = file(directory.path(), "disk.raw", [7; 4096]);
    let mut owner = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["run", "--firmware", &spin, "--serial", "none", "--disk", &disk])
        .spawn()
        .unwrap();
    // The process writes who it is once it has the lock.
    let lock = directory.path().join("disk.raw.lock");
    while std::fs::read(&lock).is_ok_and(|text| text.is_empty()) || !lock.exists() {
        assert_eq!(owner.try_wait().unwrap(), None, "it has ended");
        std::thread::yield_now();
    }
    let refusal = complaint_with(4, &[&first[..], &[&disk]].concat());
    assert_contains(&refusal, &["disk.raw", "in use", &owner.id().to_string()]);
    owner.kill().unwrap();
    owner.wait().unwrap();
    // The lock of a dead owner keeps nobody out.
    assert_eq!(
        lockstep(&[
            "run",
            "--firmware",
            &firmware,
            "--serial",
            "none",
            "--disk",
            &disk
        ])
        .status
        .code(),
        Some(0)
    );
    assert_eq!(std::fs::read(&disk).unwrap(), [7; 4096]);
}

#[test]
fn an_image_is_refused_in_a_pair_and_a_hostile_one_everywhere() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let firmware = power_off(directory);
    let base = file(directory, "base.raw", vec![7; 1 << 20]);
    // A description of the machine says paths from where it is.
    let toml = format!("firmware = \"{firmware}\"\nserial = \"none\"\n");
    let with = |disk: &str| file(directory, "VM.toml", format!("{toml}disk = \"{disk}\"\n"));
    let output = lockstep(&["run", &with("base.raw,overlay=mine.qcow2")]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let image = directory.join("mine.qcow2");
    assert!(image.exists() && std::fs::read(&base).unwrap() == vec![7; 1 << 20]);
    let output = lockstep(&["run", &with("mine.qcow2")]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let sentence = complaint(&["run", &with("base.raw,overlay=VM.toml.qcow2,format=qcow2")]);
    assert_contains(&sentence, &["base.raw", "does not begin as a qcow2 image"]);
    let image_file = with("mine.qcow2");
    let shared = pair_flags(directory);
    let alone = flags(&["run", &image_file, "--name", "x"], &shared);
    let sentence = complaint(&alone);
    assert_contains(
        &sentence,
        &[
            "mine.qcow2",
            "can get one needs a raw disk",
            "qemu-img convert -O raw",
        ],
    );

    let mut hostile = std::fs::read(&image).unwrap();
    let name = b"/etc/shadow";
    let place = hostile.windows(8).position(|part| part == b"base.raw").unwrap();
    hostile[place..place + name.len()].copy_from_slice(name);
    hostile[16..20].copy_from_slice(&(name.len() as u32).to_be_bytes());
    std::fs::write(&image, hostile).unwrap();
    let sentence = complaint(&["run", &with("mine.qcow2")]);
    assert_contains(
        &sentence,
        &["mine.qcow2", "backing file `/etc/shadow`", "another directory"],
    );
    assert!(!directory.join("mine.qcow2.lock").exists());
}
