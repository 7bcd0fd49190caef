// What the guests in C share: registers, traps, and a trace in memory of all that they see.
//
// They run in machine mode from the start of RAM, without any library. A guest notes what it reads, and the
// trace is memory, so the digests of a log tell at once when anything that a guest can see is otherwise.
// What the guest wants of its world it says on its console: a question mark, a letter, a line end.
#ifndef BOARD_H
#define BOARD_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define M8(address) (*(volatile u8 *)(u64)(address))
#define M16(address) (*(volatile u16 *)(u64)(address))
#define M32(address) (*(volatile u32 *)(u64)(address))
#define M64(address) (*(volatile u64 *)(u64)(address))

#define CSRR(name) ({ u64 value_; __asm__ volatile("csrr %0, " #name : "=r"(value_)); value_; })
#define CSRW(name, value) __asm__ volatile("csrw " #name ", %0" ::"r"((u64)(value)) : "memory")
#define CSRS(name, value) __asm__ volatile("csrs " #name ", %0" ::"r"((u64)(value)) : "memory")
#define CSRC(name, value) __asm__ volatile("csrc " #name ", %0" ::"r"((u64)(value)) : "memory")
#define FENCE() __asm__ volatile("fence" ::: "memory")
#define WFI() __asm__ volatile("wfi" ::: "memory")

#define TEST 0x100000ul
#define RTC 0x101000ul
#define CLINT 0x2000000ul
#define MTIMECMP(hart) (CLINT + 0x4000 + 8 * (hart))
#define MTIME (CLINT + 0xbff8)
#define PLIC 0xc000000ul
#define PLIC_ENABLE(context) (PLIC + 0x2000 + 0x80 * (context))
#define PLIC_THRESHOLD(context) (PLIC + 0x200000 + 0x1000 * (context))
#define PLIC_CLAIM(context) (PLIC_THRESHOLD(context) + 4)
#define UART 0x10000000ul
#define SLOT(number) (0x10001000ul + 0x1000 * (number))

// Bits of mstatus, mie and mip.
#define MIE 0x8ul
#define MPP 0x1800ul
#define MPP_SUPERVISOR 0x800ul
#define SOFTWARE 0x8ul
#define TIMER 0x80ul
#define EXTERNAL 0x800ul
#define INTERRUPT (1ul << 63)

// Memory: code and stacks in the first MiB, shared words in the second, traces from the fourth on.
#define SHARED 0x80100000ul
#define TRACE(hart) (0x80300000ul + 0x40000 * (hart))
#define TRACE_WORDS 0x7ffful

// Appends a number to this hart's trace, which begins with its length and goes round when it is full.
static void note(u64 value) {
    u64 trace = TRACE(CSRR(mhartid));
    u64 length = M64(trace);
    M64(trace + 8 + 8 * (length % TRACE_WORDS)) = value;
    M64(trace) = length + 1;
}

static void print(const char *text) {
    while (*text)
        M8(UART) = *text++;
}

// What the guest wants of its world.
static void wish(char letter) {
    M8(UART) = '?';
    M8(UART) = letter;
    M8(UART) = '\n';
}

// What each guest does about a trap of machine mode; gives the address at which to go on.
u64 on_trap(u64 cause, u64 at, u64 value);

// The first instruction, and the way into a trap and out of it. The labels stand once in a program.
#define BEGINNING                                                                                         \
    __asm__(".globl _start\n_start: li sp, 0x800f0000\n csrr t0, mhartid\n slli t0, t0, 14\n"             \
            "sub sp, sp, t0\n la t0, trap\n csrw mtvec, t0\n call main\n 1: wfi\n j 1b\n"                 \
            ".balign 4\ntrap: addi sp, sp, -128\n"                                                        \
            "sd ra, 0(sp)\n sd t0, 8(sp)\n sd t1, 16(sp)\n sd t2, 24(sp)\n sd t3, 32(sp)\n"               \
            "sd t4, 40(sp)\n sd t5, 48(sp)\n sd t6, 56(sp)\n sd a0, 64(sp)\n sd a1, 72(sp)\n"             \
            "sd a2, 80(sp)\n sd a3, 88(sp)\n sd a4, 96(sp)\n sd a5, 104(sp)\n sd a6, 112(sp)\n"           \
            "sd a7, 120(sp)\n csrr a0, mcause\n csrr a1, mepc\n csrr a2, mtval\n call on_trap\n"          \
            "csrw mepc, a0\n ld ra, 0(sp)\n ld t0, 8(sp)\n ld t1, 16(sp)\n ld t2, 24(sp)\n"               \
            "ld t3, 32(sp)\n ld t4, 40(sp)\n ld t5, 48(sp)\n ld t6, 56(sp)\n ld a0, 64(sp)\n"             \
            "ld a1, 72(sp)\n ld a2, 80(sp)\n ld a3, 88(sp)\n ld a4, 96(sp)\n ld a5, 104(sp)\n"            \
            "ld a6, 112(sp)\n ld a7, 120(sp)\n addi sp, sp, 128\n mret\n")

// The address behind the instruction at `at`.
static u64 behind(u64 at) { return at + ((M16(at) & 3) == 3 ? 4 : 2); }

#endif
