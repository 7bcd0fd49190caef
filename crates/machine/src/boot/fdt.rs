//! The flattened device tree: the board as firmware and kernel are told of it, in the words that QEMU's
//! `virt` uses.
//!
//! [`firmware`](super::firmware) has it written when a machine is built. All numbers come from where the
//! board and its devices have theirs; none is written here a second time.
//!
//! Sources: Devicetree Specification 0.4; the bindings under Linux `Documentation/devicetree/bindings`
//! (riscv/cpus, riscv/extensions, interrupt-controller/sifive,plic-1.0.0, timer/sifive,clint, virtio/mmio,
//! power/reset/syscon-poweroff, rtc/google,goldfish-rtc, serial/8250).

use hart::{isa, ram::BASE};
use vm_fdt::FdtWriter;

use super::BootError;
use crate::{
    Config, board,
    clock::TICKS_PER_SECOND,
    config::VIRTIO_SLOTS,
    devices::{plic, syscon},
    irq::{Line, hart_line},
    narrow::{low8, low32, wide},
};

/// Phandles, by which nodes refer to each other: one for the PLIC.
const PLIC_PHANDLE: u32 = 1;
/// The phandle of the test device.
const TEST_PHANDLE: u32 = 2;
/// The phandle of the first hart; the others' follow.
const CPU_PHANDLE: u32 = 0x10;
/// The phandle of the first hart's interrupt controller; the others' follow.
const INTC_PHANDLE: u32 = 0x20;
/// The clock from which the UART's divisor would make a baud rate, if a byte took time.
const UART_CLOCK_HZ: u32 = 3_686_400;

type Result<T = ()> = std::result::Result<T, vm_fdt::Error>;

/// Writes the tree for this machine. `initrd`: the physical addresses where the initrd begins and ends.
///
/// # Errors
/// If a string of the configuration cannot stand in a tree.
pub fn write(config: &Config, initrd: Option<(u64, u64)>) -> std::result::Result<Vec<u8>, BootError> {
    tree(config, initrd).map_err(|error| BootError::Fdt(error.to_string()))
}

fn tree(config: &Config, initrd: Option<(u64, u64)>) -> Result<Vec<u8>> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_string("compatible", "riscv-virtio")?;
    fdt.property_string("model", "riscv-virtio,qemu")?;
    power(&mut fdt, "poweroff", "syscon-poweroff", syscon::PASS)?;
    power(&mut fdt, "reboot", "syscon-reboot", syscon::RESET)?;
    let memory = fdt.begin_node(&format!("memory@{BASE:x}"))?;
    fdt.property_string("device_type", "memory")?;
    fdt.property_array_u64("reg", &[BASE, config.memory])?;
    fdt.end_node(memory)?;
    cpus(&mut fdt, config.harts)?;
    let aliases = fdt.begin_node("aliases")?;
    fdt.property_string("serial0", &serial_path())?;
    fdt.end_node(aliases)?;
    chosen(&mut fdt, config, initrd)?;
    soc(&mut fdt, config.harts)?;
    fdt.end_node(root)?;
    fdt.finish()
}

/// The path of the UART's node.
fn serial_path() -> String {
    format!("/soc/serial@{:x}", board::UART)
}

/// A node that tells how the test device switches the machine off or resets it.
fn power(fdt: &mut FdtWriter, name: &str, compatible: &str, value: u32) -> Result {
    let node = fdt.begin_node(name)?;
    fdt.property_string("compatible", compatible)?;
    fdt.property_u32("regmap", TEST_PHANDLE)?;
    fdt.property_u32("offset", low32(syscon::FINISHER))?;
    fdt.property_u32("value", value)?;
    fdt.end_node(node)
}

/// The ids of the harts.
fn harts(count: usize) -> impl Iterator<Item = u32> {
    0..low32(wide(count))
}

fn cpus(fdt: &mut FdtWriter, count: usize) -> Result {
    let cpus = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 1)?;
    fdt.property_u32("#size-cells", 0)?;
    fdt.property_u32("timebase-frequency", low32(TICKS_PER_SECOND))?;
    for id in harts(count) {
        cpu(fdt, id)?;
    }
    let map = fdt.begin_node("cpu-map")?;
    let cluster = fdt.begin_node("cluster0")?;
    for id in harts(count) {
        let core = fdt.begin_node(&format!("core{id}"))?;
        fdt.property_u32("cpu", CPU_PHANDLE + id)?;
        fdt.end_node(core)?;
    }
    fdt.end_node(cluster)?;
    fdt.end_node(map)?;
    fdt.end_node(cpus)
}

fn cpu(fdt: &mut FdtWriter, id: u32) -> Result {
    let cpu = fdt.begin_node(&format!("cpu@{id:x}"))?;
    fdt.property_string("device_type", "cpu")?;
    fdt.property_u32("reg", id)?;
    fdt.property_string("status", "okay")?;
    fdt.property_string("compatible", "riscv")?;
    fdt.property_string("mmu-type", isa::MMU_TYPE)?;
    fdt.property_string("riscv,isa-base", isa::BASE)?;
    fdt.property_string("riscv,isa", &isa::string())?;
    fdt.property_string_list("riscv,isa-extensions", isa::extensions().collect())?;
    fdt.property_u32("riscv,cbom-block-size", low32(isa::BLOCK))?;
    fdt.property_u32("riscv,cboz-block-size", low32(isa::BLOCK))?;
    fdt.property_phandle(CPU_PHANDLE + id)?;
    let intc = fdt.begin_node("interrupt-controller")?;
    fdt.property_u32("#interrupt-cells", 1)?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_string("compatible", "riscv,cpu-intc")?;
    fdt.property_phandle(INTC_PHANDLE + id)?;
    fdt.end_node(intc)?;
    fdt.end_node(cpu)
}

