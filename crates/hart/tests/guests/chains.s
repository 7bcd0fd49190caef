# A loop that follows a chain of pointers from page to page, whose pages lie in another order in memory; what
# is near a node is read before and after what is far from it, in the next page.
    .equ  V, 1
    li    a0, 0x8000000000080010
    call  enter_s
    li    a0, 0x40000c00
    li    s2, 80
turn:
    ld    a1, 8(a0)
    ld    a2, 16(a0)
    ld    a3, 1200(a0)
    ld    a4, 16(a0)
    add   s0, s0, a1
    add   s0, s0, a2
    add   s0, s0, a3
    add   s1, s1, a4
    addi  s2, s2, -1
    ld    a0, 0(a0)
    bnez  s2, turn
#: s0 = 12000
#: s1 = 240
    # Two nodes in one page, and then those from before.
    li    a0, 0x40004000
    li    s2, 60
near:
    ld    a1, 8(a0)
    add   s3, s3, a1
    addi  s2, s2, -1
    ld    a0, 0(a0)
    bnez  s2, near
#: s3 = 176
    # Turned around and back again, with the node in another register than the pointer to the next one.
    li    s2, 2
around:
    li    a0, 0x40004000
    sd    zero, 0x40(a0)        # The end.
    li    a2, 0
reverse:
    mv    a1, a0
    ld    a0, 0(a1)
    addi  s5, s5, 1
    sd    a2, 0(a1)
    mv    a2, a1
    bnez  a0, reverse
    add   s6, s6, a2
    ld    a3, 0(a2)
    add   s6, s6, a3
    li    a0, 0x40004040
    li    a3, 0x40004000
    sd    a0, 0(a3)
    addi  s2, s2, -1
    bnez  s2, around
    # Across pages, 40 times.
    li    a0, 0x40000c00
    li    s2, 40
there:
    mv    a1, a0
    ld    a3, 8(a1)
    ld    a2, 0(a1)
    add   s7, s7, a3
    addi  a0, a2, 0
    addi  s2, s2, -1
    sd    s2, 24(a1)
    bnez  s2, there
    li    a0, 0x40000c00
    ld    s8, 24(a0)
    li    a0, 0x40002c00
    ld    s9, 24(a0)
    # Two nodes a turn.
    li    a0, 0x40000c00
    li    s2, 41
twice:
    ld    a1, 0(a0)
    ld    a0, 0(a1)
    addi  s2, s2, -1
    bnez  s2, twice
#: s5 = 4
#: s6 = 0x100010080
#: s7 = 80
#: s8 = 1
#: s9 = 0
    # A node of no page.
    li    a0, 0x40004080
    li    s2, 2
lost:
    ld    a1, 8(a0)
    add   s4, s4, a1
    addi  s2, s2, -1
next:
    ld    a0, 0(a0)
    bnez  s2, lost
#: trap 13 0x50000008 lost 1
#: trap 13 0x50000000 next 1
#: s4 = 14
#: a0 = 0x50000000
    j     done
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf
    .org  0x11000
    .dword 0x80012000/4+V
    .org  0x12000
    .dword 0x80030000/4+0xc7, 0x80033000/4+0xc7, 0x80031000/4+0xc7, 0x80035000/4+0xc7, 0x80034000/4+0xc7
    .org  0x30c00
    .dword 0x40002c00, 1, 2
    .org  0x310b0
    .dword 0x7777               # Where the first far one would be, if pages lay in order.
    .org  0x31c00
    .dword 0x40000c00, 3, 4
    .org  0x32c10
    .dword 0x7777
    .org  0x330b0
    .dword 96
    .org  0x34000
    .dword 0x40004040, 20, 0, 0, 0, 0, 0, 0
    .dword 0x40000c00, 40
    .org  0x34080
    .dword 0x50000000, 7
    .org  0x350b0
    .dword 194
