// A guest that computes: every instruction of integers and of floating point that has two operands or one,
// with all pairs of numbers at the edge of something, and floating point in each rounding mode, with the
// flags that it raises. Random programs have every instruction (crates/isa-programs), but seldom a zero and a
// negative zero in one comparison.
//
// The binary beside this file is made as devices.bin is (devices.c), with
//   -march=rv64gc_zba_zbb_zbs
#include "board.h"

BEGINNING;

u64 on_trap(u64 cause, u64 at, u64 value) {
    note(cause);
    note(value);
    return behind(at);
}

#define COUNT(table) (sizeof(table) / sizeof(table[0]))

static const u64 integers[] = {
    0, 1, 2, 3, 7, 31, 32, 63, 64, 255, 0x7fff, 0x8000, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
    0x7fffffffffffffff, 0x8000000000000000, 0x8000000000000001, 0xfffffffffffffffe, 0xffffffffffffffff,
    0xffffffff80000000, 0x0123456789abcdef, 0x00ff00ff00ff00ff,
};
static const u64 doubles[] = {
    0x0000000000000000, 0x8000000000000000, 0x0000000000000001, 0x800fffffffffffff, 0x0010000000000000,
    0x3ff0000000000000, 0xbff0000000000000, 0x3ff0000000000001, 0x3fe0000000000000, 0x3fd5555555555555,
    0x4000000000000000, 0xc008000000000000, 0x41dfffffffe00000, 0xc1e0000000000000, 0x43e0000000000000,
    0x43f0000000000000, 0x4330000000000001, 0x7fefffffffffffff, 0xffefffffffffffff, 0x7ff0000000000000,
    0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001, 0xfff8000000001234,
};
#define BOXED 0xffffffff00000000
static const u64 singles[] = {
    BOXED | 0x00000000, BOXED | 0x80000000, BOXED | 0x00000001, BOXED | 0x807fffff, BOXED | 0x00800000,
    BOXED | 0x3f800000, BOXED | 0xbf800000, BOXED | 0x3f800001, BOXED | 0x3f000000, BOXED | 0x3eaaaaab,
    BOXED | 0x40000000, BOXED | 0xc0400000, BOXED | 0x4effffff, BOXED | 0xcf000000, BOXED | 0x5f000000,
    BOXED | 0x5f800000, BOXED | 0x4b000001, BOXED | 0x7f7fffff, BOXED | 0xff7fffff, BOXED | 0x7f800000,
    BOXED | 0xff800000, BOXED | 0x7fc00000, BOXED | 0x7f800001, 0xfffffffe3f800000,
};

