# Sv48: four levels; a leaf at each; the canonical check is one of bit 47 (privileged manual, "Sv48").
    .equ  V, 1
    li    t1, 0x8020            # Data that the pages show.
    la    t0, data
    sd    t1, 0(t0)
    li    a0, 0x9000000000080010
    call  enter_s
    li    s0, 0x8080400000      # Level 0 of 0x80002000: indices 1, 2, 2, 0.
    ld    s1, 0(s0)
    li    s0, 0x8080202000      # Level 1: 2 MiB.
    ld    s2, 0(s0)
    li    s0, 0x8040002000      # Level 2: 1 GiB at 0x80000000.
    ld    s3, 0(s0)
#: s1 = 0x8020
#: s2 = 0x8020
#: s3 = 0x8020
    li    s0, 0xffff808080202000 # Index 257 shares the tables of index 1.
    ld    s4, 0(s0)
#: s4 = 0x8020
    li    s0, 0x808080202000    # The same, not sign-extended.
one:
    ld    s5, 0(s0)
#: s5 = 0
#: trap 13 0x808080202000 one 1
    # The same virtual address in Sv39 and bare, through other tables: nothing of Sv48 must remain.
    li    a7, 1
two:
    ecall
#: trap 9 0 two 1
    li    a0, 0
    call  enter_s
    li    s0, 0x80002000
    ld    s6, 0(s0)
#: s6 = 0x8020
    j     done
    .org  0x2000
data:
    .dword 0
    .org  0x10000
    .dword 0x80011000/4+V, 0x80012000/4+V
    .org  0x10808
    .dword 0x80012000/4+V
    .org  0x11000               # Addresses below 2^39: memory as it is.
    .dword 0, 0, 0x80000000/4+0xcf
    .org  0x12000
    .dword 0, 0x80000000/4+0xc3, 0x80013000/4+V
    .org  0x13000
    .dword 0, 0x80000000/4+0xc3, 0x80014000/4+V
    .org  0x14000
    .dword 0x80002000/4+0xc3
