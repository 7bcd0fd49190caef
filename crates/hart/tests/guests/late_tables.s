# Pages that were written as data before they became page tables or code, tables that a device writes, and
# tables used at more than one level (docs/determinism.md, "Coherent caches").
    .equ  V, 1
    li    s0, 0x40000000
    li    s10, 0x80012000
    li    a0, 0x8000000000080010
    call  enter_s
    # Data first: 0x80013000 gets an entry, becomes a table, and gets another.
    li    s1, 0x80013000
    li    t0, 0x2000c0c7        # 0x80030000
    sd    t0, 0(s1)
    sd    t0, 0(s1)
    li    s2, 0x80011000
    li    t0, 0x20004c01
    sd    t0, 8(s2)
    li    s3, 0x40200000
    ld    a1, 0(s3)
    li    t0, 0x2000c4c7        # 0x80031000
    sd    t0, 0(s1)
    ld    a2, 0(s3)
#: a1 = 0x11
#: a2 = 0x22
    # Code: written, executed, written again.
    li    s4, 0x80014000
    li    t0, 0x00100293        # li t0, 1
    li    t1, 0x00008067        # ret
    sw    t1, 4(s4)
    sw    t0, 0(s4)
    jalr  ra, (s4)
    mv    a3, t0
    li    t1, 0x00200293        # li t0, 2
    sw    t1, 0(s4)
    jalr  ra, (s4)
    mv    a4, t0
#: a3 = 1
#: a4 = 2
    # Executed, then many stores to the page (it becomes plain again), then executed and written anew.
    li    t2, 200
    addi  t3, s4, 1024
fill:
    sd    t2, 0(t3)
    addi  t3, t3, 8
    addi  t2, t2, -1
    bnez  t2, fill
    jalr  ra, (s4)
    li    t1, 0x00300293        # li t0, 3
    sw    t1, 0(s4)
    jalr  ra, (s4)
    mv    a5, t0
#: a5 = 3
    # The device of the test board writes to 0x80008000, a table.
    li    t0, 0x20002001
    sd    t0, 16(s2)
    li    t0, 0x2000c0c7
    li    s5, 0x80008000
    sd    t0, 0(s5)
    li    s6, 0x40400000
    ld    a6, 0(s6)
    li    s7, 0x40001000        # The device, mapped.
    li    t0, 0x2000c4c7
    sd    t0, 0(s7)
    ld    a7, 0(s6)
    mv    s8, a7
#: a6 = 0x11
#: s8 = 0x22
    # A root that maps itself: entry 3 points to the root, so the root serves at levels 2, 1 and 0.
    # Indices 3, 3, 3 would be the root itself, but its entry there is a pointer.
    li    s9, 0x80010000
    li    t0, 0x20004001
    sd    t0, 24(s9)
    li    s11, 0xc0600000
one:
    ld    t1, 0(s11)
#: trap 13 0xc0600000 one 1
    # Level 1, index 2 is the gigapage entry seen as one of 2 MiB: 0x80000000.
    li    s11, 0xc0400700
    ld    t1, 0(s11)
#: t1 = 0x700700
    # Level 0, index 2 under 3, 3: the same entry as one of 4 KiB.
    li    s11, 0xc0602700
    ld    t2, 0(s11)
#: t2 = 0x700700
    # A user entry at root index 4, seen at all levels, then changed.
    li    t0, 0x200000c7
    sd    t0, 32(s9)
    li    t3, 0x100000700
    li    t4, 0xc0800700
    li    t5, 0xc0604700
    ld    ra, 0(t3)
    ld    sp, 0(t4)
    ld    gp, 0(t5)
    sd    zero, 32(s9)
two:
    ld    t6, 0(t3)
    ld    t6, 0(t4)
    ld    t6, 0(t5)
#: ra = 0x700700
#: sp = 0x700700
#: gp = 0x700700
#: t6 = 0
#: trap 13 0x100000700 two 1
#: trap 13 0xc0800700 two+4 1
#: trap 13 0xc0604700 two+8 1
    # The same one level down: 0x80011000 at levels 1 and 0.
    li    t0, 0x20004401
    sd    t0, 40(s2)
    li    t0, 0x200000c7
    sd    t0, 48(s2)
    li    t3, 0x40c00700
    li    t4, 0x40a06700
    ld    tp, 0(t3)
    ld    a0, 0(t4)
    sd    zero, 48(s2)
three:
    ld    t6, 0(t3)
    ld    t6, 0(t4)
#: tp = 0x700700
#: a0 = 0x700700
#: trap 13 0x40c00700 three 1
#: trap 13 0x40a06700 three+4 1
    j     done
    .org  0x700
    .dword 0x700700
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf
    .org  0x11000
    .dword 0x80012000/4+V
    .org  0x12000
    .dword 0, 0x10002000/4+0xc7
    .org  0x30000
    .dword 0x11
    .org  0x31000
    .dword 0x22
