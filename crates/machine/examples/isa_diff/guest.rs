//! A guest's own programs on both machines: Linux boots, runs a script of programs that compute, and prints
//! what they say. The lines between the marks must be the same.
//!
//! The random programs say more about instructions; this says that compilers' code, libraries and a kernel
//! see the same computer.

use std::{error::Error, path::PathBuf, sync::atomic::AtomicBool};

use hart::{Engine, Interpreter, InterpreterOptions};
use machine::{Boot, Config, Effect, Input, Machine, Step, Stop};

use crate::{Options, cloner::Cloner, qemu};

/// What the guest runs instead of its init. Its image has busybox, and Redis if it is the appliance.
const SCRIPT: &str = include_str!("guest.sh");
const BEGIN: &str = "=== begin";
const END: &str = "=== end";
const COMMAND_LINE: &str = "console=ttyS0 quiet rdinit=/isa-diff-init";
const MEMORY: u64 = 512 << 20;
/// The rate of the guest's clock: a step takes 10 ns.
const RATE: u32 = u32::MAX / 10;
/// The step at which the guest counts as hung.
const STEPS_MAX: Step = Step(60_000_000_000);

/// How many steps lie at most between two acts of cloning, if that is asked for.
const SLICE: u64 = 300_007;

/// The files that the guest is made of.
pub struct Images {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub firmware: PathBuf,
}

/// Boots the guest on both machines and compares the lines between the marks; returns how many differ.
pub fn compare(options: &Options, images: &Images) -> Result<usize, Box<dyn Error>> {
    let mut initrd = std::fs::read(&images.initrd)?;
    // The kernel unpacks one archive after the other.
    initrd.resize(initrd.len().next_multiple_of(4), 0);
    initrd.extend(archive("isa-diff-init", SCRIPT.as_bytes()));
    let ours = between_marks(&ours(options, images, &initrd)?, "ours")?;
    let theirs = between_marks(&theirs(options, images, &initrd)?, "QEMU")?;
    let mut different = ours.len().abs_diff(theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs) {
        println!("ours   {ours}\ntheirs {theirs}");
        different += 1;
    }
    println!("{} lines of the guest's programs, {different} differ", ours.len());
    Ok(different)
}

fn ours(options: &Options, images: &Images, initrd: &[u8]) -> Result<String, Box<dyn Error>> {
    let config = Config {
        memory: MEMORY,
        harts: 1,
        disks: Vec::new(),
        nets: Vec::new(),
        virtio: machine::Transport::default(),
        rng_seed: [7; 32],
        wall_clock_ns: 0,
        boot: Boot {
            kernel: std::fs::read(&images.kernel)?.into(),
            firmware: std::fs::read(&images.firmware)?.into(),
            initrd: initrd.into(),
            command_line: String::from(COMMAND_LINE),
        },
    };
    let engine = || -> Box<dyn Engine> { Box::new(Interpreter::new(InterpreterOptions::default())) };
    let mut machine = Machine::new(config, engine())?;
    let mut cloner = options.clones.map(|seed| Cloner::new(seed, false));
    let mut console = Vec::new();
    machine.inject(Input::Clock { mtime: 0, rate: RATE });
    loop {
        let mut until = STEPS_MAX;
        if let Some(cloner) = &mut cloner {
            until = until.min(machine.now().after(SLICE));
            let clone = cloner.disturb(&mut machine, 200, &engine);
            // One that the guest has not run on since takes its place.
            machine = clone
                .filter(|clone| clone.now() == machine.now())
                .unwrap_or(machine);
        }
        match machine.run(until, &AtomicBool::new(false)) {
            Stop::Reached | Stop::Full if machine.now() < STEPS_MAX => {}
            Stop::Effects => {
                while let Some(effect) = machine.take_effect() {
                    match effect {
                        Effect::ConsoleWrite { bytes, .. } => console.extend(bytes),
                        Effect::EntropyWanted { bytes } => {
                            machine.inject(Input::Entropy {
                                bytes: vec![0x5a; bytes as usize],
                            });
                        }
                        _ => {}
                    }
                }
            }
            Stop::Waiting { wake_at: Some(mtime) } => machine.inject(Input::Clock { mtime, rate: RATE }),
            Stop::Off(_) => {
                eprintln!("{} clones", cloner.map_or(0, |cloner| cloner.clones));
                return Ok(String::from_utf8_lossy(&console).into_owned());
            }
            stop => {
                let end =
                    String::from_utf8_lossy(&console[console.len().saturating_sub(2000)..]).into_owned();
                return Err(format!("our guest ended with {stop:?}: {end}").into());
            }
        }
    }
}

fn theirs(options: &Options, images: &Images, initrd: &[u8]) -> Result<String, Box<dyn Error>> {
    let path = options
        .directory
        .join(format!("isa-diff-{}.cpio", std::process::id()));
    std::fs::write(&path, initrd)?;
    let arguments = [
        ("-kernel", images.kernel.as_os_str()),
        ("-initrd", path.as_os_str()),
        ("-bios", images.firmware.as_os_str()),
        ("-append", COMMAND_LINE.as_ref()),
    ];
    let lines = qemu::run(&options.qemu, &arguments, MEMORY);
    std::fs::remove_file(&path)?;
    Ok(lines?.join("\n"))
}

fn between_marks(console: &str, who: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let lines = console.lines().map(|line| line.trim_end_matches('\r'));
    let inside: Vec<String> = lines
        .skip_while(|&line| line != BEGIN)
        .take_while(|&line| line != END)
        .map(str::to_owned)
        .collect();
    if inside.len() < 2 || !console.contains(END) {
        return Err(format!("the guest of {who} has not come to the end:\n{console}").into());
    }
    Ok(inside)
}

/// A cpio archive (format newc) with one executable file.
fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, mode, content) in [(name, 0o100_755, content), ("TRAILER!!!", 0, &[][..])] {
        let links = 1;
        let size = content.len();
        let fields = [1, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name.len() + 1, 0];
        archive.extend(b"070701");
        archive.extend(
            fields
                .into_iter()
                .flat_map(|field| format!("{field:08x}").into_bytes()),
        );
        archive.extend(name.bytes().chain([0]));
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}
