// A guest in machine mode that uses every device of the board, and every register of each, and notes what it
// sees. It lives through three boots: it resets itself, it is reset, it switches itself off. It knows both
// versions of virtio-mmio, and with the older one it goes off as failed.
//
// The board has disk 0 (10,240 sectors), disk 1 (64 sectors, read-only), two networks and the entropy device.
// Its world fails every request at disk 0 for sector 13, and does what `wish` asks for.
//
// The binary beside this file is made by gcc 12 for RISC-V and GNU binutils:
//   riscv64-linux-gnu-gcc -march=rv64imac_zicsr_zifencei -mabi=lp64 -mcmodel=medany -O1 -ffreestanding
//     -nostdlib -fno-pic -fno-builtin -fno-asynchronous-unwind-tables -static
//     -Wl,-N,--no-relax,--build-id=none -Wl,-Ttext=0x80000000 -o devices.elf devices.c
//   riscv64-linux-gnu-objcopy -O binary devices.elf devices.bin
#include "board.h"

BEGINNING;

#define BOOTS M64(SHARED)
#define SOFTWARE_COUNT M64(SHARED + 8)
#define TIMER_COUNT M64(SHARED + 16)
#define RECEIVED M64(SHARED + 24)
#define SEED M64(SHARED + 32)
#define SCRATCH 0x80280000ul
#define EXTERNAL_COUNT(source) M64(SHARED + 64 + 8 * (source))
#define QUEUES (SHARED + 0x10000)
#define BUFFERS (SHARED + 0x80000)
#define LARGE 0x80400000ul

static void external(void) {
    u32 source;
    while ((source = M32(PLIC_CLAIM(0))) != 0) {
        note(source);
        EXTERNAL_COUNT(source) += 1;
        if (source <= 8) {
            u32 why = M32(SLOT(source - 1) + 0x60);
            note(why);
            M32(SLOT(source - 1) + 0x64) = why;
        } else if (source == 10) {
            u8 why = M8(UART + 2), state = M8(UART + 5);
            note(why);
            note(state);
            note(M8(UART + 6));
            while (M8(UART + 5) & 1) {
                note(M8(UART));
                RECEIVED += 1;
            }
        } else {
            note(M32(RTC));
            M32(RTC + 0x1c) = 1;
        }
        M32(PLIC_CLAIM(0)) = source;
    }
}

u64 on_trap(u64 cause, u64 at, u64 value) {
    note(cause);
    note(at);
    if (!(cause & INTERRUPT)) {
        note(value);
        return behind(at);
    }
    switch (cause & 63) {
    case 3:
        SOFTWARE_COUNT += 1;
        M32(CLINT) = 0;
        break;
    case 5:
        TIMER_COUNT += 1;
        CSRW(0x14d, -1);
        break;
    case 7:
        TIMER_COUNT += 1;
        note(M64(MTIME));
        M64(MTIMECMP(0)) = -1;
        break;
    default:
        external();
    }
    return at;
}

// Waits until a number in memory is at least as large.
static void until(u64 address, u64 least) {
    for (;;) {
        CSRC(mstatus, MIE);
        if (M64(address) >= least)
            break;
        WFI();
        CSRS(mstatus, MIE);
    }
    CSRS(mstatus, MIE);
}

// Loads of each width from a range of addresses; what answers to none is an exception, and noted as one.
static void sweep(u64 from, u64 to) {
    for (u64 at = from; at < to; at += 4) {
        u64 value = 0x77;
        __asm__ volatile(".option push\n.option norvc\n lbu %0, 1(%1)\n.option pop" : "+r"(value) : "r"(at));
        note(value);
        __asm__ volatile(".option push\n.option norvc\n lhu %0, 2(%1)\n.option pop" : "+r"(value) : "r"(at));
        note(value);
        __asm__ volatile(".option push\n.option norvc\n lwu %0, 0(%1)\n.option pop" : "+r"(value) : "r"(at));
        note(value);
        __asm__ volatile(".option push\n.option norvc\n ld %0, 0(%1)\n.option pop" : "+r"(value) : "r"(at));
        note(value);
    }
}