fn chosen(fdt: &mut FdtWriter, config: &Config, initrd: Option<(u64, u64)>) -> Result {
    let chosen = fdt.begin_node("chosen")?;
    fdt.property_string("bootargs", &config.boot.command_line)?;
    fdt.property_string("stdout-path", &serial_path())?;
    fdt.property("rng-seed", &config.rng_seed)?;
    if let Some((start, end)) = initrd {
        fdt.property_u64("linux,initrd-start", start)?;
        fdt.property_u64("linux,initrd-end", end)?;
    }
    fdt.end_node(chosen)
}

fn soc(fdt: &mut FdtWriter, count: usize) -> Result {
    let soc = fdt.begin_node("soc")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_string("compatible", "simple-bus")?;
    fdt.property_null("ranges")?;

    let test = device(
        fdt,
        "test",
        board::TEST,
        board::SLOT_SIZE,
        &["sifive,test1", "sifive,test0", "syscon"],
    )?;
    fdt.property_phandle(TEST_PHANDLE)?;
    fdt.end_node(test)?;

    let rtc = device(fdt, "rtc", board::RTC, board::SLOT_SIZE, &["google,goldfish-rtc"])?;
    interrupt(fdt, Line::Rtc)?;
    fdt.end_node(rtc)?;

    let uart = device(fdt, "serial", board::UART, board::UART_SIZE, &["ns16550a"])?;
    fdt.property_u32("clock-frequency", UART_CLOCK_HZ)?;
    interrupt(fdt, Line::Uart)?;
    fdt.end_node(uart)?;

    let clint = device(
        fdt,
        "clint",
        board::CLINT,
        board::CLINT_SIZE,
        &["sifive,clint0", "riscv,clint0"],
    )?;
    fdt.property_array_u32(
        "interrupts-extended",
        &wires(count, [hart_line::MACHINE_SOFTWARE, hart_line::MACHINE_TIMER]),
    )?;
    fdt.end_node(clint)?;

    let plic = device(
        fdt,
        "plic",
        board::PLIC,
        board::PLIC_SIZE,
        &["sifive,plic-1.0.0", "riscv,plic0"],
    )?;
    fdt.property_u32("#address-cells", 0)?;
    fdt.property_u32("#interrupt-cells", 1)?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_u32("riscv,ndev", low32(plic::SOURCES))?;
    fdt.property_array_u32(
        "interrupts-extended",
        &wires(
            count,
            [hart_line::MACHINE_EXTERNAL, hart_line::SUPERVISOR_EXTERNAL],
        ),
    )?;
    fdt.property_phandle(PLIC_PHANDLE)?;
    fdt.end_node(plic)?;

    // Slot 0 first: Linux then names the first disk vda. (QEMU lists them the other way round.)
    for slot in 0..wide(VIRTIO_SLOTS) {
        let address = board::VIRTIO + slot * board::SLOT_SIZE;
        let node = device(fdt, "virtio_mmio", address, board::SLOT_SIZE, &["virtio,mmio"])?;
        interrupt(fdt, Line::Virtio(low8(slot)))?;
        fdt.end_node(node)?;
    }
    fdt.end_node(soc)
}

/// Begins the node of a device: its name, window and kind. The caller ends it.
fn device(
    fdt: &mut FdtWriter,
    name: &str,
    address: u64,
    size: u64,
    compatible: &[&str],
) -> Result<vm_fdt::FdtWriterNode> {
    let node = fdt.begin_node(&format!("{name}@{address:x}"))?;
    fdt.property_string_list(
        "compatible",
        compatible.iter().copied().map(String::from).collect(),
    )?;
    fdt.property_array_u64("reg", &[address, size])?;
    Ok(node)
}

/// Says which source of the PLIC the device is whose node was begun.
fn interrupt(fdt: &mut FdtWriter, line: Line) -> Result {
    fdt.property_u32("interrupt-parent", PLIC_PHANDLE)?;
    fdt.property_u32("interrupts", line.source())
}

/// Says which two interrupts (bits of `mip`) a controller drives in each hart.
fn wires(count: usize, causes: [u32; 2]) -> Vec<u32> {
    let [first, second] = causes;
    harts(count)
        .flat_map(|id| [INTC_PHANDLE + id, first, INTC_PHANDLE + id, second])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hart_is_described_in_both_forms_with_its_block_sizes() {
        let config = Config {
            memory: 64 << 20,
            harts: 2,
            disks: Vec::new(),
            nets: Vec::new(),
            virtio: crate::Transport::default(),
            rng_seed: [0; 32],
            wall_clock_ns: 0,
            boot: crate::Boot::default(),
        };
        let tree = write(&config, None).unwrap();
        let count = |bytes: &[u8]| {
            tree.windows(bytes.len())
                .filter(|window| *window == bytes)
                .count()
        };
        assert_eq!(count(format!("{}\0", isa::string()).as_bytes()), 2);
        let list: Vec<String> = isa::extensions().collect();
        assert_eq!(count(format!("{}\0", list.join("\0")).as_bytes()), 2);
        for name in ["riscv,cbom-block-size\0", "riscv,cboz-block-size\0"] {
            assert_eq!(count(name.as_bytes()), 1, "names are stored once: {name}");
        }
    }
}
