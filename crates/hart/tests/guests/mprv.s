# mstatus.MPRV: loads and stores of machine mode with the privilege in MPP; TVM and TSR (privileged manual,
# "Memory Privilege in mstatus Register", "Virtualization Support in mstatus Register").
    .equ  V, 1
    li    t0, -1
    csrw  pmpaddr15, t0
    li    t0, 0x1f00000000000000
    csrw  pmpcfg2, t0
    li    t0, 0x8000000000080010
    csrw  satp, t0
    li    s0, 0x40000000
one:
    ld    t1, 0(s0)             # No translation.
    li    t2, 0x20800           # MPRV, MPP = S.
    csrs  mstatus, t2
    ld    a1, 0(s0)
    sd    zero, 8(s0)
    # Fetches are not affected: this code has no mapping.
    li    t3, 0x1800
    csrc  mstatus, t3           # MPP = U.
    la    ra, three
two:
    j     three
three:
    csrc  mstatus, t2
    ld    t1, 0(s0)
#: trap 5 0x40000000 one 3
#: a1 = 0x11
#: trap 5 0x40000000 three+4 3
#: [0x80030008] = 0
    # mret to a lower mode clears MPRV.
    csrs  mstatus, t2
    li    a0, 0
    call  enter_s
    li    a7, 1
four:
    ecall
    csrr  s1, mstatus
    srli  s1, s1, 17
    andi  s1, s1, 1
#: trap 9 0 four 1
#: s1 = 0
    # TVM: satp and sfence.vma are illegal in S. TSR: sret is.
    li    t0, 0x500000
    csrs  mstatus, t0
    call  enter_s
five:
    csrr  t0, satp
    csrw  satp, zero
    sfence.vma
    sret
    li    a7, 1
    ecall
#: trap 2 0x180022f3 five 1
#: trap 2 0x18001073 five+4 1
#: trap 2 0x12000073 five+8 1
#: trap 2 0x10200073 five+12 1
#: trap 9 0 five+20 1
    # Both legal in machine mode.
    csrr  s2, satp
    sfence.vma
    la    t0, six
    csrw  sepc, t0
    li    t0, 0x100
    csrs  mstatus, t0           # SPP = S
    sret
six:
    li    a7, 1
    ecall
#: trap 9 0 six+4 1
    # SUM and MXR apply to the effective privilege.
    li    t0, 0x8000000000080010
    csrw  satp, t0
    li    s3, 0x40001000
    li    t2, 0x1800
    csrc  mstatus, t2
    li    t2, 0x60800           # MPRV, SUM, MPP = S.
    csrs  mstatus, t2
    ld    s4, 0(s3)             # A user page.
    csrc  mstatus, t2
#: s4 = 0x11
    j     done
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0
    .org  0x11000
    .dword 0x80012000/4+V
    .org  0x12000
    .dword 0x80030000/4+0xc7, 0x80030000/4+0xd7
    .org  0x30000
    .dword 0x11, 0x22
