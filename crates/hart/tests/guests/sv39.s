# Sv39: permissions, U, SUM, MXR, superpages, malformed entries (privileged manual, "Virtual Address
# Translation Process").
    .equ  V, 1
    .equ  data, 0x80030000
    .equ  va, 0x40000000
    li    t1, 0x80030100        # `ret` on the data page.
    li    t2, 0x8067
    sw    t2, 0(t1)
    li    a0, 0x8000000000080010
    call  enter_s
    li    s0, 0x40000000
    li    s1, 0x1000
one:
    sd    s0, 0(s0)             # 0: read, write.
    ld    a1, 0(s0)
    add   s2, s0, s1
    ld    a2, 0(s2)             # 1: read only, the same page.
    sd    a2, 8(s2)
    amoadd.d zero, a2, (s2)     # An AMO is a store.
    lr.d  a3, (s2)
#: a1 = 0x40000000
#: a2 = 0x40000000
#: a3 = 0x40000000
#: trap 15 va+0x1008 one+16 1
#: trap 15 va+0x1000 one+20 1
    # Fetch: not from a page without X.
    jalr  ra, 256(s0)
#: trap 12 va+0x100 va+0x100 1
    add   s2, s2, s1
two:
    ld    a4, 0(s2)             # 2: execute only.
    jalr  ra, 256(s2)
    li    t0, 0x80000           # MXR makes it readable.
    csrs  sstatus, t0
    ld    a5, 0(s2)
    sd    a5, 0(s2)
    csrc  sstatus, t0
    ld    a4, 0(s2)
#: trap 13 va+0x2000 two 1
#: trap 15 va+0x2000 two+20 1
#: trap 13 va+0x2000 two+28 1
#: a4 = 0
#: a5 = 0x40000000
    add   s2, s2, s1
three:
    ld    a6, 0(s2)             # 3: a user page: not for the supervisor,
    li    t0, 0x40000
    csrs  sstatus, t0
    ld    a6, 0(s2)             # unless SUM,
    jalr  ra, 256(s2)               # and never to execute.
    csrc  sstatus, t0
    sd    a6, 0(s2)
#: a6 = 0x40000000
#: trap 13 va+0x3000 three 1
#: trap 12 va+0x3100 va+0x3100 1
#: trap 15 va+0x3000 three+24 1
    add   s2, s2, s1
four:
    ld    a7, 0(s2)             # 4: V clear.
    add   s2, s2, s1
    ld    a7, 0(s2)             # 5: W without R.
    add   s2, s2, s1
    ld    a7, 0(s2)             # 6: a reserved bit.
    add   s2, s2, s1
    ld    a7, 0(s2)             # 7: a pointer where there is no level left.
    add   s2, s2, s1
    ld    a7, 0(s2)             # 8: Svpbmt is not implemented.
    add   s2, s2, s1
    ld    a7, 0(s2)             # 9: a NAPOT range of no size.
    add   s2, s2, s1
    lb    a7, 0(s2)             # 10: a device.
    sb    a7, 0(s2)
    add   s2, s2, s1
    ld    a7, 0(s2)             # 11: nothing there.
    sd    a7, 0(s2)
    jalr  ra, (s2)
#: trap 13 va+0x4000 four 1
#: trap 13 va+0x5000 four+8 1
#: trap 13 va+0x6000 four+16 1
#: trap 13 va+0x7000 four+24 1
#: trap 13 va+0x8000 four+32 1
#: trap 13 va+0x9000 four+40 1
#: trap 5 va+0xb000 four+60 1
#: trap 7 va+0xb000 four+64 1
#: trap 1 va+0xb000 va+0xb000 1
    # Superpages.
    li    s3, 0x40200000
    ld    s4, 0x700(s3)         # A good one of 2 MiB: 0x80000000.
    li    s5, 0x40400000
m1: ld    s6, 0(s5)             # A misaligned one.
    li    s5, 0x40600000
m2: ld    s6, 0(s5)             # A pointer with A set: reserved.
    li    s5, 0x40800000
m3: ld    s6, 0(s5)             # A table outside RAM: an access fault.
    li    s5, 0xc0000000
m4: ld    s6, 0(s5)             # A misaligned one of 1 GiB.
    # Not canonical: bits 63:39 must equal bit 38.
    li    s5, 0x8000000000
m5: ld    s6, 0(s5)
    li    s5, 0x4040000000
m6: ld    s6, 0(s5)
    li    s5, 0xffffffc040000000
    ld    s7, 0(s5)             # The same entry as canonical address works.
    jalr  ra, (s5)
#: s4 = 0x123456789
#: s7 = 0x40000000
#: trap 13 0x40400000 m1 1
#: trap 13 0x40600000 m2 1
#: trap 5 0x40800000 m3 1
#: trap 13 0xc0000000 m4 1
#: trap 13 0x8000000000 m5 1
#: trap 13 0x4040000000 m6 1
#: trap 12 0xffffffc040000000 0xffffffc040000000 1
    j     done
    .org  0x700
    .dword 0x123456789
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf, 0x80001000/4+0xcf
    .org  0x10808               # Index 257.
    .dword 0x80011000/4+V
    .org  0x11000
    .dword 0x80012000/4+V, 0x80000000/4+0xc7, 0x80001000/4+0xc7, 0x80012000/4+0x41, 0x1000/4+V
    .org  0x12000
    .dword data/4+0xc7, data/4+0xc3, data/4+0xc9, data/4+0xdf
    .dword data/4+0xce, data/4+0xc5, data/4+0x400000000000c7, data/4+V
    .dword data/4+0x20000000000000c7, data/4+0x80000000000000c7, 0x10000000/4+0xc7, 0x20000000/4+0xcf
