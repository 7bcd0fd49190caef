# Counters: cycle counts attempted steps of this hart, instret those without an exception; both as of before
# the reading instruction (chapter "Zicntr"; privileged manual, "Hardware Performance Monitor").
#: ticks 10
    csrr  s0, mcycle
    csrr  s1, mcycle
    sub   s0, s1, s0
    csrr  s1, minstret
    csrr  s2, minstret
    sub   s1, s2, s1
#: s0 = 1
#: s1 = 1
    # An exception counts as a cycle, not as an instruction.
    csrr  s2, mcycle
    csrr  s3, minstret
bad:
    .word 0xffffffff
    nop
    csrr  s4, mcycle
    csrr  s5, minstret
    sub   s4, s4, s2
    sub   s5, s5, s3
    sub   s6, s4, s5
#: trap 2 0xffffffff bad 3
#: s6 = 1
    # A written counter reads as written in the next instruction.
    li    t0, 1000
    csrw  mcycle, t0
    csrr  s7, mcycle
    csrw  minstret, t0
    csrr  s8, minstret
    csrr  s9, instret
#: s7 = 1000
#: s8 = 1000
#: s9 = 1001
    # Inhibited counters stand still; the other goes on.
    csrwi mcountinhibit, 1
    csrr  s10, mcycle
    nop
    csrr  s11, mcycle
    sub   s10, s11, s10
    csrr  t3, minstret
    nop
    csrr  a1, minstret
    sub   t3, a1, t3
    csrw  mcycle, t0
    nop
    csrwi mcountinhibit, 0
    csrr  a1, mcycle
    csrr  a2, mcycle
#: s10 = 0
#: t3 = 2
#: a1 = 1000
#: a2 = 1001
    # Overflow wraps.
    li    t1, -1
    csrw  mcycle, t1
    nop
    csrr  a3, mcycle
#: a3 = 0
    # time is the board's clock: here a tenth of the steps.
    csrr  a4, time
    li    t2, 49
wait:
    addi  t2, t2, -1
    bnez  t2, wait
    csrr  a5, time
    sub   a4, a5, a4

#: a4 = 10
    # mcounteren opens them to supervisor mode, scounteren further to user mode.
    li    t0, 5
    csrw  mcounteren, t0
    li    t0, 6
    csrw  scounteren, t0
    li    a0, 0
    call  enter_s
s:
    csrr  t0, cycle
    csrr  t0, time
    csrr  t0, instret
    csrr  t0, 0xc03
    li    a7, 1
    ecall
    call  enter_u
u:
    csrr  t0, cycle
    csrr  t0, time
    csrr  t0, instret
    li    a7, 1
    ecall
#: trap 2 0xc01022f3 s+4 1
#: trap 2 0xc03022f3 s+12 1
#: trap 9 0 s+20 1
#: trap 2 0xc00022f3 u 0
#: trap 2 0xc01022f3 u+4 0
#: trap 8 0 u+16 0
    j     done
