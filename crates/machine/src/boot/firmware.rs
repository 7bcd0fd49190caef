//! Where firmware, kernel, initrd and device tree lie in RAM, and what the firmware is told.
//!
//! Used once, when a machine is built, after [`validate`](super::validate) and before the first step. Nothing
//! here changes an image: they are placed as they were given.
//!
//! With a kernel the firmware must be OpenSBI's `fw_dynamic`, which reads `fw_dynamic_info` at `a2` and
//! enters the kernel in S-mode. Without one, any flat firmware (a `fw_payload`, U-Boot for M-mode, a test
//! program) runs alone in M-mode from the start of RAM, with `a2` = 0.
//!
//! Source: OpenSBI `docs/firmware/fw_dynamic.md` and `include/sbi/fw_dynamic.h` (version 2 of the structure).

use std::sync::Arc;

use hart::ram::BASE;

use super::{BootError, Layout, MEMORY_UNIT, fdt, image::Header};
use crate::{Config, narrow::wide};

/// `FW_DYNAMIC_INFO_MAGIC_VALUE`, "OSBI".
const INFO_MAGIC: u64 = 0x4942_534f;
/// The version of `struct fw_dynamic_info` that is written here.
const INFO_VERSION: u64 = 2;
/// `FW_DYNAMIC_INFO_NEXT_MODE_S`: OpenSBI enters the kernel in S-mode.
const NEXT_MODE_SUPERVISOR: u64 = 1;
/// Bytes to which the initrd is aligned.
const INITRD_ALIGNMENT: u64 = 0x1000;
/// Offset of fw_dynamic_info from the start of RAM: the last page before the lowest kernel.
const INFO_OFFSET: u64 = MEMORY_UNIT - 0x1000;
/// The device tree lies below this physical address, for the sake of firmware with 32-bit habits.
const FDT_END_MAX: u64 = 3 << 30;

/// Finds a place for everything.
///
/// # Errors
/// Says what is missing, malformed or too large.
pub fn layout(config: &Config) -> Result<Layout, BootError> {
    let boot = &config.boot;
    if boot.firmware.is_empty() {
        return Err(BootError::NoFirmware);
    }
    let kernel = if boot.kernel.is_empty() {
        None
    } else {
        Some(Header::read(&boot.kernel)?)
    };
    // First without addresses, to learn the size: the initrd's place depends on the FDT's.
    let size = wide(fdt::write(config, Some((u64::MAX, u64::MAX)))?.len());
    let end = (BASE + config.memory).min(FDT_END_MAX);
    let too_large = |what, needs: u64, room| BootError::TooLarge { what, needs, room };
    let fdt_at = end
        .checked_sub(size)
        .map(|at| at - at % MEMORY_UNIT)
        .filter(|&at| at > BASE)
        .ok_or_else(|| too_large("device tree", size, config.memory))?;
    let initrd_size = wide(boot.initrd.len());
    let initrd_at = fdt_at
        .checked_sub(initrd_size)
        .map(|at| at - at % INITRD_ALIGNMENT)
        .filter(|&at| at >= BASE)
        .ok_or_else(|| too_large("initrd", initrd_size, fdt_at - BASE))?;
    let firmware_room = if kernel.is_some() {
        INFO_OFFSET
    } else {
        initrd_at - BASE
    };
    if wide(boot.firmware.len()) > firmware_room {
        return Err(too_large("firmware", wide(boot.firmware.len()), firmware_room));
    }
    let initrd = (initrd_size > 0).then(|| (initrd_at, initrd_at + initrd_size));
    let fdt = fdt::write(config, initrd)?;
    let mut images = vec![(BASE, boot.firmware.clone()), (fdt_at, Arc::from(fdt))];
    if initrd.is_some() {
        images.push((initrd_at, boot.initrd.clone()));
    }
    let mut info = 0;
    if let Some(header) = kernel {
        let kernel_room = (initrd_at - BASE).saturating_sub(header.text_offset);
        if header.size > kernel_room {
            return Err(too_large("kernel", header.size, kernel_room));
        }
        let kernel_at = BASE + header.text_offset;
        info = BASE + INFO_OFFSET;
        images.push((kernel_at, boot.kernel.clone()));
        images.push((info, dynamic_info(kernel_at)));
    }
    Ok(Layout {
        images,
        entry: BASE,
        fdt: fdt_at,
        info,
    })
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
    use crate::Boot;

    fn config(memory: u64, kernel: bool, initrd: usize) -> Config {
        let mut image = vec![0; 4096];
        image[16..24].copy_from_slice(&0x10_0000_u64.to_le_bytes());
        image[56..60].copy_from_slice(b"RSC\x05");
        Config {
            memory,
            harts: 2,
            disks: Vec::new(),
            nets: Vec::new(),
            rng_seed: [7; 32],
            wall_clock_ns: 0,
            boot: Boot {
                firmware: Arc::from(vec![1; 100_000]),
                kernel: if kernel { Arc::from(image) } else { Arc::default() },
                initrd: Arc::from(vec![2; initrd]),
                command_line: String::from("quiet"),
            },
        }
    }

    #[test]
    fn images_lie_apart_and_inside_ram() {
        for (memory, kernel, initrd) in [
            (8 << 20, true, 1 << 20),
            (64 << 20, true, 0),
            (16 << 30, true, 200 << 20),
            (4 << 20, false, 0),
        ] {
            let layout = layout(&config(memory, kernel, initrd)).unwrap();
            let mut ranges: Vec<_> = layout
                .images
                .iter()
                .map(|(at, bytes)| (*at, *at + bytes.len() as u64))
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
            assert_eq!(layout.info != 0, kernel);
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |memory, kernel, initrd| layout(&config(memory, kernel, initrd)).unwrap_err();
        assert!(matches!(
            error(4 << 20, true, 0),
            BootError::TooLarge { what: "kernel", .. }
        ));
        assert!(matches!(
            error(8 << 20, true, 7 << 20),
            BootError::TooLarge { what: "initrd", .. }
        ));
        assert!(matches!(
            error(2 << 20, true, 0),
            BootError::TooLarge {
                what: "device tree",
                ..
            }
        ));
        let mut none = config(8 << 20, true, 0);
        none.boot.firmware = Arc::default();
        assert_eq!(layout(&none).unwrap_err(), BootError::NoFirmware);
    }
}
