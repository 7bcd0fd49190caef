//! Where firmware, kernel, initrd and device tree lie in RAM, and what the firmware is told.
//!
//! Used once, when a machine is built, after [`validate`](super::validate) and before the first step. What
//! the files are, [`program`](super::program) knows; nothing here changes one.
//!
//! With a firmware and a kernel, the firmware is entered, and enters the kernel in S-mode: OpenSBI's
//! `fw_dynamic` where `fw_dynamic_info` at `a2` says, its `fw_jump` at the place that it was built for, which
//! is that of flat kernels. A firmware alone (a `fw_payload`, U-Boot for M-mode, a test program) and a kernel
//! alone are entered in M-mode, with `a2` = 0.
//!
//! Source: OpenSBI `docs/firmware/fw_dynamic.md` and `include/sbi/fw_dynamic.h` (version 2 of the structure).

use std::{ops::Range, sync::Arc};

use hart::ram::BASE;

use super::{
    BootError, MEMORY_UNIT, fdt,
    program::{Piece, Program},
};
use crate::{Config, narrow::wide};

/// `FW_DYNAMIC_INFO_MAGIC_VALUE`, "OSBI".
const INFO_MAGIC: u64 = 0x4942_534f;
/// The version of `struct fw_dynamic_info` that is written here.
const INFO_VERSION: u64 = 2;
/// `FW_DYNAMIC_INFO_NEXT_MODE_S`: OpenSBI enters the kernel in S-mode.
const NEXT_MODE_SUPERVISOR: u64 = 1;
/// Bytes to which the initrd is aligned.
const INITRD_ALIGNMENT: u64 = 0x1000;
/// Bytes kept for fw_dynamic_info.
const INFO_BYTES: u64 = 0x1000;
/// The device tree lies below this physical address, for the sake of firmware with 32-bit habits.
const FDT_END_MAX: u64 = 3 << 30;

/// What must be in RAM and in the registers at the first step.
#[derive(Clone, Debug)]
pub struct Layout {
    /// What goes into RAM. No two pieces share an address, and all lie inside RAM.
    pub images: Vec<Piece>,
    /// The physical address of every hart's first instruction.
    pub entry: u64,
    /// The physical address of the device tree, for `a1`.
    pub fdt: u64,
    /// The physical address of fw_dynamic_info, for `a2`; 0: there is none.
    pub info: u64,
}

/// Finds a place for everything.
///
/// # Errors
/// Says what is missing, malformed or too large.
pub fn layout(config: &Config) -> Result<Layout, BootError> {
    let boot = &config.boot;
    let given = |file: &Arc<[u8]>| (!file.is_empty()).then(|| Arc::clone(file));
    let firmware = given(&boot.firmware)
        .map(|file| Program::firmware(&file, config.memory))
        .transpose()?;
    let kernel = given(&boot.kernel)
        .map(|file| Program::kernel(&file, config.memory, firmware.is_some()))
        .transpose()?;
    let entry = match (&firmware, &kernel) {
        (Some(program), _) | (None, Some(program)) => program.entry,
        (None, None) => return Err(BootError::NothingToBoot),
    };
    // The firmware is told of a kernel that it shall enter.
    let next = kernel
        .as_ref()
        .filter(|_| firmware.is_some())
        .map(|kernel| kernel.entry);
    let top = Top::new(config, next)?;
    let mut images = Vec::new();
    for (what, program) in [("firmware", firmware), ("kernel", kernel)] {
        let pieces = program.into_iter().flat_map(|program| program.pieces);
        images.extend(pieces.map(|piece| (what, piece)));
    }
    for (what, piece) in &images {
        top.check(what, piece)?;
    }
    apart(&mut images)?;
    for entry in next.into_iter().chain([entry]) {
        if entry % 2 != 0 || !(BASE..BASE + config.memory).contains(&entry) {
            return Err(BootError::Entry(entry));
        }
    }
    let pieces = images.into_iter().map(|(_, piece)| piece);
    Ok(Layout {
        images: pieces.chain(top.pieces).collect(),
        entry,
        fdt: top.fdt,
        info: top.info.unwrap_or(0),
    })
}

