# Svnapot: 64 KiB by sixteen equal entries; everything else with the bit is reserved (privileged manual,
# "Svnapot"). And Svinval ("Svinval").
    .equ  V, 1
    .equ  N, 0x8000000000000000
    .equ  va, 0x40000000
    li    s0, 0x80030000
    li    s1, 0x1000
    li    t0, 16
fill:
    sd    s0, 8(s0)
    add   s0, s0, s1
    addi  t0, t0, -1
    bnez  t0, fill
    li    a0, 0x8000000000080010
    call  enter_s
    li    s0, 0x40000000
    ld    a1, 8(s0)             # Pages 0, 1, 8 and 15 of the sixteen.
    li    s2, 0x40001008
    ld    a2, 0(s2)
    li    s2, 0x40008008
    ld    a3, 0(s2)
    li    s2, 0x4000f008
    sd    s2, 8(s2)
    ld    a4, 0(s2)
#: a1 = 0x80030000
#: a2 = 0x80031000
#: a3 = 0x80038000
#: a4 = 0x8003f000
#: [0x8003f010] = va+0xf008
    # The entry of a page alone says where it is: the others need not agree, and a store to it is seen at
    # once.
    li    s10, 0x80012000
    li    t0, 0x2000c0c7
    sd    t0, 8(s10)
    li    s2, 0x40001008
    ld    a5, 0(s2)
#: a5 = 0x80030000
    # Other sizes are reserved: no low bit, lower ones, a higher one besides.
    li    s3, 0x40010000
one:
    ld    t0, 0(s3)
    add   s3, s3, s1
    ld    t0, 0(s3)
    add   s3, s3, s1
    sd    t0, 0(s3)
    add   s3, s3, s1
    ld    t0, 0(s3)
    add   s3, s3, s1
    jalr  ra, (s3)
#: trap 13 va+0x10000 one 1
#: trap 13 va+0x11000 one+8 1
#: trap 15 va+0x12000 one+16 1
#: trap 13 va+0x13000 one+24 1
#: trap 12 va+0x14000 va+0x14000 1
    ld    a6, 128(s10)          # And nothing is set in them.
#: a6 = 0x800000002000c007
    # In superpages and in pointers too.
    li    s4, 0x40200000
two:
    ld    t0, 0(s4)
    li    s4, 0x40400000
    ld    t0, 0(s4)
#: trap 13 0x40200000 two 1
#: trap 13 0x40400000 two+8 1
    # Svinval: as `sfence.vma` where it is about TVM.
    sinval.vma
    sinval.vma a0, a1
    sfence.w.inval
    sfence.inval.ir
    li    a7, 1
three:
    ecall
    li    t0, 0x100000
    csrs  mstatus, t0
    call  enter_s
four:
    sinval.vma a0, a1
    sfence.w.inval
    sfence.inval.ir
    ecall
    sinval.vma
    li    a0, 0
    call  enter_u
five:
    sinval.vma
    sfence.w.inval
    sfence.inval.ir
#: trap 9 0 three 1
#: trap 2 0x16b50073 four 1
#: trap 9 0 four+12 1
#: trap 2 0x16000073 five 0
#: trap 2 0x18000073 five+4 0
#: trap 2 0x18100073 five+8 0
    j     done
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf
    .org  0x11000
    .dword 0x80012000/4+V, 0x80008000/4+N+0xc7, 0x80012000/4+N+V
    .org  0x12000
    .dword 0x80038000/4+N+0xc7, 0x80038000/4+N+0xc7
    .org  0x12040
    .dword 0x80038000/4+N+0xc7
    .org  0x12078
    .dword 0x80038000/4+N+0xc7
    .dword 0x80030000/4+N+0x07, 0x80031000/4+N+0xc7, 0x80034000/4+N+0xc7, 0x8003c000/4+N+0xc7
    .dword 0x80032000/4+N+0xcf
