# CSR instructions and access rules (chapter "Zicsr"; privileged manual, "Control and Status Registers").
    li    t0, 0xff
    csrw  mscratch, zero        # The runtime's; put back before the first trap.
    csrrs s0, mscratch, t0
    csrrc s1, mscratch, t0
    csrrwi s2, mscratch, 21
    csrrsi s3, mscratch, 10
    csrrci s4, mscratch, 5
    csrrw s5, mscratch, zero
    la    t1, area
    csrw  mscratch, t1
    csrrw t0, mscratch, t1      # rd and rs1 apart.
#: s0 = 0
#: s1 = 0xff
#: s2 = 0
#: s3 = 21
#: s4 = 31
#: s5 = 26
    # Read-only, and absent.
one:
    csrw  mhartid, zero
    csrr  s6, mhartid
    csrr  s7, mconfigptr
    csrrs s8, cycle, zero       # Reading does not write.
    csrwi cycle, 0
    csrr  s9, tselect           # No debug triggers.
    csrr  s9, 0x7b0
    csrr  s9, 0x3a1             # Odd pmpcfg: RV32 only.
    csrr  s9, 0x3c0             # Only sixteen PMP entries.
    csrw  0xb03, t0             # Performance counters: there, and zero.
    csrr  s10, 0xb03
    .word 0x10004073            # funct3 4
#: trap 2 0xf1401073 one 3
#: trap 2 0xc0005073 one+16 3
#: trap 2 0x7a002cf3 one+20 3
#: trap 2 0x7b002cf3 one+24 3
#: trap 2 0x3a102cf3 one+28 3
#: trap 2 0x3c002cf3 one+32 3
#: trap 2 0x10004073 one+44 3
#: s7 = 0
#: s9 = 0
#: s10 = 0
    # From supervisor and user mode: machine CSRs are out of reach.
    li    a0, 0
    call  enter_s
two:
    csrr  t0, mscratch
    csrr  t0, sscratch
    csrr  t0, stimecmp          # Not without menvcfg.STCE and mcounteren.TM.
    csrr  t0, time              # Not without mcounteren.TM.
    li    a7, 1
    ecall
    call  enter_u
three:
    csrr  t0, sscratch
    csrr  t0, cycle
    li    a7, 1
    ecall
#: trap 2 0x340022f3 two 1
#: trap 2 0x14d022f3 two+8 1
#: trap 2 0xc01022f3 two+12 1
#: trap 9 0 two+20 1
#: trap 2 0x140022f3 three 0
#: trap 2 0xc00022f3 three+4 0
#: trap 8 0 three+12 0
    j     done