/// What lies at the end of RAM: the device tree, below it the initrd, and below that fw_dynamic_info.
struct Top {
    /// Where the device tree begins.
    fdt: u64,
    /// Where fw_dynamic_info is; `None`: there is none.
    info: Option<u64>,
    /// The addresses that all of it takes.
    taken: Range<u64>,
    /// The first address behind RAM.
    ram_end: u64,
    /// All of it, as it is loaded.
    pieces: Vec<Piece>,
}

impl Top {
    /// Finds a place for each. `next`: what fw_dynamic_info says to enter; `None`: there is none.
    ///
    /// # Errors
    /// If RAM is too small for them.
    fn new(config: &Config, next: Option<u64>) -> Result<Top, BootError> {
        // First without addresses, to learn the size: the initrd's place depends on the FDT's.
        let size = wide(fdt::write(config, Some((u64::MAX, u64::MAX)))?.len());
        let ram_end = BASE + config.memory;
        // Below an address, aligned, and above the start of RAM.
        let below = |what, end: u64, needs: u64, alignment: u64| {
            let at = end.checked_sub(needs).map(|at| at - at % alignment);
            at.filter(|&at| at > BASE).ok_or(BootError::TooLarge {
                what,
                needs,
                room: end.saturating_sub(BASE),
            })
        };
        let fdt_at = below("device tree", ram_end.min(FDT_END_MAX), size, MEMORY_UNIT)?;
        let initrd = &config.boot.initrd;
        let initrd_at = below("initrd", fdt_at, wide(initrd.len()), INITRD_ALIGNMENT)?;
        let place = (!initrd.is_empty()).then(|| (initrd_at, initrd_at + wide(initrd.len())));
        let tree = Arc::from(fdt::write(config, place)?);
        let mut top = Top {
            fdt: fdt_at,
            info: None,
            taken: initrd_at..fdt_at + size,
            ram_end,
            pieces: vec![Piece::whole(fdt_at, tree, 0)],
        };
        if place.is_some() {
            top.pieces.push(Piece::whole(initrd_at, Arc::clone(initrd), 0));
        }
        if let Some(next) = next {
            let at = below("fw_dynamic_info", initrd_at, INFO_BYTES, INFO_BYTES)?;
            top.pieces.push(Piece::whole(at, dynamic_info(next), 0));
            (top.info, top.taken.start) = (Some(at), at);
        }
        Ok(top)
    }

    /// Does a piece of a program lie in RAM, and apart from all this?
    fn check(&self, what: &'static str, piece: &Piece) -> Result<(), BootError> {
        let address = piece.address;
        if !(BASE..self.ram_end).contains(&address) {
            return Err(BootError::OutsideRam { what, address });
        }
        match piece.end().filter(|&end| end <= self.ram_end) {
            Some(end) if end <= self.taken.start || address >= self.taken.end => Ok(()),
            _ => Err(BootError::TooLarge {
                what,
                needs: piece.size,
                room: self.taken.start.saturating_sub(address),
            }),
        }
    }
}

