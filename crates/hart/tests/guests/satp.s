# A write to satp that makes another page the one being executed: the very next fetch sees it, the first time
# and when both address spaces are well known (docs/determinism.md, "Coherent caches").
    .equ  V, 1
    .equ  one, 0x8000000000080010
    .equ  two, 0x8000000000080013
    li    a0, one
    call  enter_s
    li    t1, 0x40000000
    li    s2, 20
again:
    li    t0, two
    jalr  ra, (t1)
    li    t0, one
    jalr  ra, (t1)
    addi  s2, s2, -1
    bnez  s2, again
#: s0 = 20
#: s1 = 20
    j     done
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf
    .org  0x11000
    .dword 0x80012000/4+V
    .org  0x12000
    .dword 0x80030000/4+0xcb
    .org  0x13000
    .dword 0, 0x80014000/4+V, 0x80000000/4+0xcf
    .org  0x14000
    .dword 0x80015000/4+V
    .org  0x15000
    .dword 0x80031000/4+0xcb
    .org  0x30000
    nop
    csrw  satp, t0              # Puts the other page here.
    addi  s0, s0, 1
    ret
    .org  0x31000
    nop
    csrw  satp, t0
    addi  s1, s1, 1
    ret
