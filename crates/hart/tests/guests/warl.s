# What WARL fields of the CSRs take (privileged manual, chapters "Machine-Level ISA", "Supervisor-Level ISA").
    # WARL fields: write all ones, read what is there.
    li    t2, -1
    csrr  a0, misa              # RV64 ABCDFIMSU.
    csrw  misa, zero
    csrr  a1, misa
    csrr  t3, mstatus
    csrw  mstatus, t2
    csrr  a2, mstatus
    csrw  mstatus, zero
    csrr  a3, mstatus
    li    t4, 0x1000            # MPP = 2 is reserved: the field keeps its value.
    csrw  mstatus, t4
    csrr  a4, mstatus
    csrw  medeleg, t2
    csrr  a5, medeleg
    csrw  medeleg, zero
    csrw  mideleg, t2
    csrr  a6, mideleg
    csrw  mie, t2
    csrr  a7, mie
    csrr  s11, sie
#: a0 = 0x800000000014112f
#: a1 = 0x800000000014112f
#: a2 = 0x8000000a007e79aa
#: a3 = 0xa00000000
#: a4 = 0xa00000000
#: a5 = 0xb3ff
#: a6 = 0x222
#: a7 = 0xaaa
#: s11 = 0x222
    csrw  mie, zero
    csrw  mip, t2
    csrr  t3, mip               # SSIP, STIP, SEIP.
    csrr  t4, sip
    csrw  sip, zero             # Only SSIP.
    csrr  t5, mip
    csrw  mip, zero
    csrw  mideleg, zero
    csrw  sie, t2               # Nothing is delegated: nothing to see.
    csrr  t6, mie
#: t3 = 0x222
#: t4 = 0x222
#: t5 = 0x220
#: t6 = 0
    csrw  stvec, t2             # Reserved mode: not taken.
    csrr  ra, stvec
    li    sp, 0x12345679
    csrw  stvec, sp
    csrr  sp, stvec
    csrw  sepc, t2
    csrr  gp, sepc
    csrw  menvcfg, t2
    csrr  tp, menvcfg
    csrw  menvcfg, zero
    csrw  mcounteren, t2
    csrr  s0, mcounteren
    csrw  mcounteren, zero
    csrw  senvcfg, t2
    csrr  s1, senvcfg
#: ra = 0
#: sp = 0x12345679
#: gp = 0xfffffffffffffffe
#: tp = 0xa0000000000000f1
#: s0 = 7
#: s1 = 0xf1
    # satp: unsupported modes are not taken at all.
    li    t0, 0x8000000000000123
    csrw  satp, t0
    li    t1, 0xa000000000000456
    csrw  satp, t1
    li    t1, 0x1000000000000457
    csrw  satp, t1
    li    t1, 0xf000000000000458
    csrw  satp, t1
    csrr  s2, satp
    li    t1, 0x9fff000000000789
    csrw  satp, t1
    csrr  s3, satp
    csrw  satp, zero
#: s2 = 0x8000000000000123
#: s3 = 0x9fff000000000789
    # sstatus shows its part of mstatus only.
    csrw  sstatus, t2
    csrr  s4, mstatus
    csrr  s5, sstatus
    csrw  sstatus, zero
    csrr  s6, mstatus
#: s4 = 0x8000000a000c6122
#: s5 = 0x80000002000c6122
#: s6 = 0xa00000000
    csrw  scause, t2
    csrr  s8, scause
    csrw  mcause, t2
    csrr  s10, mcause
#: s8 = -1
#: s10 = -1
    j     done
