# Page tables rewritten without any fence: translation is as if nothing was ever cached
# (docs/determinism.md, "Coherent caches"). The manual allows it; the point is that every engine agrees.
    .equ  V, 1
    li    s0, 0x40000000
    li    s10, 0x80012000
    li    s11, 0x80011000
    li    a0, 0x8000000000080010
    call  enter_s
    # Remap a page that was read.
    ld    a1, 0(s0)
    li    t0, 0x2000c4c7
    sd    t0, 0(s10)
    ld    a2, 0(s0)
#: a1 = 0x11
#: a2 = 0x22
    # Remap a page that was written.
    li    t1, 0x33
    sd    t1, 8(s0)
    li    t0, 0x2000c0c7
    sd    t0, 0(s10)
    ld    a3, 8(s0)
    sd    t1, 16(s0)
#: a3 = 0
#: [0x80031008] = 0x33
#: [0x80031010] = 0
#: [0x80030010] = 0x33
    # Take rights away, byte by byte, by AMO, by SC.
    li    t0, 0xc3
    sb    t0, 0(s10)
one:
    sd    t1, 0(s0)
    li    t0, -2
    amoand.d zero, t0, (s10)
two:
    ld    t2, 0(s0)
    lr.d  t0, (s10)
    ori   t0, t0, 5
    sc.d  zero, t0, (s10)
    sd    t1, 24(s0)
    lr.w  t0, (s10)
    sc.w  zero, zero, (s10)
three:
    ld    t2, 0(s0)
#: trap 15 0x40000000 one 1
#: trap 13 0x40000000 two 1
#: trap 13 0x40000000 three 1
#: [0x80030018] = 0x33
    # A misaligned store over two entries.
    li    t0, 0x2000c0c7
    sd    t0, 0(s10)
    sd    t0, 8(s10)
    li    s1, 0x40001000
    ld    t2, 0(s0)
    ld    t2, 0(s1)
    sd    zero, 4(s10)          # Upper half of one, lower half of the other.
    ld    a4, 0(s0)
four:
    ld    t2, 0(s1)
#: a4 = 0x11
#: trap 13 0x40001000 four 1
    # A pointer is redirected to another table, which was never walked, and back.
    ld    t2, 0(s0)
    li    t0, 0x20004c01
    sd    t0, 0(s11)
    ld    a5, 0(s0)
    li    t0, 0x20004801
    sd    t0, 0(s11)
    ld    a6, 0(s0)
#: a5 = 0x22
#: a6 = 0x11
    # The old table is written while it is not in use, then used again.
    li    t0, 0x20004c01
    sd    t0, 0(s11)
    ld    t2, 0(s0)
    li    t0, 0x2000c4c7
    sd    t0, 0(s10)
    li    t0, 0x20004801
    sd    t0, 0(s11)
    ld    a7, 0(s0)
#: a7 = 0x22
    # A root entry changes from a pointer to a gigapage.
    li    s2, 0x80010000
    li    t0, 0x200000c7
    sd    t0, 8(s2)
    li    s3, 0x40031000
    ld    s4, 0(s3)
    li    t0, 0x20004401
    sd    t0, 8(s2)
five:
    ld    s5, 0(s3)
#: s4 = 0x22
#: trap 13 0x40031000 five 1
    # A superpage is broken up.
    li    s3, 0x40200000
    ld    s6, 0x700(s3)
    li    t0, 0x20004c01
    sd    t0, 8(s11)
six:
    ld    s7, 0x700(s3)
#: s6 = 0x700700
#: s7 = 0x700
    # A table through its own mapping: the entry that maps the table is changed through that mapping.
    li    t0, 0x200048c7
    sd    t0, 16(s10)
    li    s3, 0x40002000
    ld    s8, 16(s3)
    li    t0, 0x2000c4c7
    sd    t0, 16(s3)
    ld    s9, 0(s3)
    sd    t0, 24(s3)            # Lands on the data page now.
#: s8 = 0x200048c7
#: s9 = 0x22
#: [0x80031018] = 0x2000c4c7
    # Two roots over the same lower tables; the change is made under one and seen under the other.
    li    a7, 1
seven:
    ecall
    li    a0, 0x8000000000080014
    call  enter_s
    ld    t3, 0(s0)
    li    t0, 0x2000c0c7
    sd    t0, 0(s10)
    ld    t4, 0(s0)
    li    a7, 1
eight:
    ecall
    li    a0, 0x8000000000080010
    call  enter_s
    ld    t5, 0(s0)
    li    t0, 0x2000c4c7
    sd    t0, 0(s10)
    ld    t6, 0(s0)
    mv    a7, t6
#: trap 9 0 seven 1
#: trap 9 0 eight 1
#: t3 = 0x22
#: t4 = 0x11
#: t5 = 0x11
#: t6 = 0x22
    j     done
    .org  0x700
    .dword 0x700700
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf
    .org  0x11000
    .dword 0x80012000/4+V, 0x80000000/4+0xc7
    .org  0x12000
    .dword 0x80030000/4+0xc7
    .org  0x13000
    .dword 0x80031000/4+0xc7
    .org  0x14000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf
    .org  0x30000
    .dword 0x11
    .org  0x31000
    .dword 0x22
    .org  0x31700
    .dword 0x700
