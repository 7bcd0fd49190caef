# A and D: set by the walker with menvcfg.ADUE (Svadu), a page fault without (Svade).
    .equ  V, 1
    .equ  table, 0x80012000
    csrr  s9, menvcfg           # ADUE is set after reset.
    csrw  menvcfg, zero
    li    s0, 0x40000000
    li    s1, 0x40001000
    li    s2, 0x40002000
    li    s10, 0x80012000
    li    a0, 0x8000000000080010
    call  enter_s
one:
    ld    t0, 0(s0)             # A clear.
    sd    t0, 0(s1)             # D clear.
    ld    t0, 0(s1)
    jalr  ra, (s2)              # A clear.
#: trap 13 0x40000000 one 1
#: trap 15 0x40001000 one+4 1
#: trap 12 0x40002000 0x40002000 1
    li    a7, 1
two:
    ecall
#: trap 9 0 two 1
    li    t0, 0x2000000000000000
    csrw  menvcfg, t0
    call  enter_s
    # A fault sets nothing: no write permission on page 2.
three:
    sd    t0, 0(s2)
    ld    a1, 16(s10)
#: trap 15 0x40002000 three 1
    mv    a6, a1
#: a6 = 0x2000c009
    ld    t0, 0(s0)
    ld    a2, 0(s10)            # A.
    sd    t0, 0(s0)
    ld    a3, 0(s10)            # A and D.
    sd    t0, 0(s1)
    ld    a4, 8(s10)
    jalr  ra, (s2)
    ld    a5, 16(s10)
#: a2 = 0x2000c047
#: a3 = 0x2000c0c7
#: a4 = 0x2000c0c7
#: a5 = 0x2000c049
    # Software clears D, then A: the next use sets them again, without any fence.
    li    t1, 0x2000c047
    sd    t1, 0(s10)
    ld    t0, 0(s0)
    ld    s3, 0(s10)
    sd    t0, 0(s0)
    ld    s4, 0(s10)
    li    t1, 0x2000c007
    sd    t1, 0(s10)
    ld    t0, 0(s0)
    ld    s5, 0(s10)
    li    t1, 0x2000c009
    sd    t1, 16(s10)
    jalr  ra, (s2)
    ld    s6, 16(s10)
#: s3 = 0x2000c047
#: s4 = 0x2000c0c7
#: s5 = 0x2000c047
#: s6 = 0x2000c049
    # A store that crosses into a page that faults leaves no data, but has used the first page.
    li    t1, 0x2000c007
    sd    t1, 8(s10)
    li    s7, 0x40001ffc
four:
    sd    t1, 0(s7)
    ld    s8, 8(s10)
    lw    t6, 0(s7)
#: trap 15 0x40002000 four 1
#: s8 = 0x2000c0c7
#: t6 = 0
#: s9 = 0x2000000000000000
    # LR sets A, SC and AMO set D.
    li    t1, 0x2000c007
    sd    t1, 0(s10)
    sc.d  t2, t0, (s0)          # No reservation: no access.
    ld    a0, 0(s10)
    lr.d  t0, (s0)
    ld    a1, 0(s10)
    sc.d  t2, t0, (s0)
    ld    s11, 0(s10)
    sd    t1, 0(s10)
    amoadd.w t4, zero, (s0)
    ld    t3, 0(s10)
#: a0 = 0x2000c007
#: a1 = 0x2000c047
#: s11 = 0x2000c0c7
#: t2 = 0
#: t3 = 0x2000c0c7
    j     done
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf
    .org  0x11000
    .dword 0x80012000/4+V
    .org  0x12000
    .dword 0x80030000/4+0x07, 0x80030000/4+0x47, 0x80030000/4+0x09
    .org  0x30000
    .word 0x00008067            # ret
