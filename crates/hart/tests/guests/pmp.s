# Physical memory protection (privileged manual, "Physical Memory Protection").
    # 0: NA4 at 0x80030000, nothing. 1: TOR from there to 0x80030010, read. 2: NAPOT 0x80031000, 4 KiB, none.
    li    t0, 0x2000c000
    csrw  pmpaddr0, t0
    li    t0, 0x2000c004
    csrw  pmpaddr1, t0
    li    t0, 0x2000c5ff
    csrw  pmpaddr2, t0
    li    t0, 0x180910
    csrw  pmpcfg0, t0
    csrr  s0, pmpcfg0
#: s0 = 0x180910
    li    s1, 0x80030000
    ld    t1, 8(s1)             # Not locked: machine mode has access.
    sd    s1, 8(s1)
    li    a0, 0
    call  enter_s
one:
    lw    t1, 0(s1)             # Entry 0.
    lw    t2, 4(s1)             # Entry 1: read,
    sw    t2, 4(s1)             # not write.
    ld    t3, 8(s1)
    ld    t1, 0(s1)             # Entry 0 matches a part only.
    ld    t1, 12(s1)            # Entry 1 too.
    lw    t1, 16(s1)            # Entry 15, set by enter_s: everything.
    sw    t1, 16(s1)
    ld    t4, 2(s1)             # Misaligned, into entry 0.
    ld    t5, 5(s1)
#: trap 5 0x80030000 one 1
#: trap 7 0x80030004 one+8 1
#: trap 5 0x80030000 one+16 1
#: trap 5 0x8003000c one+20 1
#: trap 5 0x80030002 one+32 1
#: t3 = 0x80030000
    li    s2, 0x80030ffc        # Across pages into entry 2.
two:
    ld    t1, 0(s2)
    sd    t1, 0(s2)
    li    t6, 0x80031000
    jalr  ra, (t6)
    jalr  ra, 4(s1)             # No execution in entry 1.
#: trap 5 0x80031000 two 1
#: trap 7 0x80031000 two+4 1
#: trap 1 0x80031000 0x80031000 1
#: trap 1 0x80030004 0x80030004 1
    # Page tables are read with the supervisor's rights: a forbidden one is an access fault.
    li    a7, 1
three:
    ecall
#: trap 9 0 three 1
    li    a0, 0x8000000000080010
    call  enter_s
    li    s3, 0x40000000
four:
    ld    t1, 0(s3)
    sd    t1, 0(s3)
    jalr  ra, (s3)
#: trap 5 0x40000000 four 1
#: trap 7 0x40000000 four+4 1
#: trap 1 0x40000000 0x40000000 1
    li    a7, 1
five:
    ecall
#: trap 9 0 five 1
    # Locked entries bind machine mode, and cannot be changed.
    li    t0, 0x990910          # Entry 2: NAPOT, read, locked.
    csrw  pmpcfg0, t0
    csrw  pmpcfg0, zero
    csrw  pmpaddr2, zero
    csrr  s4, pmpcfg0
    csrr  s5, pmpaddr2
#: s4 = 0x990000
#: s5 = 0x2000c5ff
    li    t6, 0x80031000
    ld    s6, 0(t6)
six:
    sd    t6, 0(t6)
    jalr  ra, (t6)
    ld    s7, 0(t6)
#: trap 7 0x80031000 six 3
#: trap 1 0x80031000 0x80031000 3
    # W without R is reserved: not taken.
    li    t0, 0x1a
    csrw  pmpcfg0, t0
    csrr  s8, pmpcfg0
#: s8 = 0x990018
    # Bits 5 and 6 of an entry are not there.
    li    t0, 0x78
    csrw  pmpcfg0, t0
    csrr  s10, pmpcfg0
#: s10 = 0x990018
    # An address is 54 bits.
    li    t0, -1
    csrw  pmpaddr0, t0
    csrr  s9, pmpaddr0
#: s9 = 0x3fffffffffffff
    j     done
    .org  0x10000
    .dword 0, 0x80031000/4+1, 0x80000000/4+0xcf
    .org  0x31000
    .dword 0x80012000/4+1
