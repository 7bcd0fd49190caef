# The page being executed is remapped, made inaccessible, or its entry used in two ways; the very next fetch
# sees it (docs/determinism.md, "Coherent caches").
    .equ  V, 1
    li    s10, 0x80012000
    li    a0, 0x8000000000080010
    call  enter_s
    # Two copies of the code, 0x80030000 and 0x80031000, differ in what they load into s0.
    li    t1, 0x40000000
    li    t0, 0x2000c4cb
    jalr  ra, (t1)
#: s0 = 2
#: s1 = 1
    # The same, with the entry made invalid: the next fetch faults; ra leads back.
    li    t0, 0x2000c4ca
    jalr  ra, (t1)
#: trap 12 0x40000008 0x40000008 1
    # One physical page at two addresses, executable in both, writable in one: a store through one changes
    # what the other executes.
    li    t0, 0x2000c0cb
    sd    t0, 0(s10)
    li    t0, 0x2000c0c7
    sd    t0, 8(s10)
    li    t2, 0x40001100
    li    t1, 0x40000100
    jalr  ra, (t1)
    mv    s3, s2
    li    t0, 0x00700913        # li s2, 7
    sw    t0, 0(t2)
    jalr  ra, (t1)
#: s3 = 6
#: s2 = 7
    j     done
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf
    .org  0x11000
    .dword 0x80012000/4+V
    .org  0x12000
    .dword 0x80030000/4+0xcb, 0
    .org  0x30000
    nop
    sd    t0, 0(s10)            # Puts the other page here.
    li    s0, 1
    li    s1, 1
    ret
    .org  0x30100
    li    s2, 6
    ret
    .org  0x31000
    nop
    sd    t0, 0(s10)
    li    s0, 2
    li    s1, 1
    ret
