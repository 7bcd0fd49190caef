# What cache-block instructions check, and what `cbo.zero` makes stale: it is a store of 64 bytes (chapter
# "CMO"; privileged manual, "Sv39", "Physical Memory Protection").
    .equ  V, 1
    .equ  data, 0x80030000
    .equ  va, 0x40000000
    li    t0, 0x20000000000000f0
    csrw  menvcfg, t0
    li    s10, 0x80012000
    li    a0, 0x8000000000080010
    call  enter_s
    li    s0, 0x40000000
    li    s1, 0x1000
    # 0: A and D clear. Managing sets A, zeroing D besides.
    cbo.clean (s0)
    ld    a1, 0(s10)
    cbo.zero (s0)
    ld    a2, 0(s10)
#: a1 = 0x2000c047
#: a2 = 0x2000c0c7
    add   s2, s0, s1
    addi  s2, s2, 67
one:
    cbo.flush (s2)              # 1: read only. All but zeroing.
    cbo.zero (s2)
    add   s2, s2, s1
    cbo.clean (s2)              # 2: execute only: not for managing.
    cbo.zero (s2)
    add   s2, s2, s1
    cbo.clean (s2)              # 3: nothing there.
    cbo.zero (s2)
    li    s3, 0x80000
    csrs  sstatus, s3
    sub   s2, s2, s1
    cbo.clean (s2)              # 2: with MXR it is readable.
    csrc  sstatus, s3
#: trap 15 va+0x1043 one+4 1
#: trap 15 va+0x2043 one+12 1
#: trap 15 va+0x2043 one+16 1
#: trap 15 va+0x3043 one+24 1
#: trap 15 va+0x3043 one+28 1
    # It drops what was derived of page-table entries, without a fence: here that of page 8.
    li    s4, 0x40008000
    ld    a3, 0x100(s4)
    sd    s4, 0x100(s4)
    ld    a4, 0x100(s4)
    addi  s5, s10, 64
    cbo.zero (s5)
two:
    ld    a3, 0x100(s4)
    sd    a3, 0x100(s4)
#: a4 = 0x40008000
#: trap 13 va+0x8100 two 1
#: trap 15 va+0x8100 two+4 1
    # And of code: the last instruction of a block.
    li    s6, 0
    la    s7, routine
    li    s8, 8
again:
    jalr  ra, 60(s7)
    addi  s8, s8, -1
    bnez  s8, again
    cbo.zero (s7)
    jalr  ra, 60(s7)
#: s6 = 8
#: trap 2 0 routine+60 1
#: trap 2 0 routine+62 1
    li    a7, 1
three:
    ecall
#: trap 9 0 three 1
    # A PMP entry that covers half of a block, and one that covers all of it, for reading.
    li    t0, 0x2000c003        # 32 bytes at 0x80030000
    csrw  pmpaddr0, t0
    li    t0, 0x2000c017        # 64 bytes at 0x80030040
    csrw  pmpaddr1, t0
    li    t0, 0x191f
    csrw  pmpcfg0, t0
    li    a0, 0
    call  enter_s
    li    s0, 0x80030020
    li    s1, 0x80030041
four:
    cbo.zero (s0)
    cbo.clean (s0)
    cbo.zero (s1)
    cbo.clean (s1)
    cbo.zero (s2)
#: trap 7 0x80030020 four 1
#: trap 7 0x80030020 four+4 1
#: trap 7 0x80030041 four+8 1
#: trap 7 va+0x2043 four+16 1
    j     done
    .org  0x1000
routine:
    .org  0x103c
    addi  s6, s6, 1
    ret
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf
    .org  0x11000
    .dword 0x80012000/4+V
    .org  0x12000
    .dword data/4+0x07, data/4+0xc3, data/4+0xc9, 0
    .org  0x12040
    .dword data/4+0xc7
