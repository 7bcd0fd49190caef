// A guest with four harts that do to each other what harts can: they count with AMOs and with LR/SC, take a
// lock, send interrupts round, are interrupted by timers of their own, compete for a device's interrupts,
// write the code that another one executes, and the page tables by which another one reads, mostly without
// the fences that would tell a real hart of it (docs/determinism.md). Each notes what it sees.
//
// The binary beside this file is made as devices.bin is (devices.c).
#include "board.h"

BEGINNING;

#define HARTS 4
#define ARRIVED M64(SHARED)
#define LOCK M64(SHARED + 0x40)
#define LOCKED_COUNT M64(SHARED + 0x80)
#define AMO_COUNT M64(SHARED + 0xc0)
#define LRSC_COUNT M64(SHARED + 0x100)
#define IPI_COUNT(hart) M64(SHARED + 0x140 + 64 * (hart))
#define TIMER_COUNT(hart) M64(SHARED + 0x240 + 64 * (hart))
#define TYPED M64(SHARED + 0x340)
#define DONE M64(SHARED + 0x380)
#define SUPERVISOR_COUNT(hart) M64(SHARED + 0x3c0 + 64 * (hart))
#define CODE (SHARED + 0x1000)
#define TABLES (SHARED + 0x10000)
#define PAGES (SHARED + 0x20000)
#define WINDOW 0x40000000ul

static u64 amoadd(u64 address, u64 value) {
    u64 before;
    __asm__ volatile("amoadd.d.aqrl %0, %1, (%2)" : "=r"(before) : "r"(value), "r"(address) : "memory");
    return before;
}

static u64 amoswap(u64 address, u64 value) {
    u64 before;
    __asm__ volatile("amoswap.d.aq %0, %1, (%2)" : "=r"(before) : "r"(value), "r"(address) : "memory");
    return before;
}

u64 on_trap(u64 cause, u64 at, u64 value) {
    u64 hart = CSRR(mhartid);
    note(cause);
    note(at);
    if (cause == 9) { // the way back from S-mode
        CSRS(mstatus, MPP);
        return at + 4;
    }
    if (!(cause & INTERRUPT)) {
        note(value);
        return behind(at);
    }
    switch (cause & 63) {
    case 3:
        M32(CLINT + 4 * hart) = 0;
        IPI_COUNT(hart) += 1;
        break;
    case 7:
        TIMER_COUNT(hart) += 1;
        M64(MTIMECMP(hart)) = M64(MTIME) + 300 + 50 * hart;
        break;
    default:
        for (u32 source; (source = M32(PLIC_CLAIM(2 * hart))) != 0;) {
            note(source);
            while (M8(UART + 5) & 1) {
                note(M8(UART));
                amoadd((u64)&TYPED, 1);
            }
            M32(PLIC_CLAIM(2 * hart)) = source;
        }
    }
    return at;
}

// Waits for the others; each round has a number of its own.
static void together(u64 round) {
    amoadd((u64)&ARRIVED, 1);
    while (ARRIVED < HARTS * round)
        ;
}

static void count(u64 hart) {
    for (u64 round = 0; round < 1500; round++) {
        note(amoadd((u64)&AMO_COUNT, hart + 1));
        u64 tries = 0, value, failed;
        do {
            __asm__ volatile("lr.d.aq %0, (%2)\n add %0, %0, %3\n sc.d.rl %1, %0, (%2)"
                             : "=&r"(value), "=&r"(failed)
                             : "r"(&LRSC_COUNT), "r"(hart + 1)
                             : "memory");
            tries++;
        } while (failed);
        note(value << 8 | tries);
        while (amoswap((u64)&LOCK, hart + 1) != 0)
            ;
        note(LOCKED_COUNT);
        LOCKED_COUNT += 1;
        LOCK = 0;
    }
}

