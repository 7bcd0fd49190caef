//! What is recorded of a model: the guests, and the machines that they run on.
//!
//! Together the guests use every instruction and every device. What the world does to each is in `world`.

use std::sync::Arc;

use isa_programs::{Program, image, layout::RAM_BYTES};
use machine::{Boot, Config, DiskConfig, NetConfig, Transport};

/// The seeds of the random programs: so many that every instruction is among them.
const SEEDS: std::ops::Range<u64> = 0..120;
/// Those of them whose programs do not end.
const ENDLESS: [u64; 2] = [46, 99];

/// A life to record.
pub struct Recording {
    /// The name of the log, which says what the guest is.
    pub name: &'static str,
    /// The machine, with its images.
    pub config: Config,
    /// Steps between two digests.
    pub digest_every: u64,
}

/// All lives that are recorded of a model.
pub fn all() -> Vec<Recording> {
    let seeds = SEEDS.filter(|seed| !ENDLESS.contains(seed));
    let programs: Vec<Program> = seeds.map(|seed| Program::new(seed, false)).collect();
    let instructions = file(&image(&programs, false));
    let devices = file(include_bytes!("../../../../tests/guests/devices.bin"));
    let harts = file(include_bytes!("../../../../tests/guests/harts.bin"));
    let numbers = file(include_bytes!("../../../../tests/guests/numbers.bin"));
    let server = file(include_bytes!("../../../../tests/guests/server.bin"));
    let recording = |name, digest_every, config| Recording {
        name,
        config,
        digest_every,
    };
    let firmware = |firmware: &Arc<[u8]>| Boot {
        firmware: Arc::clone(firmware),
        ..Boot::default()
    };
    let with_kernel = Boot {
        kernel: Arc::clone(&server),
        command_line: String::from("root=/dev/vda quiet"),
        ..firmware(&devices)
    };
    let without_firmware = Boot {
        kernel: Arc::clone(&harts),
        initrd: Arc::clone(&server),
        command_line: String::from("console=ttyS0"),
        ..Boot::default()
    };
    vec![
        recording(
            "instructions",
            100_000,
            bare(RAM_BYTES, 1, firmware(&instructions)),
        ),
        recording(
            "instructions-4-harts",
            200_000,
            bare(RAM_BYTES, 4, firmware(&instructions)),
        ),
        recording("numbers", 50_000, bare(4 << 20, 1, firmware(&numbers))),
        recording("server", 50_000, server_board(firmware(&server))),
        recording("devices", 20_000, board(Transport::Modern, firmware(&devices))),
        recording("devices-legacy", 20_000, board(Transport::Legacy, with_kernel)),
        recording("harts", 50_000, bare(8 << 20, 4, without_firmware)),
    ]
}

fn file(bytes: &[u8]) -> Arc<[u8]> {
    Arc::from(bytes)
}

/// A machine without disks and networks.
fn bare(memory: u64, harts: usize, boot: Boot) -> Config {
    Config {
        memory,
        harts,
        disks: Vec::new(),
        nets: Vec::new(),
        virtio: Transport::Modern,
        rng_seed: [7; 32],
        wall_clock_ns: 1_700_000_000_000_000_000,
        boot,
    }
}

/// The machine of the guest that uses every device.
fn board(virtio: Transport, boot: Boot) -> Config {
    let disk = |sectors, read_only, serial| DiskConfig {
        sectors,
        read_only,
        serial: String::from(serial),
    };
    let net = |last| NetConfig {
        mac: [2, 0, 0, 0, 0, last],
    };
    Config {
        disks: vec![
            disk(10_240, false, "first"),
            disk(64, true, "read-only, 20 bytes."),
        ],
        nets: vec![net(1), net(2)],
        virtio,
        ..bare(8 << 20, 1, boot)
    }
}

/// The machine of the simulator's server.
fn server_board(boot: Boot) -> Config {
    Config {
        disks: vec![DiskConfig {
            sectors: 8,
            read_only: false,
            serial: String::from("server"),
        }],
        nets: vec![NetConfig {
            mac: [2, 0, 0, 0, 0, 1],
        }],
        ..bare(4 << 20, 1, boot)
    }
}
