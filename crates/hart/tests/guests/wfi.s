# WFI: ends when an enabled interrupt is pending, whatever the global enables and the delegation say
# (privileged manual, "Wait for Interrupt"); here it is pending already, or the timer comes.
#: ticks 10
    li    t0, 0x10001000
    li    t1, 0x80
    sw    t1, 0(t0)
    csrw  mie, t1
    wfi                         # Pending and enabled, MIE clear: goes on, no trap.
    li    s0, 1
#: s0 = 1
    sw    zero, 0(t0)
    # Sstc: stimecmp drives STIP.
    li    t2, 0x8000000000000000
    csrw  menvcfg, t2
    csrr  s1, time
    addi  s1, s1, 5
    csrw  stimecmp, s1
    csrr  s2, mip
    li    t3, 0x20
    csrw  mie, t3
wait:
    csrr  t4, mip
    and   t4, t4, t3
    beqz  t4, wait
    csrr  s3, time
    sub   s3, s3, s1            # At once when time reaches stimecmp.
    wfi
#: s2 = 0
#: s3 = 0
    # STIP is read-only now; moving stimecmp clears it.
    csrc  mip, t3
    csrr  s4, mip
    li    t4, -1
    csrw  stimecmp, t4
    csrr  s5, mip
#: s4 = 0x20
#: s5 = 0
    # A delegated timer interrupt, in supervisor mode.
    csrw  mideleg, t3
    li    t4, 2
    csrw  mcounteren, t4
    la    t4, handler_s
    csrw  stvec, t4
    li    a0, 0
    call  enter_s
    csrr  t5, time
    addi  t5, t5, 4
    csrw  stimecmp, t5
    csrsi sstatus, 2
    li    s6, 0
loop:
    addi  s6, s6, 1
    beqz  s7, loop
#: s7 = 0x8000000000000005
#: s8 = 0
    # TW: WFI below machine mode is illegal at once.
    li    a7, 1
there:
    ecall
    li    t6, 0x200000
    csrs  mstatus, t6
    call  enter_s
tw:
    wfi
    li    a7, 1
    ecall
#: trap 9 0 there 1
#: trap 2 0x10500073 tw 1
#: trap 9 0 tw+8 1
    # Without menvcfg.STCE STIP is an ordinary bit again.
    csrw  menvcfg, zero
    csrw  mip, zero
    csrr  s9, mip
    csrw  mip, t3
    csrr  s10, mip
#: s9 = 0
#: s10 = 0x20
    j     done
handler_s:
    csrr  s7, scause
    csrr  s8, time
    sub   s8, s8, t5            # Taken in the very tick.
    li    t6, -1
    csrw  stimecmp, t6
    sret