static void registers(void) {
    sweep(TEST, TEST + 16);
    sweep(RTC, RTC + 0x28);
    sweep(CLINT, CLINT + 0x20);
    sweep(MTIMECMP(0), MTIMECMP(3));
    sweep(MTIME - 8, MTIME + 16);
    sweep(PLIC, PLIC + 0x40);
    sweep(PLIC + 0x1000, PLIC + 0x1010);
    sweep(PLIC_ENABLE(0), PLIC_ENABLE(0) + 16);
    sweep(PLIC_THRESHOLD(1), PLIC_THRESHOLD(1) + 12);
    sweep(UART, UART + 12);
    for (u64 slot = 0; slot < 8; slot++) {
        sweep(SLOT(slot), SLOT(slot) + 0x10);
        sweep(SLOT(slot) + 0xa0, SLOT(slot) + 0x140);
    }
    sweep(0x20000000, 0x20000008);
    sweep(SLOT(8), SLOT(8) + 8);
}

// Registers that keep what is stored, with values that have bits they may not keep.
static void stores(void) {
    static const u8 pattern[4] = {0xff, 0x00, 0xa5, 0x5a};
    for (int round = 0; round < 4; round++) {
        u32 value = pattern[round] * 0x1010101u;
        for (u64 source = 0; source < 13; source++) {
            M32(PLIC + 4 * source) = value;
            note(M32(PLIC + 4 * source));
        }
        for (u64 word = 0; word < 4; word++) {
            M32(PLIC_ENABLE(1) + 4 * word) = value;
            note(M32(PLIC_ENABLE(1) + 4 * word));
        }
        M32(PLIC_THRESHOLD(1)) = value;
        note(M32(PLIC_THRESHOLD(1)));
        for (u64 at = UART + 3; at < UART + 8; at++) {
            M8(at) = value & 0x6f;
            note(M8(at));
        }
        M8(UART + 3) = 0x80;
        M8(UART) = value;
        M8(UART + 1) = value;
        note(M8(UART));
        note(M8(UART + 1));
        M8(UART + 3) = 3;
        M16(TEST + 4) = value;
        M32(TEST) = value & 0xfff0;
        M64(MTIMECMP(0)) = -1 - (u64)value;
        M32(MTIMECMP(0) + 4) = 0x7fffffff;
        note(M64(MTIMECMP(0)));
        M64(MTIMECMP(1)) = value;
        note(M64(MTIMECMP(1)));
    }
    M64(MTIMECMP(0)) = -1;
    M8(UART + 4) = 0;
    M32(PLIC_ENABLE(1)) = 0;
}

// A number below `end`, from a generator of its own.
static u32 draw(u32 end) {
    SEED = SEED * 6364136223846793005ul + 1442695040888963407ul;
    return (SEED >> 33) % end;
}

// A register of a device that is neither virtio nor the switch, and a number to store there.
static u64 any_register(u32 *value) {
    *value = draw(2) ? draw(0x80000000) : draw(32);
    switch (draw(8)) {
    case 0:
        return PLIC + 4 * draw(13);
    case 1:
        return PLIC_ENABLE(draw(3)) + 4 * draw(3);
    case 2:
        *value = draw(8);
        return PLIC_THRESHOLD(draw(3));
    case 3:
        *value = 10 + draw(2);
        return PLIC_CLAIM(draw(2));
    case 4:
        return draw(2) ? MTIMECMP(draw(2)) + 4 * draw(2) : CLINT + 4 * draw(2);
    case 5:
        *value &= 0x0fffffff;
        return RTC + 4 * draw(9);
    default:
        return UART + draw(8);
    }
}

