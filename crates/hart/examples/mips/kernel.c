// The guest of `examples/mips`: six small integer loops of different kinds, forever. Rebuild with
// riscv64-linux-gnu-gcc -O2 -march=rv64gc -mabi=lp64 -mcmodel=medany -ffreestanding -fno-pic -fno-pie
//   -fno-builtin -nostdlib -static -no-pie -Wl,--build-id=none,-Ttext=0x80000000 -Wl,--no-relax kernel.c -o kernel.elf
// riscv64-linux-gnu-objcopy -O binary -j .text -j .rodata kernel.elf kernel.bin
typedef unsigned char u8;
typedef unsigned long u64;
typedef unsigned int u32;

__attribute__((naked, section(".text.unlikely"))) void _start(void) {
    asm volatile("li sp, 0x80800000\n1: call work\n j 1b\n");
}

static u8 *const SIEVE = (u8 *)0x80100000;
static u64 *const WORDS = (u64 *)0x80200000;

static u32 __attribute__((noinline)) sieve(u32 n) {
    u32 count = 0;
    for (u32 i = 0; i < n; i++) SIEVE[i] = 1;
    for (u32 i = 2; i < n; i++) {
        if (!SIEVE[i]) continue;
        count++;
        for (u32 j = i + i; j < n; j += i) SIEVE[j] = 0;
    }
    return count;
}

static u64 __attribute__((noinline)) fib(u64 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static u32 __attribute__((noinline)) crc(const u8 *p, u64 n) {
    u32 c = ~0u;
    while (n--) {
        c ^= *p++;
        for (int k = 0; k < 8; k++) c = c >> 1 ^ (0xedb88320 & -(c & 1));
    }
    return ~c;
}

static void __attribute__((noinline)) sort(u64 *a, long low, long high) {
    if (low >= high) return;
    u64 pivot = a[(low + high) / 2];
    long i = low, j = high;
    while (i <= j) {
        while (a[i] < pivot) i++;
        while (a[j] > pivot) j--;
        if (i <= j) { u64 t = a[i]; a[i++] = a[j]; a[j--] = t; }
    }
    sort(a, low, j);
    sort(a, i, high);
}

static u64 __attribute__((noinline)) multiply(u64 *c, const u64 *a, const u64 *b, int n) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            u64 s = 0;
            for (int k = 0; k < n; k++) s += a[i * n + k] * b[k * n + j];
            c[i * n + j] = s;
        }
    return c[0];
}

static void __attribute__((noinline)) copy(u64 *to, const u64 *from, u64 n) {
    for (u64 i = 0; i < n; i++) to[i] = from[i];
}

u64 __attribute__((used)) work(void) {
    u64 result = sieve(20000) + fib(18) + crc(SIEVE, 4000);
    u64 x = 88172645463325252ul;
    for (int i = 0; i < 4000; i++) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; WORDS[i] = x; }
    sort(WORDS, 0, 3999);
    result += multiply(WORDS + 8192, WORDS, WORDS + 1024, 24);
    for (int i = 0; i < 8; i++) copy(WORDS + 16384, WORDS, 4096);
    return result;
}