// A reservation is kept for so long that turns end, and the clock is set, while there is one.
static void reserve(u64 hart) {
    for (u64 round = 0; round < 300; round++) {
        u64 value, failed;
        __asm__ volatile("lr.d %0, (%2)\n li t0, 100\n 1: addi t0, t0, -1\n bnez t0, 1b\n"
                         "add %0, %0, %3\n sc.d %1, %0, (%2)"
                         : "=&r"(value), "=&r"(failed)
                         : "r"(&LRSC_COUNT), "r"(hart + 1)
                         : "t0", "memory");
        note(value << 8 | failed);
    }
}

// Each hart is sent an interrupt by the one before it, and sends one to the next.
static void send_round(u64 hart) {
    for (u64 round = 1; round <= 100; round++) {
        if (hart == 0)
            M32(CLINT + 4) = 1;
        for (;;) {
            CSRC(mstatus, MIE);
            if (IPI_COUNT(hart) >= round)
                break;
            WFI();
            CSRS(mstatus, MIE);
        }
        CSRS(mstatus, MIE);
        if (hart != 0)
            M32(CLINT + 4 * ((hart + 1) % HARTS)) = 1;
    }
}

static void spin_under_timers(u64 hart) {
    M64(MTIMECMP(hart)) = M64(MTIME) + 100 * (hart + 1);
    CSRS(mie, TIMER);
    u64 rounds = 0;
    while (TIMER_COUNT(hart) < 40)
        rounds++;
    CSRC(mie, TIMER);
    note(rounds);
    note(CSRR(mcycle));
    note(CSRR(time));
}

// Who is interrupted by what is typed, if all are told of it?
static void compete(u64 hart) {
    M32(PLIC_ENABLE(2 * hart)) = 1 << 10;
    M32(PLIC_THRESHOLD(2 * hart)) = hart & 1;
    CSRS(mie, EXTERNAL);
    if (hart == 0) {
        M32(PLIC + 40) = 2;
        M8(UART + 2) = 0x41; // FIFOs on, 4 bytes
        M8(UART + 1) = 1;
        wish('t');
    }
    while (TYPED < 40)
        ;
    CSRC(mie, EXTERNAL);
    M32(PLIC_ENABLE(2 * hart)) = 0;
}

// Hart 0 writes a function again and again; the others call it, every fourth time behind fence.i.
static void write_code(u64 hart) {
    u64 (*function)(u64) = (u64(*)(u64))CODE;
    u32 rounds = hart == 0 ? 800 : 8000; // several turns of each hart
    for (u32 round = 0; round < rounds; round++) {
        if (hart == 0) {
            M32(CODE) = 0x00050513 | round << 20; // addi a0, a0, round
            M32(CODE + 8 + 4 * (round % 16)) = 0x00008067;
            for (u64 pause = 0; pause < 20 + round % 50; pause++)
                FENCE();
        } else {
            if (round % 4 == 0)
                __asm__ volatile("fence.i" ::: "memory");
            note(function(hart << 32));
        }
    }
}

// The way into S-mode and back, at the same address.
#define ENTER_SUPERVISOR()                                                                                 \
    __asm__ volatile("la t0, 1f\n csrw mepc, t0\n li t0, 0x1800\n csrc mstatus, t0\n li t0, 0x800\n"       \
                     "csrs mstatus, t0\n mret\n .balign 4\n 1:" ::: "t0", "memory")
#define LEAVE_SUPERVISOR() __asm__ volatile(".option push\n.option norvc\n ecall\n.option pop" ::: "memory")

// A trap of S-mode: its timer, an interrupt sent by M-mode's bits, or what is typed.
__attribute__((interrupt("supervisor"), aligned(4))) static void supervisor_trap(void) {
    u64 area = CSRR(sscratch), claim = M64(area + 32);
    M64(area) += 1;
    M64(area + 8) = CSRR(scause);
    M64(area + 16) += CSRR(sepc);
    if ((CSRR(scause) & 63) == 9) {
        for (u32 source; (source = M32(claim)) != 0; M32(claim) = source)
            while (M8(UART + 5) & 1)
                M64(area + 40) = 31 * M64(area + 40) + M8(UART);
    }
    CSRW(0x14d, CSRR(time) + 170);
    CSRC(sip, 2);
}