// Loads and stores of registers in any order, with all interrupts off, but told of in mip.
static void poke(void) {
    u32 value;
    for (u32 round = 0; round < 8000; round++) {
        u64 at = any_register(&value);
        int is_store = draw(2);
        if (at < UART && is_store)
            M32(at) = value;
        else if (at < UART)
            note(M32(at));
        else if (is_store)
            M8(at) = at == UART + 3 ? value & 0x1f : value;
        else
            note(M8(at));
        note(CSRR(mip));
    }
    M8(UART + 3) = 0;
    M8(UART + 1) = 0;
    M8(UART + 4) = 0;
    M8(UART + 2) = 7;
    M32(RTC + 0x14) = 1;
    M32(RTC + 0x10) = 0;
    M32(RTC + 0x1c) = 1;
    M32(CLINT) = 0;
    M64(MTIMECMP(0)) = -1;
    M32(PLIC_ENABLE(0)) = 0xffe;
    M32(PLIC_ENABLE(1)) = 0;
    for (u64 source = 1; source < 12; source++)
        M32(PLIC_CLAIM(0)) = source;
    while (M32(PLIC_CLAIM(0)))
        ;
    for (u64 source = 1; source < 12; source++)
        M32(PLIC_CLAIM(0)) = source;
}

// The same for the registers of a virtio device, whose queues lie in memory that is zero.
static void poke_slot(u64 slot) {
    static const u8 offsets[24] = {0x10, 0x14, 0x20, 0x24, 0x28, 0x30, 0x34, 0x38, 0x3c, 0x40, 0x44, 0x50,
                                   0x60, 0x64, 0x70, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xb0, 0xfc, 0xff};
    static const u8 states[8] = {0, 1, 3, 3, 11, 11, 15, 0x8f};
    u64 base = SLOT(slot);
    for (u32 round = 0; round < 1500; round++) {
        u32 offset = offsets[draw(24)];
        u32 value = draw(4);
        if (offset == 0xff) {
            offset = 0x100 + draw(64);
            note(M8(base + offset));
            M8(base + offset) = value;
            continue;
        }
        if (offset == 0x80 || offset == 0x90 || offset == 0xa0)
            value = SCRATCH + 16 * draw(256);
        else if (offset == 0x84 || offset == 0x94 || offset == 0xa4)
            value = 0;
        else if (offset == 0x20)
            value = draw(2) ? M32(base + 0x10) : value;
        else if (offset == 0x28 || offset == 0x3c)
            value = 4096;
        else if (offset == 0x38)
            value = draw(2) ? 8 : draw(2000);
        else if (offset == 0x40)
            value = draw(3) ? SCRATCH >> 12 : 0;
        else if (offset == 0x70)
            value = states[draw(8)];
        if (draw(3))
            M32(base + offset) = value;
        note(M32(base + offset));
        note(M32(base + 0x60) << 8 | M32(base + 0x70));
    }
    M32(base + 0x70) = 0;
}

// Each trigger of the receiver, and what the most urgent interrupt is at each number of bytes.
static void triggers(void) {
    M8(UART + 4) = 0x10;
    for (u32 trigger = 0; trigger < 4; trigger++) {
        M8(UART + 2) = 7 | trigger << 6;
        for (u32 bytes = 0; bytes < 18; bytes++) {
            M8(UART + 1) = bytes & 4 ? 5 : 7;
            note(M8(UART + 2));
            note(M8(UART + 5));
            M8(UART) = bytes;
        }
        for (u32 bytes = 0; bytes < 18; bytes++) {
            note(M8(UART));
            note(M8(UART + 2));
        }
    }
    M8(UART + 1) = 0;
    M8(UART + 4) = 0;
}

