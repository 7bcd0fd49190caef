# What every guest starts with: a machine-mode trap handler that writes down each trap and goes on.
#
# It goes on behind the instruction (of four bytes, or as long as the illegal bits in mtval say); after a
# fetch fault at `ra`; after an interrupt, having disabled it, at the same place; after an `ecall` with a7 = 1
# in machine mode. It changes no register. Each entry is mcause, mtval, mepc, mstatus.MPP.
    j     start
    .org  0x10
handler:
    csrrw t6, mscratch, t6
    sd    t5, 0(t6)
    sd    t4, 8(t6)
    csrr  t5, mscratch
    sd    t5, 16(t6)
    ld    t4, 24(t6)
    csrr  t5, mcause
    sd    t5, 0(t4)
    csrr  t5, mtval
    sd    t5, 8(t4)
    csrr  t5, mepc
    sd    t5, 16(t4)
    csrr  t5, mstatus
    srli  t5, t5, 11
    andi  t5, t5, 3
    sd    t5, 24(t4)
    addi  t4, t4, 32
    sd    t4, 24(t6)
    csrr  t5, mcause
    blt   t5, zero, rt_interrupt
    addi  t4, t5, -1
    beqz  t4, rt_fetch_fault
    addi  t4, t5, -12
    beqz  t4, rt_fetch_fault
    addi  t4, t5, -2
    bnez  t4, rt_four
    csrr  t4, mtval
    andi  t4, t4, 3
    addi  t4, t4, -3
    beqz  t4, rt_four
    li    t4, 2
    j     rt_skip
rt_four:
    li    t4, 4
rt_skip:
    csrr  t5, mepc
    add   t5, t5, t4
    csrw  mepc, t5
    csrr  t5, mcause
    andi  t5, t5, 0x18
    addi  t5, t5, -8
    bnez  t5, rt_back
    csrr  t5, mcause
    addi  t5, t5, -12
    bge   t5, zero, rt_back
    addi  t5, a7, -1
    bnez  t5, rt_back
    li    t5, 0x1800
    csrs  mstatus, t5
    j     rt_back
rt_fetch_fault:
    csrw  mepc, ra
    j     rt_back
rt_interrupt:
    andi  t5, t5, 63
    li    t4, 1
    sll   t4, t4, t5
    csrc  mie, t4
rt_back:
    csrr  t5, mscratch
    mv    t5, t6
    ld    t4, 8(t6)
    ld    t6, 16(t6)
    csrw  mscratch, t5
    ld    t5, 0(t5)
    mret
done:
    j     done
    .org  0x200
area:
    .dword 0, 0, 0, log
start:
    la    t0, handler
    csrw  mtvec, t0
    la    t0, area
    csrw  mscratch, t0
    li    a0, 0
    li    a1, 0
    li    t0, 0
    .equ  log, 0x80020000
    .equ  ram, 0x80000000
    .equ  uart, 0x10000000
    .equ  lines, 0x10001000
    .equ  dma, 0x10002000
    j     rt_begin
# Goes on at ra in supervisor mode, with satp = a0 and all of memory open to it. Changes t0.
enter_s:
    li    t0, 0x800
    j     rt_enter
# Likewise in user mode.
enter_u:
    li    t0, 0
rt_enter:
    csrw  mepc, ra
    li    ra, 0x1800
    csrc  mstatus, ra
    csrs  mstatus, t0
    li    t0, -1
    csrw  pmpaddr15, t0
    li    t0, 0x1f00000000000000
    csrs  pmpcfg2, t0
    csrw  satp, a0
    csrr  ra, mepc
    mret
rt_begin:
