# Self-modifying code: a store is seen by the very next instruction, fence.i or not (docs/determinism.md,
# "Coherent caches").
    la    t0, one
    li    t1, 0x00200413        # li s0, 2
    sw    t1, 0(t0)
one:
    li    s0, 1
#: s0 = 2
    # In a loop that has run before; half of an instruction; the instruction after next.
    li    t2, 3
    la    t0, two
    li    s1, 0
loop:
    lhu   t1, 2(t0)
    addi  t1, t1, 0x10          # The immediate, in bits 31:20: one more each time.
    sh    t1, 2(t0)
    nop
two:
    addi  s1, s1, 0
    addi  t2, t2, -1
    bnez  t2, loop
#: s1 = 6
    # The store's own instruction may be overwritten: it has happened.
    la    t0, three
    li    t1, 0x00000013
    li    s2, 0
again:
three:
    sw    t1, 0(t0)             # Becomes a nop.
    addi  s2, s2, 1
    li    t3, 2
    bne   s2, t3, again
    lw    s3, 0(t0)
#: s2 = 2
#: s3 = 0x13
    # Two compressed instructions become one long one, whose first half is executed next.
    la    t0, four
    li    t1, 0x00300a13        # li s4, 3
    c.nop
    sw    t1, 0(t0)
    c.nop
four:
    c.li  s4, 1
    c.li  s4, 2
#: s4 = 3
    # By AMO, SC, a misaligned store, and a device.
    la    t0, five
    li    t1, 0x100000
    amoadd.w zero, t1, (t0)
five:
    li    s5, 4
#: s5 = 5
    la    t0, six
    lr.w  t1, (t0)
    li    t2, 0x200000
    add   t1, t1, t2
    sc.w  t2, t1, (t0)
six:
    li    s6, 4
#: s6 = 6
    la    t0, seven
    li    t1, 0x00130000        # Upper half: immediate 0. Lower half of the next: as before.
    sw    t1, 2(t0)
    nop
seven:
    addi  s7, zero, 8
    addi  zero, zero, 0
#: s7 = 0
    # The device of the test board writes to 0x80008000.
    la    t0, routine
    jalr  ra, (t0)
    mv    a0, s8
    li    t1, 0x10002000
    li    t2, 0x0000806700900c13 # li s8, 9; ret
    sd    t2, 0(t1)
    jalr  ra, (t0)
#: a0 = 1
#: s8 = 9
    # Many stores next to running code: the page stays what it is.
    li    t2, 100
    la    t0, data
    li    s10, 0
many:
    sd    t2, 0(t0)
    ld    t3, 0(t0)
    add   s10, s10, t3
    addi  t2, t2, -1
    bnez  t2, many
#: s10 = 5050
    # Many stores to a page of code that is not running, then it runs.
    li    t2, 300
    la    t0, routine+8
    li    t1, 0x13
page:
    sw    t1, 0(t0)
    addi  t0, t0, 4
    addi  t2, t2, -1
    bnez  t2, page
    la    t0, routine
    li    t1, 0x00008067
    sw    t1, 400(t0)
    li    t1, 0x00a00c93        # li s9, 10
    sw    t1, 396(t0)
    jalr  ra, 100(t0)
    mv    s11, s9
#: s11 = 10
    j     done
data:
    .dword 0
    .org  0x8000
routine:
    li    s8, 1
    ret