static void serial_line(void) {
    print("devices\n");
    M8(UART + 2) = 0xc7; // FIFOs on and empty, 14 bytes
    note(M8(UART + 2));
    M8(UART + 1) = 15;
    M8(UART + 4) = 0x1f; // loopback
    note(M8(UART + 6));
    for (u64 byte = 0; byte < 20; byte++)
        M8(UART) = byte; // four too many
    M8(UART + 4) = 0x10;
    note(M8(UART + 6));
    until((u64)&EXTERNAL_COUNT(10), 1);
    M8(UART + 4) = 0;
    M8(UART + 2) = 0x41; // 4 bytes
    u64 before = RECEIVED;
    wish('t');
    until((u64)&RECEIVED, before + 49);
    M8(UART + 2) = 0; // FIFOs off
    before = RECEIVED;
    wish('b');
    until((u64)&RECEIVED, before + 5);
    M8(UART + 1) = 0;
    M8(UART + 2) = 7;
}

static void clocks(void) {
    M32(CLINT) = 1;
    until((u64)&SOFTWARE_COUNT, 1);
    for (u64 count = 1; count <= 3; count++) {
        M64(MTIMECMP(0)) = M64(MTIME) + 700 * count;
        until((u64)&TIMER_COUNT, count);
    }
    M64(MTIME) = M64(MTIME) + 1000000; // time is set
    note(CSRR(time));
    CSRS(0x30a, 1ul << 63); // menvcfg.STCE
    CSRW(0x14d, CSRR(time) + 900);
    until((u64)&TIMER_COUNT, 4);
    note(M32(RTC));
    note(M32(RTC + 4));
    u64 now = M32(RTC) | (u64)M32(RTC + 4) << 32;
    M32(RTC + 0x10) = 1;
    M32(RTC + 0x0c) = (now + 150050) >> 32;
    M32(RTC + 0x08) = now + 150050;
    note(M32(RTC + 0x18));
    until((u64)&EXTERNAL_COUNT(11), 1);
    M32(RTC + 4) = 0x18000000; // the wall clock is set
    M32(RTC) = 12345;
    note(M32(RTC));
    note(M32(RTC + 4));
    M32(RTC + 0x0c) = 0x7fffffff;
    M32(RTC + 0x08) = 1;
    M32(RTC + 0x14) = 1;
    note(CSRR(mcycle));
    note(CSRR(minstret));
}

// A queue of 16 places: descriptors, what is available, and on the next page what is used.
#define SIZE 16
struct queue {
    u64 slot, number, at;
    u16 submitted, seen, next;
};
struct piece {
    u64 at;
    u32 bytes;
    u16 flags; // 2: the device writes
};
#define AVAILABLE(queue) ((queue)->at + 16 * SIZE)
#define USED(queue) ((queue)->at + 0x1000)

static int is_legacy(void) { return M32(SLOT(0) + 4) == 1; }

static void start_queue(struct queue *queue, u64 slot, u64 number) {
    u64 base = SLOT(slot);
    queue->slot = slot;
    queue->number = number;
    queue->at = QUEUES + 0x4000 * slot + 0x2000 * number;
    queue->submitted = queue->seen = queue->next = 0;
    for (u64 at = queue->at; at < queue->at + 0x2000; at += 8)
        M64(at) = 0;
    M32(base + 0x30) = number;
    note(M32(base + 0x34));
    M32(base + 0x38) = SIZE;
    if (is_legacy()) {
        M32(base + 0x28) = 4096;
        M32(base + 0x3c) = 4096;
        M32(base + 0x40) = queue->at >> 12;
        note(M32(base + 0x40));
        return;
    }
    M32(base + 0x80) = queue->at;
    M32(base + 0x84) = 0;
    M32(base + 0x90) = AVAILABLE(queue);
    M32(base + 0x94) = 0;
    M32(base + 0xa0) = USED(queue);
    M32(base + 0xa4) = 0;
    M32(base + 0x44) = 1;
    note(M32(base + 0x44));
}

