# Loads and stores: widths, extension, misalignment, page crossing (chapter "RV32I", "Load and Store
# Instructions"). Misaligned accesses to RAM work; across pages both parts are checked before either is
# written.
    la    t0, data
    lb    s0, 7(t0)
    lbu   s1, 7(t0)
    lh    s2, 6(t0)
    lhu   s3, 6(t0)
    lw    s4, 4(t0)
    lwu   s5, 4(t0)
    ld    s6, 0(t0)
#: s0 = 0xffffffffffffff88
#: s1 = 0x88
#: s2 = 0xffffffffffff8877
#: s3 = 0x8877
#: s4 = 0xffffffff88776655
#: s5 = 0x88776655
#: s6 = 0x8877665544332211
    lh    s7, 1(t0)             # Misaligned.
    lw    s8, 3(t0)
    ld    s9, 1(t0)
#: s7 = 0x3322
#: s8 = 0x77665544
#: s9 = 0x9988776655443322
    la    t1, scratch
    li    t2, 0x1122334455667788
    sd    t2, 0(t1)
    sb    t2, 9(t1)
    sh    t2, 10(t1)
    sw    t2, 12(t1)
    sd    t2, 19(t1)            # Misaligned.
#: [scratch] = 0x1122334455667788
#: [scratch+8] = 0x5566778877888800
#: [scratch+16] = 0x4455667788000000
#: [scratch+24] = 0x112233
    # Crossing a page.
    li    t3, 0x80004ffd
    sd    t2, 0(t3)
    ld    s10, 0(t3)
    lw    s11, 1(t3)
    lhu   a0, 2(t3)
#: [0x80004ff8] = 0x6677880000000000
#: [0x80005000] = 0x1122334455
#: s10 = 0x1122334455667788
#: s11 = 0x44556677
#: a0 = 0x5566
    # The first access to a page loads, so the store that follows finds only a load entry.
    li    t4, 0x80006000
    ld    a1, 0(t4)
    sd    t2, 0(t4)
    ld    a1, 0(t4)
#: a1 = 0x1122334455667788
    # Beyond the end of RAM: the part that faults is the second; nothing is written.
    li    t5, 0x800ffffc
edge:
    sd    t2, 0(t5)
    ld    a2, 0(t5)
    lwu   a3, 0(t5)
#: trap 7 0x80100000 edge 3
#: trap 5 0x80100000 edge+4 3
#: a2 = 0
#: a3 = 0
    # Devices: aligned only, and only where there is one.
    li    t6, 0x10000000
device:
    lb    a4, 0(t6)
    lw    a5, 1(t6)
    sw    t2, 2(t6)
    ld    a6, 8(t6)
    sd    t2, 8(t6)
    lb    zero, 0(t6)           # Nothing is kept, but the load is done.
    lb    zero, 1(t6)
#: a4 = 0x5a
#: a5 = 0
#: a6 = 0
#: trap 5 0x10000001 device+4 3
#: trap 7 0x10000002 device+8 3
#: trap 5 0x10000008 device+12 3
#: trap 7 0x10000008 device+16 3
#: trap 5 0x10000001 device+24 3
    j     done
    .org  0x2000
data:
    .dword 0x8877665544332211, 0x99
scratch:
    .dword 0, 0, 0, 0