/// Sorts pieces of programs, which lie in RAM, by their addresses.
///
/// # Errors
/// If two of them share an address.
fn apart(images: &mut [(&'static str, Piece)]) -> Result<(), BootError> {
    images.sort_by_key(|(_, piece)| piece.address);
    for pair in images.windows(2) {
        if let [(first, lower), (second, upper)] = pair
            && lower.end() > Some(upper.address)
        {
            let (first, second, at) = (*first, *second, upper.address);
            return Err(BootError::Overlap { first, second, at });
        }
    }
    Ok(())
}

/// `struct fw_dynamic_info`: the kernel at the physical address `next` comes next, hart 0 boots, no options.
fn dynamic_info(next: u64) -> Arc<[u8]> {
    [INFO_MAGIC, INFO_VERSION, next, NEXT_MODE_SUPERVISOR, 0, 0]
        .into_iter()
        .flat_map(u64::to_le_bytes)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Boot,
        boot::{
            elf::tests::elf,
            image::tests::image,
            unpack::tests::{gzip, zboot},
        },
    };

    /// Flat code: `auipc sp, 9` and nothing else.
    const CODE: [u8; 4] = [0x17, 0x91, 0, 0];
    const FIRMWARE_BYTES: usize = 100_000;

    fn config(memory: u64, kernel: Vec<u8>, initrd: usize) -> Config {
        let mut firmware = vec![0x13; FIRMWARE_BYTES];
        firmware[..4].copy_from_slice(&CODE);
        Config {
            memory,
            harts: 2,
            disks: Vec::new(),
            nets: Vec::new(),
            virtio: crate::Transport::default(),
            rng_seed: [7; 32],
            wall_clock_ns: 0,
            boot: Boot {
                firmware: Arc::from(firmware),
                kernel: Arc::from(kernel),
                initrd: Arc::from(vec![2; initrd]),
                command_line: String::from("quiet"),
            },
        }
    }

    fn without_firmware(memory: u64, kernel: Vec<u8>) -> Config {
        let mut config = config(memory, kernel, 0);
        config.boot.firmware = Arc::default();
        config
    }

    /// Where the kernel's first byte is, and what the firmware was told to enter.
    fn kernel_and_next(layout: &Layout) -> (u64, u64) {
        let piece = |at: u64| layout.images.iter().find(|piece| piece.address == at).unwrap();
        let info = piece(layout.info).bytes();
        let next = u64::from_le_bytes(*info[16..].first_chunk().unwrap());
        (piece(next).address, next)
    }

    #[test]
    fn images_lie_apart_and_inside_ram() {
        let kernel = || image(0, 0x10_0000);
        for (memory, kernel, initrd) in [
            (8 << 20, kernel(), 1 << 20),
            (64 << 20, kernel(), 0),
            (16 << 30, kernel(), 200 << 20),
            (4 << 20, Vec::new(), 0),
        ] {
            let has_kernel = !kernel.is_empty();
            let layout = layout(&config(memory, kernel, initrd)).unwrap();
            let mut ranges: Vec<_> = layout
                .images
                .iter()
                .map(|piece| (piece.address, piece.end().unwrap()))
                .collect();
            ranges.sort_unstable();
            assert!(
                ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0),
                "{ranges:x?}"
            );
            assert!(
                ranges
                    .iter()
                    .all(|&(from, to)| from >= BASE && to <= BASE + memory)
            );
            assert_eq!(layout.fdt % MEMORY_UNIT, 0);
            assert_eq!(layout.entry, BASE);
            assert_eq!(layout.info != 0, has_kernel);
        }
    }

    #[test]
    fn every_form_of_a_kernel_is_entered_where_it_wants_to_lie() {
        let stub = {
            let mut stub = image(0x40_0000, 0x1234);
            stub[..2].copy_from_slice(b"MZ");
            stub
        };
        let flat = [&CODE[..], &[0; 100]].concat();
        let linked = elf(0x8060_0000, &[(0x8060_0000, 0x8060_0000, &CODE, 0x2000)]);
        for (kernel, at) in [
            (image(0, 0x1234), 0x8020_0000),
            (gzip(&image(0, 0x1234)), 0x8020_0000),
            (gzip(&stub), 0x8040_0000),
            (zboot(b"gzip", &gzip(&stub)), 0x8040_0000),
            (stub, 0x8040_0000),
            (flat.clone(), 0x8020_0000),
            (gzip(&flat), 0x8020_0000),
            (gzip(&linked), 0x8060_0000),
            (linked, 0x8060_0000),
        ] {
            let layout = layout(&config(64 << 20, kernel, 5000)).unwrap();
            assert_eq!(kernel_and_next(&layout), (at, at));
            assert_eq!(layout.entry, BASE, "the firmware comes first");
        }
    }

    #[test]
    fn a_firmware_may_be_an_elf_file_too() {
        let mut config = config(64 << 20, image(0, 0x1234), 0);
        config.boot.firmware = elf(0x8000_0010, &[(0x8000_0000, 0x8000_0000, &[0x13; 64], 0x1000)]).into();
        let layout = layout(&config).unwrap();
        assert_eq!(layout.entry, 0x8000_0010);
        assert_eq!(kernel_and_next(&layout).1, 0x8020_0000);
    }

    #[test]
    fn a_kernel_without_firmware_is_entered_itself() {
        let flat = [&CODE[..], &[0; 100]].concat();
        let linked = elf(0x8000_0004, &[(0x8000_0000, 0x8000_0000, &[0x13; 64], 0x2000)]);
        for (kernel, entry) in [
            (flat, BASE),
            (image(0, 0x1234), BASE),
            (image(0x20_0000, 0x1234), BASE + 0x20_0000),
            (linked, BASE + 4),
        ] {
            let layout = layout(&without_firmware(64 << 20, kernel)).unwrap();
            assert_eq!((layout.entry, layout.info), (entry, 0));
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |memory, kernel, initrd| layout(&config(memory, kernel, initrd)).unwrap_err();
        let kernel = || image(0, 0x10_0000);
        assert!(matches!(
            error(4 << 20, kernel(), 0),
            BootError::TooLarge { what: "kernel", .. }
        ));
        assert!(matches!(
            error(8 << 20, kernel(), 7 << 20),
            BootError::TooLarge { what: "initrd", .. }
        ));
        assert!(matches!(
            error(2 << 20, kernel(), 0),
            BootError::TooLarge {
                what: "device tree",
                ..
            }
        ));
        assert_eq!(
            layout(&without_firmware(8 << 20, Vec::new())).unwrap_err(),
            BootError::NothingToBoot
        );
    }

    #[test]
    fn elf_files_that_lie_wrong_are_named() {
        let at = |address: u64| elf(address, &[(address, address, &CODE, 0x1000)]);
        let with = |kernel| layout(&config(64 << 20, kernel, 0)).unwrap_err();
        let overlap = BootError::Overlap {
            first: "firmware",
            second: "kernel",
            at: BASE,
        };
        assert_eq!(with(at(BASE)), overlap);
        assert!(overlap.to_string().contains("--firmware none"));
        for address in [0x1000, 0xffff_ffff_8000_0000, BASE + (64 << 20)] {
            let outside = BootError::OutsideRam {
                what: "kernel",
                address,
            };
            assert_eq!(with(at(address)), outside);
        }
        let huge = elf(BASE + 0x20_0000, &[(0, BASE + 0x20_0000, &CODE, u64::MAX)]);
        assert!(matches!(with(huge), BootError::TooLarge { what: "kernel", .. }));
        let odd = elf(BASE + 0x20_0001, &[(0, BASE + 0x20_0000, &CODE, 0x1000)]);
        assert_eq!(with(odd), BootError::Entry(BASE + 0x20_0001));
        let twice = elf(
            BASE + 0x20_0000,
            &[
                (0, BASE + 0x20_0000, &CODE, 0x1000),
                (0, BASE + 0x20_0ff0, &CODE, 0x1000),
            ],
        );
        assert!(matches!(with(twice), BootError::Overlap { second: "kernel", .. }));
    }

    #[test]
    fn a_kernel_that_unpacks_to_more_than_the_memory_is_refused() {
        let bomb = gzip(&vec![0x13; 32 << 20]);
        let error = layout(&config(8 << 20, bomb, 0)).unwrap_err();
        assert!(
            matches!(error, BootError::TooLarge { what: "kernel", .. }),
            "{error}"
        );
    }
}