// Resets a device and agrees on all features that it offers, but for those of `without`.
static void start_device(u64 slot, u64 without) {
    u64 base = SLOT(slot);
    M32(base + 0x70) = 0;
    M32(base + 0x70) = 1;
    M32(base + 0x70) = 3;
    for (u64 half = 0; half < 3; half++) {
        M32(base + 0x14) = half;
        u32 offered = M32(base + 0x10);
        note(offered);
        M32(base + 0x24) = half;
        M32(base + 0x20) = half == 2 ? 0 : offered & ~(u32)(without >> 32 * half);
    }
    M32(base + 0x70) = 11;
    note(M32(base + 0x70));
}

static void go(u64 slot) {
    M32(SLOT(slot) + 0x70) = 15;
    note(M32(SLOT(slot) + 0x70));
}

// Makes a buffer of pieces available. `indirect`: their descriptors lie in a table of their own.
static void submit(struct queue *queue, const struct piece *pieces, u64 count, int indirect) {
    u16 first = queue->next;
    u64 table = queue->at;
    if (indirect) {
        table = queue->at + 0xc00;
        M64(queue->at + 16 * first) = table;
        M32(queue->at + 16 * first + 8) = 16 * count;
        M32(queue->at + 16 * first + 12) = 4;
        queue->next = (first + 1) % SIZE;
    }
    for (u64 index = 0; index < count; index++) {
        u64 place = indirect ? index : queue->next;
        u64 next = indirect ? index + 1 : (place + 1) % SIZE;
        M64(table + 16 * place) = pieces[index].at;
        M32(table + 16 * place + 8) = pieces[index].bytes;
        M16(table + 16 * place + 12) = pieces[index].flags | (index + 1 < count);
        M16(table + 16 * place + 14) = next;
        if (!indirect)
            queue->next = next;
    }
    M16(AVAILABLE(queue) + 4 + 2 * (queue->submitted % SIZE)) = first;
    queue->submitted += 1;
    FENCE();
    M16(AVAILABLE(queue) + 2) = queue->submitted;
}

static void notify(struct queue *queue) { M32(SLOT(queue->slot) + 0x50) = queue->number; }

// Waits until the device has used so many more buffers, and notes which, and how much of each.
static void use(struct queue *queue, u16 count) {
    u16 target = queue->seen + count;
    M16(AVAILABLE(queue) + 4 + 2 * SIZE) = target - 1; // used_event: tell us then
    for (;;) {
        CSRC(mstatus, MIE);
        if ((u16)(M16(USED(queue) + 2) - target) < 0x8000)
            break;
        WFI();
        CSRS(mstatus, MIE);
    }
    CSRS(mstatus, MIE);
    while (queue->seen != target) {
        u64 element = USED(queue) + 4 + 8 * (queue->seen % SIZE);
        note(M32(element));
        note(M32(element + 4));
        queue->seen += 1;
    }
    note(M16(USED(queue) + 4 + 8 * SIZE)); // avail_event
}

// A request to a disk: header, data in two pieces, status.
static void request(struct queue *queue, u32 type, u64 sector, u64 data, u32 bytes, int indirect) {
    u64 header = BUFFERS + 0x40 * (queue->submitted % SIZE);
    u16 writes = type == 0 || type == 8 ? 2 : 0;
    u32 half = bytes / 2;
    M32(header) = type;
    M32(header + 4) = 0;
    M64(header + 8) = sector;
    M8(header + 16) = 0xee;
    struct piece pieces[4] = {{header, 16, 0}};
    u64 count = 1;
    if (half)
        pieces[count++] = (struct piece){data, half, writes};
    if (bytes)
        pieces[count++] = (struct piece){data + half, bytes - half, writes};
    pieces[count++] = (struct piece){header + 16, 1, 2};
    submit(queue, pieces, count, indirect);
}

static void one(struct queue *queue, u32 type, u64 sector, u64 data, u32 bytes, int indirect) {
    u64 status = BUFFERS + 0x40 * (queue->submitted % SIZE) + 16;
    request(queue, type, sector, data, bytes, indirect);
    notify(queue);
    use(queue, 1);
    note(M8(status));
}