#define TWO(text)                                                                                          \
    {                                                                                                      \
        u64 result;                                                                                        \
        __asm__ volatile(text " %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));                              \
        note(result);                                                                                      \
    }
#define ONE(text)                                                                                          \
    {                                                                                                      \
        u64 result;                                                                                        \
        __asm__ volatile(text " %0, %1" : "=r"(result) : "r"(a));                                          \
        note(result);                                                                                      \
    }

static void two_integers(u64 a, u64 b) {
    TWO("add") TWO("sub") TWO("sll") TWO("slt") TWO("sltu") TWO("xor") TWO("srl") TWO("sra") TWO("or")
    TWO("and") TWO("addw") TWO("subw") TWO("sllw") TWO("srlw") TWO("sraw")
    TWO("mul") TWO("mulh") TWO("mulhsu") TWO("mulhu") TWO("div") TWO("divu") TWO("rem") TWO("remu")
    TWO("mulw") TWO("divw") TWO("divuw") TWO("remw") TWO("remuw")
    TWO("add.uw") TWO("sh1add") TWO("sh2add") TWO("sh3add") TWO("sh1add.uw") TWO("sh2add.uw")
    TWO("sh3add.uw") TWO("andn") TWO("orn") TWO("xnor") TWO("min") TWO("minu") TWO("max") TWO("maxu")
    TWO("rol") TWO("ror") TWO("rolw") TWO("rorw") TWO("bclr") TWO("bext") TWO("binv") TWO("bset")
    TWO(".insn r 0x33, 5, 7,") TWO(".insn r 0x33, 7, 7,") // czero.eqz, czero.nez
}

static void one_integer(u64 a) {
    ONE("clz") ONE("ctz") ONE("cpop") ONE("clzw") ONE("ctzw") ONE("cpopw") ONE("sext.b") ONE("sext.h")
    ONE("zext.h") ONE("orc.b") ONE("rev8")
}

// `text` computes fa2 of fa0 and fa1 (and fa3), or a0 of them.
#define FLOAT(text)                                                                                        \
    {                                                                                                      \
        u64 result, whole, flags;                                                                          \
        __asm__ volatile("fmv.d.x fa0, %3\n fmv.d.x fa1, %4\n fmv.d.x fa3, %5\n fmv.d.x fa2, zero\n"       \
                         "li a0, 0\n csrw fflags, zero\n" text "\n"                                        \
                         "csrr %2, fflags\n mv %1, a0\n fmv.x.d %0, fa2"                                   \
                         : "=&r"(result), "=&r"(whole), "=&r"(flags)                                       \
                         : "r"(a), "r"(b), "r"(c)                                                          \
                         : "a0", "fa0", "fa1", "fa2", "fa3");                                              \
        note(result);                                                                                      \
        note(whole << 5 | flags);                                                                          \
    }
#define EACH_FORMAT(kind, rest) if (is_double) FLOAT(kind ".d " rest) else FLOAT(kind ".s " rest)

static void two_floats(u64 a, u64 b, u64 c, int is_double) {
    EACH_FORMAT("fadd", "fa2, fa0, fa1")
    EACH_FORMAT("fsub", "fa2, fa0, fa1")
    EACH_FORMAT("fmul", "fa2, fa0, fa1")
    EACH_FORMAT("fdiv", "fa2, fa0, fa1")
    EACH_FORMAT("fmadd", "fa2, fa0, fa1, fa3")
    EACH_FORMAT("fmsub", "fa2, fa0, fa1, fa3")
    EACH_FORMAT("fnmsub", "fa2, fa0, fa1, fa3")
    EACH_FORMAT("fnmadd", "fa2, fa0, fa1, fa3")
}

static void two_without_rounding(u64 a, u64 b, int is_double) {
    u64 c = 0;
    EACH_FORMAT("fsgnj", "fa2, fa0, fa1")
    EACH_FORMAT("fsgnjn", "fa2, fa0, fa1")
    EACH_FORMAT("fsgnjx", "fa2, fa0, fa1")
    EACH_FORMAT("fmin", "fa2, fa0, fa1")
    EACH_FORMAT("fmax", "fa2, fa0, fa1")
    EACH_FORMAT("feq", "a0, fa0, fa1")
    EACH_FORMAT("flt", "a0, fa0, fa1")
    EACH_FORMAT("fle", "a0, fa0, fa1")
}

static void one_float(u64 a, int is_double) {
    u64 b = 0, c = 0;
    EACH_FORMAT("fsqrt", "fa2, fa0")
    EACH_FORMAT("fclass", "a0, fa0")
    EACH_FORMAT("fcvt.w", "a0, fa0")
    EACH_FORMAT("fcvt.wu", "a0, fa0")
    EACH_FORMAT("fcvt.l", "a0, fa0")
    EACH_FORMAT("fcvt.lu", "a0, fa0")
    if (is_double)
        FLOAT("fcvt.s.d fa2, fa0")
    else
        FLOAT("fcvt.d.s fa2, fa0")
    FLOAT("fmv.x.w a0, fa0")
}

static void float_of(u64 a) {
    u64 b = 0, c = 0;
    FLOAT("mv a0, %3\n fcvt.s.w fa2, a0") FLOAT("mv a0, %3\n fcvt.s.wu fa2, a0")
    FLOAT("mv a0, %3\n fcvt.s.l fa2, a0") FLOAT("mv a0, %3\n fcvt.s.lu fa2, a0")
    FLOAT("mv a0, %3\n fcvt.d.w fa2, a0") FLOAT("mv a0, %3\n fcvt.d.wu fa2, a0")
    FLOAT("mv a0, %3\n fcvt.d.l fa2, a0") FLOAT("mv a0, %3\n fcvt.d.lu fa2, a0")
    FLOAT("mv a0, %3\n fmv.w.x fa2, a0")
}

static void floats(const u64 *table, u64 count, int is_double) {
    for (u64 i = 0; i < count; i++)
        for (u64 j = 0; j < count; j++) {
            two_without_rounding(table[i], table[j], is_double);
            for (u64 mode = 0; mode < 5; mode++) {
                CSRW(frm, mode);
                two_floats(table[i], table[j], table[(i + 5 * j + mode) % count], is_double);
            }
        }
    for (u64 mode = 0; mode < 5; mode++) {
        CSRW(frm, mode);
        for (u64 i = 0; i < count; i++)
            one_float(table[i], is_double);
    }
}

void main(void) {
    CSRS(mstatus, 0x2000); // FS
    for (u64 i = 0; i < COUNT(integers); i++) {
        one_integer(integers[i]);
        for (u64 j = 0; j < COUNT(integers); j++)
            two_integers(integers[i], integers[j]);
    }
    for (u64 mode = 0; mode < 5; mode++) {
        CSRW(frm, mode);
        for (u64 i = 0; i < COUNT(integers); i++)
            float_of(integers[i]);
    }
    floats(doubles, COUNT(doubles), 1);
    floats(singles, COUNT(singles), 0);
    print("over\n");
    M32(TEST) = 0x5555;
}
