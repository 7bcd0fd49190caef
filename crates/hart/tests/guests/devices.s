# Code outside RAM, and accesses to devices from translated addresses; interrupts that a device raises are
# taken at the next instruction.
    .equ  V, 1
    li    t0, 0x10001000
    li    t1, 0x80
    csrw  mie, t1
    csrsi mstatus, 8
    sd    t1, 0(t0)
one:
    nop
    sd    zero, 0(t0)
#: trap 0x8000000000000007 0 one 3
    # The read-only memory of the board: addi s0, s0, 1; c.addi s0, 2; li s1, 3 (straddling nothing); ret.
    li    t2, 0x1000
    jalr  ra, (t2)
    jalr  ra, (t2)
    jalr  ra, 64(t2)            # Behind its end.
#: s0 = 9
#: s1 = 3
#: trap 1 0x1040 0x1040 3
    # Through a mapping.
    li    a0, 0x8000000000080010
    call  enter_s
    li    t2, 0x40000000
    jalr  ra, (t2)
    li    t3, 0x40001000
    sb    t2, 0(t3)
    lb    s2, 0(t3)
#: s2 = 0x5a
    j     done
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf
    .org  0x11000
    .dword 0x80012000/4+V
    .org  0x12000
    .dword 0x1000/4+0xcb, 0x10000000/4+0xc7