static void zero_range(u64 at, u64 sector, u32 sectors, u32 flags) {
    M64(at) = sector;
    M32(at + 8) = sectors;
    M32(at + 12) = flags;
}

static void disk(void) {
    struct queue queue;
    u64 data = BUFFERS + 0x1003, base = SLOT(0);
    start_device(0, 0);
    start_queue(&queue, 0, 0);
    go(0);
    one(&queue, 8, 0, data, 20, 0);
    one(&queue, 0, 3, data, 4096, 0);
    for (u64 at = 0; at < 2048; at += 8)
        M64(LARGE + at) = at * 0x9e3779b97f4a7c15ul;
    one(&queue, 1, 100, LARGE, 2048, 1);
    one(&queue, 0, 101, data, 1024, 1);
    // Three at once, which the disk answers in an order of its own.
    request(&queue, 1, 10, LARGE + 512, 512, 0);
    request(&queue, 0, 11, data + 4096, 512, 0);
    request(&queue, 4, 0, 0, 0, 0);
    notify(&queue);
    use(&queue, 3);
    M8(base + 0x120) = 0; // writeback off: a flush follows each write
    note(M8(base + 0x120));
    one(&queue, 1, 12, LARGE + 100, 512, 0);
    M8(base + 0x120) = 1;
    zero_range(data, 64, 16, 0);
    one(&queue, 11, 0, data, 16, 0);
    zero_range(data, 80, 16, 1);
    one(&queue, 13, 0, data, 16, 0);
    zero_range(data, 10239, 2, 0);
    one(&queue, 13, 0, data, 16, 0);
    one(&queue, 0, 13, data, 512, 0);    // the disk fails
    one(&queue, 0, 10239, data, 1024, 0); // beyond the end
    one(&queue, 99, 0, data, 512, 0);    // no such request
    one(&queue, 0, 5, data, 100, 0);     // not whole sectors
    one(&queue, 1, 1000, LARGE, 3 << 20, 0);
    request(&queue, 0, 20, data, 512, 0);
    notify(&queue);
    start_device(0, 1ul << 29); // with a request in flight, and without event indexes
    start_queue(&queue, 0, 0);
    go(0);
    one(&queue, 0, 21, data, 512, 0);
    u64 before = EXTERNAL_COUNT(1);
    wish('g');
    until((u64)&EXTERNAL_COUNT(1), before + 1);
    note(M64(base + 0x100));
    note(M32(base + 0xfc));
    one(&queue, 0, 10300, data, 512, 0);
}

static void read_only_disk(void) {
    struct queue queue;
    u64 data = BUFFERS + 0x8000;
    start_device(1, 1ul << 9 | 1ul << 28); // without flush and indirect descriptors
    start_queue(&queue, 1, 0);
    go(1);
    one(&queue, 0, 60, data, 2048, 0);
    one(&queue, 1, 60, data, 512, 0);
    M64(queue.at + 16 * queue.next) = data; // a chain that leads nowhere
    M32(queue.at + 16 * queue.next + 8) = 16;
    M32(queue.at + 16 * queue.next + 12) = 0x30000001;
    M16(AVAILABLE(&queue) + 4 + 2 * (queue.submitted % SIZE)) = queue.next;
    M16(AVAILABLE(&queue) + 2) = queue.submitted + 1;
    notify(&queue);
    note(M32(SLOT(1) + 0x70));
}

