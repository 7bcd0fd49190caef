# Interrupts: priority, enables, delegation, vectors (privileged manual, "Machine Interrupt Registers",
# "Machine Trap-Vector Base-Address Register").
    # All pending, all enabled: MEI, MSI, MTI, SEI, SSI, STI. The handler disables each.
    li    t0, 0xaaa
    csrw  mie, t0
    li    t1, 0x222
    csrw  mip, t1
    li    t2, 0x10001000
    li    t3, 0x888
    sw    t3, 0(t2)             # The board raises MSI, MTI, MEI.
    csrr  s0, mip
#: s0 = 0xaaa
    csrsi mstatus, 8
first:
    nop
#: trap 0x800000000000000b 0 first 3
#: trap 0x8000000000000003 0 first 3
#: trap 0x8000000000000007 0 first 3
#: trap 0x8000000000000009 0 first 3
#: trap 0x8000000000000001 0 first 3
#: trap 0x8000000000000005 0 first 3
    # mie off: nothing. MIE on, but masked by mie one by one: taken after the instruction that enables.
    li    t4, 0x80
    csrs  mie, t4
second:
    nop
#: trap 0x8000000000000007 0 second 3
    # Machine interrupts are always on below machine mode, whatever MIE says.
    csrci mstatus, 8
    li    t4, 8
    csrw  mie, t4
    nop
    li    a0, 0
    call  enter_s
third:
    nop
#: trap 0x8000000000000003 0 third 1
    li    a7, 1
    ecall
#: trap 9 0 third+8 1
    # The board lowers its lines: mip follows.
    sw    zero, 0(t2)
    csrr  s1, mip
#: s1 = 0x222
    # A supervisor interrupt that is not delegated goes to machine mode, also from S with SIE clear.
    csrci mstatus, 8
    csrwi mie, 2
    call  enter_s
fourth:
    nop
#: trap 0x8000000000000001 0 fourth 1
    li    a7, 1
    ecall
#: trap 9 0 fourth+8 1
    # Delegated: never taken in machine mode, in S only with SIE, in U always. Vectored.
    la    t5, vectors
    addi  t5, t5, 1
    csrw  stvec, t5
    li    t0, 0x222
    csrw  mideleg, t0
    csrw  mie, t0
    csrsi mstatus, 8
    nop
    call  enter_s
fifth:
    csrr  s2, sip
    csrr  s3, sie
    csrsi sstatus, 2            # SEI, SSI, STI in this order.
sixth:
    csrci sstatus, 2
#: s2 = 0x222
#: s3 = 0x222
#: s11 = 915
#: s10 = sixth
    # An exception is not vectored; sip.SSIP can be cleared here, the others not.
    mv    s10, s6
    mv    s11, s5
    csrci sip, 2
    csrr  s7, sip
#: s7 = 0x220
    li    a7, 1
    ecall
#: trap 9 0 sixth+24 1
    # From user mode.
    li    s5, 0
    li    t0, 0x20
    csrw  mie, t0
    csrci mstatus, 2
    call  enter_u
seventh:
    nop
#: s8 = 5
#: s9 = seventh
    j     done
    .org  0x1000
vectors:
    j     exception
    j     ssi
    j     exception
    j     exception
    j     exception
    j     sti
    j     exception
    j     exception
    j     exception
    j     sei
exception:
    j     exception
ssi:
    li    t6, 1
    j     note
sti:
    li    t6, 5
    j     note
sei:
    li    t6, 9
note:
    # Digits in s5, in the order of arrival; each interrupt disables itself.
    li    s4, 10
    mul   s5, s5, s4
    add   s5, s5, t6
    mv    s8, t6
    csrr  s6, sepc
    mv    s9, s6
    li    s4, 1
    sll   s4, s4, t6
    csrc  sie, s4
    sret
