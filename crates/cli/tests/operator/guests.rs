//! The guests that operators deal with here: a few instructions each, put together by hand. They run without
//! a kernel, so that a test needs no image.

/// Encodes instructions. Registers and immediates are as in the manual; offsets of branches are in bytes.
pub fn lui(rd: u32, upper: u32) -> u32 {
    upper << 12 | rd << 7 | 0x37
}
fn immediate(opcode: u32, funct: u32, rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | funct << 12 | rd << 7 | opcode
}
pub fn addi(rd: u32, rs1: u32, imm: i32) -> u32 {
    immediate(0x13, 0, rd, rs1, imm)
}
fn andi(rd: u32, rs1: u32, imm: i32) -> u32 {
    immediate(0x13, 7, rd, rs1, imm)
}
fn lbu(rd: u32, rs1: u32, imm: i32) -> u32 {
    immediate(0x03, 4, rd, rs1, imm)
}
fn lw(rd: u32, rs1: u32, imm: i32) -> u32 {
    immediate(0x03, 2, rd, rs1, imm)
}
fn store(funct: u32, rs2: u32, rs1: u32, imm: u32) -> u32 {
    imm >> 5 << 25 | rs2 << 20 | rs1 << 15 | funct << 12 | (imm & 31) << 7 | 0x23
}
fn sb(rs2: u32, rs1: u32, imm: u32) -> u32 {
    store(0, rs2, rs1, imm)
}
pub fn sw(rs2: u32, rs1: u32, imm: u32) -> u32 {
    store(2, rs2, rs1, imm)
}
fn branch(funct: u32, rs1: u32, rs2: u32, offset: i32) -> u32 {
    let bits = offset as u32;
    (bits >> 12 & 1) << 31
        | (bits >> 5 & 63) << 25
        | rs2 << 20
        | rs1 << 15
        | funct << 12
        | (bits >> 1 & 15) << 8
        | (bits >> 11 & 1) << 7
        | 0x63
}
fn beq(rs1: u32, rs2: u32, offset: i32) -> u32 {
    branch(0, rs1, rs2, offset)
}
fn bne(rs1: u32, rs2: u32, offset: i32) -> u32 {
    branch(1, rs1, rs2, offset)
}

/// A firmware that sends back every byte it gets on its serial line, and at an `o` switches the machine off.
pub fn echo() -> Vec<u8> {
    let (uart, plic, claim, byte, id) = (5, 6, 7, 28, 29);
    let words = [
        // Interrupt 10, the UART's, gets a priority and is enabled for this hart; so is the UART's receiver.
        lui(uart, 0x10000),
        lui(plic, 0xc000),
        addi(byte, 0, 1),
        sw(byte, plic, 40),
        lui(claim, 0xc002),
        addi(byte, 0, 1024),
        sw(byte, claim, 0),
        addi(byte, 0, 1),
        sb(byte, uart, 1),
        // mie.MEIE, so that `wfi` ends.
        lui(byte, 1),
        addi(byte, byte, -2048),
        immediate(0x73, 2, 0, byte, 0x304),
        lui(claim, 0xc200),
        // wait: `wfi`, and claim the interrupt.
        0x1050_0073,
        lw(id, claim, 4),
        // more: a byte? If not, go to `done`; if it is no 'o', send it back and go to `more`.
        lbu(byte, uart, 5),
        andi(byte, byte, 1),
        beq(byte, 0, 36),
        lbu(byte, uart, 0),
        sb(byte, uart, 0),
        addi(byte, byte, -i32::from(b'o')),
        bne(byte, 0, -24),
        // off
        lui(plic, 0x100),
        lui(byte, 5),
        addi(byte, byte, 0x555),
        sw(byte, plic, 0),
        // done: the interrupt is over; go to `wait`.
        sw(id, claim, 4),
        beq(0, 0, -56),
    ];
    words.map(u32::to_le_bytes).concat()
}

/// A firmware that writes a text to its serial line and then waits for ever.
pub fn writer(text: &str) -> Vec<u8> {
    let (uart, byte) = (5, 28);
    let mut words = vec![lui(uart, 0x10000)];
    for sign in text.bytes() {
        words.extend([addi(byte, 0, i32::from(sign)), sb(byte, uart, 0)]);
    }
    // `wfi`, over and over.
    words.extend([0x1050_0073, beq(0, 0, -4)]);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// What Linux writes when it finds no root file system.
pub const PANIC: &str = "[    0.5] Kernel panic - not syncing: no root\n\
                     [    0.6] ---[ end Kernel panic - not syncing: no root ]---\n";