// `without`: features that the driver does without; without VERSION_1 the header is shorter.
static void network(u64 slot, u64 without, u32 header) {
    struct queue receive, transmit;
    u64 data = BUFFERS + 0x10000;
    start_device(slot, without);
    start_queue(&receive, slot, 0);
    start_queue(&transmit, slot, 1);
    go(slot);
    for (u64 at = 0; at < 64; at++)
        M8(data + at) = at < header ? 0 : at * 3;
    static const u32 lengths[4] = {60, 14, 13, 9217}; // the last two are no frames
    for (u64 index = 0; index < 4; index++) {
        struct piece pieces[3] = {{data, header, 0}, {data + header, 7, 0}, {LARGE, lengths[index] - 7, 0}};
        submit(&transmit, pieces, 3, index == 1 && !without);
        notify(&transmit);
        use(&transmit, 1);
    }
    wish(slot == 2 ? 'n' : 'm'); // three frames come, and are held until there are buffers
    u64 later = M64(MTIME) + 20000;
    while (M64(MTIME) < later)
        ;
    for (u64 index = 0; index < 5; index++) {
        struct piece piece = {data + 0x1000 * (index + 1) + index, slot == 2 ? 1800 : 3800, 2};
        submit(&receive, &piece, 1, 0);
    }
    notify(&receive);
    use(&receive, slot == 2 ? 5 : 2);
    if (slot != 2)
        return;
    wish('h'); // more frames than are held
    later = M64(MTIME) + 20000;
    while (M64(MTIME) < later)
        ;
    for (u64 round = 0; round < 256 / SIZE; round++) {
        for (u64 index = 0; index < SIZE; index++) {
            struct piece piece = {data + 0x1000 * (index + 1), 64, 2};
            submit(&receive, &piece, 1, 0);
        }
        notify(&receive);
        use(&receive, SIZE);
    }
}

static void entropy(void) {
    struct queue queue;
    u64 data = BUFFERS + 0x30000;
    start_device(7, 0);
    start_queue(&queue, 7, 0);
    go(7);
    for (u64 round = 0; round < 40; round++) {
        struct piece pieces[2] = {{data + 64 * round, 40, 2}, {data + 64 * round + 41, 23, 2}};
        submit(&queue, pieces, 2, round & 1);
        notify(&queue);
        use(&queue, 1);
    }
    struct piece large = {data + 0x1000, 2000, 2};
    submit(&queue, &large, 1, 0);
    notify(&queue);
    use(&queue, 1);
    large.flags = 0; // the device may not write here
    submit(&queue, &large, 1, 0);
    notify(&queue);
    note(M32(SLOT(7) + 0x70));
}

// Requests in flight, bytes typed, and then the reset button.
static void wait_for_reset(void) {
    struct queue queue;
    start_device(0, 0);
    start_queue(&queue, 0, 0);
    go(0);
    request(&queue, 0, 30, BUFFERS + 0x2000, 512, 0);
    request(&queue, 1, 31, LARGE, 512, 0);
    notify(&queue);
    M64(MTIMECMP(0)) = M64(MTIME) + 100000000;
    wish('r');
    for (;;)
        WFI();
}

void main(u64 hart, u64 tree) {
    u64 boots = BOOTS;
    BOOTS = boots + 1;
    note(boots);
    note(hart);
    note(tree);
    if (boots == 0) {
        registers();
        stores();
        triggers();
        poke();
        for (u64 slot = 0; slot < 8; slot++)
            poke_slot(slot);
    }
    for (u64 source = 1; source < 12; source++)
        M32(PLIC + 4 * source) = 1 + source % 7;
    M32(PLIC_ENABLE(0)) = 0xffe;
    M32(PLIC_THRESHOLD(0)) = 0;
    CSRW(mie, SOFTWARE | TIMER | EXTERNAL | 0x20);
    CSRS(mstatus, MIE);
    if (boots == 1)
        wait_for_reset();
    if (boots == 0) {
        serial_line();
        clocks();
        disk();
        read_only_disk();
        network(2, 0, 12);
        network(3, 1ul << 15 | 1ul << 32, 10);
        entropy();
        print("again\n");
        M32(TEST) = 0x7777;
    }
    registers();
    print("over");
    M32(TEST) = is_legacy() ? 0x73333 : 0x5555;
}
