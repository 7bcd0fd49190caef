# Exceptions, delegation, returns (privileged manual, "Machine Trap Delegation", "Trap-Return").
    li    t0, 0xa00000000
    # ecall from each mode; ebreak has its address in mtval.
one:
    ecall
    ebreak
    li    a0, 0
    call  enter_s
two:
    ecall
    ebreak
    mret                        # Illegal below machine mode.
    .word 0xffffffff
    li    a7, 1
    ecall
#: trap 11 0 one 3
#: trap 3 one+4 one+4 3
#: trap 9 0 two 1
#: trap 3 two+4 two+4 1
#: trap 2 0x30200073 two+8 1
#: trap 2 0xffffffff two+12 1
#: trap 9 0 two+20 1
    li    a7, 0
    call  enter_u
three:
    ecall
    sret
    mret
    wfi                         # Illegal in user mode, as S exists.
    sfence.vma
    li    a7, 1
    ecall
#: trap 8 0 three 0
#: trap 2 0x10200073 three+4 0
#: trap 2 0x30200073 three+8 0
#: trap 2 0x10500073 three+12 0
#: trap 2 0x12000073 three+16 0
#: trap 8 0 three+24 0
    # Delegated to supervisor mode.
    la    t0, supervisor
    csrw  stvec, t0
    li    t0, 0x104             # ecall from U, illegal instruction.
    csrw  medeleg, t0
    li    t0, 2
    csrs  mstatus, t0           # SIE = 1.
    li    s11, 0
    call  enter_u
four:
    ecall
    .word 0
    nop
    ebreak                      # Not delegated.
    j     five
    # Not delegated from machine mode.
supervisor:
    csrr  s0, scause
    csrr  s1, stval
    csrr  s2, sepc
    csrr  s3, sstatus           # SPIE = 1, SIE = 0, SPP = 0.
    add   s11, s11, s0
    addi  s2, s2, 4
    csrw  sepc, s2
    sret
five:
    csrr  s4, sstatus           # Delegated as well: illegal from U.
    .half 0x9002                # c.ebreak: the handler skips four bytes.
    .half 1
    li    a7, 1
    .word 0x0000100b            # custom-0
    ebreak
    li    t1, 0
    ld    t0, 0(t1)
    mv    s8, zero
#: trap 3 four+12 four+12 0
#: trap 3 five+4 five+4 0
#: trap 3 five+16 five+16 0
#: trap 5 0 five+24 0
#: s11 = 14
#: s1 = 0x100b
#: s3 = 0x200000020
    j     done                  # In user mode.
