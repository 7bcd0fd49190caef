//! Writes the device tree of a machine to standard output: `fdt 2 | dtc -I dtb`.
#![allow(clippy::disallowed_methods, reason = "an example is a host")]

use std::io::Write;

use machine::{Boot, Config, parts::fdt};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let harts = std::env::args().nth(1).map_or(Ok(1), |harts| harts.parse())?;
    let boot = Boot {
        command_line: String::from("console=ttyS0"),
        ..Boot::default()
    };
    let config = Config {
        memory: 1 << 30,
        harts,
        disks: Vec::new(),
        nets: Vec::new(),
        virtio: machine::Transport::default(),
        rng_seed: [0xab; 32],
        wall_clock_ns: 0,
        boot,
    };
    let tree = fdt::write(&config, Some((0x8800_0000, 0x8900_0000)))?;
    std::io::stdout().write_all(&tree)?;
    Ok(())
}