static void prepare_tables(void) {
    for (u64 at = TABLES; at < TABLES + 0x3000; at += 8)
        M64(at) = 0;
    M64(TABLES) = 0x7;                                      // devices, without A and D
    M64(TABLES + 8) = (TABLES + 0x1000) >> 12 << 10 | 1;    // the window
    M64(TABLES + 16) = 0x80000000ul >> 12 << 10 | 0xf;      // memory
    M64(TABLES + 0x1000) = (TABLES + 0x2000) >> 12 << 10 | 1;
    M64(TABLES + 0x2000) = PAGES >> 12 << 10 | 0x7;
    for (u64 page = 0; page < 8; page++)
        M64(PAGES + 0x1000 * page) = 1000 + page;
}

// Hart 0 leads the window to one page after the other; the others read and write there in S-mode.
static void move_window(u64 hart) {
    if (hart == 0) {
        wish('t');
        for (u64 round = 0; DONE < HARTS - 1; round++) {
            note(M64(TABLES + 0x2000)); // with A and D, if somebody has been there
            M64(TABLES + 0x2000) = (PAGES + 0x1000 * (round % 8)) >> 12 << 10 | (round % 5 == 4 ? 0x3 : 0x7);
            for (u64 pause = 0; pause < 40 + round % 90; pause++)
                FENCE();
        }
        return;
    }
    u64 count = (u64)&SUPERVISOR_COUNT(hart);
    CSRW(pmpaddr0, -1);
    CSRW(pmpcfg0, 0x1f);
    CSRS(0x30a, 1ul << 63);
    CSRW(mcounteren, 7);
    CSRW(0x14d, -1);
    CSRW(mideleg, 0x222);
    CSRW(medeleg, 0);
    CSRW(stvec, supervisor_trap);
    CSRW(sscratch, count);
    M64(count + 32) = PLIC_CLAIM(2 * hart + 1);
    M32(PLIC_ENABLE(2 * hart + 1)) = 1 << 10;
    CSRW(satp, 8ul << 60 | TABLES >> 12);
    CSRS(mip, 2);
    ENTER_SUPERVISOR();
    CSRW(sie, 0x222);
    CSRS(sstatus, 2);
    for (u64 round = 0; round < 8000; round++) {
        u64 value = M64(WINDOW);
        M64(WINDOW + 8 * hart) += value; // no write, if the window is for reading
        M64(WINDOW + 0x100 + 8 * (round % 64)) = round;
        if (round % 16 == 0)
            __asm__ volatile("sfence.vma" ::: "memory");
        if (round % 16 == 8) // sfence.w.inval, sinval.vma, sfence.inval.ir
            __asm__ volatile(".word 0x18000073, 0x16000073, 0x18100073" ::: "memory");
        M64(count + 24) += value;
    }
    CSRC(sstatus, 2);
    LEAVE_SUPERVISOR();
    CSRW(satp, 0);
    for (u64 at = count; at < count + 48; at += 8)
        note(M64(at));
    amoadd((u64)&DONE, 1);
}

void main(u64 hart) {
    CSRW(mie, SOFTWARE);
    CSRS(mstatus, MIE);
    if (hart == 0) {
        print("harts\n");
        M32(CODE) = 0x00050513;
        for (u64 at = CODE + 4; at < CODE + 0x48; at += 4)
            M32(at) = 0x00008067; // ret
        prepare_tables();
    }
    together(1);
    count(hart);
    reserve(hart);
    together(2);
    send_round(hart);
    together(3);
    spin_under_timers(hart);
    together(4);
    compete(hart);
    together(5);
    write_code(hart);
    together(6);
    move_window(hart);
    together(7);
    if (hart != 0)
        return; // it waits for ever
    print("over\n");
    M32(TEST) = 0x5555;
}
