# C: every compressed instruction, and those that are reserved (chapter "C").
    la    sp, stack
    c.addi4spn s0, sp, 1020
    c.li  s1, -32
    c.lui a0, 0x3f              # -1 << 12
    c.lui a1, 1
    c.addi s1, -1
    c.nop
    c.addi16sp -512
    sub   t0, s0, sp
    c.addi16sp 496
    c.addi16sp 16
#: s1 = -33
#: a0 = 0xfffffffffffff000
#: a1 = 0x1000
#: t0 = 1532
    li    a2, 0x180000000
    c.mv  a3, a2
    c.addiw a3, -1
    c.mv  a4, a2
    c.srli a4, 31
    c.mv  a5, a0
    c.srai a5, 63
    c.slli a5, 4
    c.mv  s2, a1
    c.add s2, s1
    mv    t4, a3
    mv    t5, a4
#: t4 = 0x7fffffff
#: t5 = 3
#: a5 = 0xfffffffffffffff0
#: s2 = 0xfdf
    c.andi a4, -2
    li    t1, 6
    mv    s3, a4
    mv    a2, t1
    c.or  a2, a4
    c.mv  s4, a2
    c.and a2, a4
    c.mv  s5, a2
    li    a2, 9
    c.xor a2, a4
    c.mv  s6, a2
    c.sub a2, a4
    c.mv  s7, a2
    li    a2, 0x7fffffff
    c.addw a2, a4
    c.mv  s8, a2
    c.subw a2, a4
    c.mv  s9, a2
#: s3 = 2
#: s4 = 6
#: s5 = 2
#: s6 = 11
#: s7 = 9
#: s8 = 0xffffffff80000001
#: s9 = 0x7fffffff
    # Memory.
    la    s0, stack
    c.sw  s1, 124(s0)
    c.lw  a2, 124(s0)
    c.sd  s1, 248(s0)
    c.ld  a3, 248(s0)
    c.swsp s1, 252(sp)
    c.lwsp s10, 252(sp)
    c.sdsp s1, 504(sp)
    c.ldsp s11, 504(sp)
#: a2 = -33
#: a3 = -33
#: s10 = -33
#: s11 = -33
#: [stack+124] = 0xffffffdf
#: [stack+248] = 0xffffffdfffffffdf
#: [stack+504] = -33
    # Floating point, FS on.
    li    t1, 0x6000
    csrs  mstatus, t1
    fmv.d.x f8, s1
    c.fsd f8, 64(s0)
    c.fld f9, 64(s0)
    c.fsdsp f9, 72(sp)
    c.fldsp f10, 72(sp)
#: f10 = -33
    # Control.
    li    t2, 0
    la    t3, routine
    c.jalr t3
    c.j   one
    addi  t2, t2, 32
one:
    c.li  a4, 0
    c.beqz a4, two
    addi  t2, t2, 64
two:
    c.bnez a4, three
    addi  t2, t2, 2
three:
    c.addi a4, 1
    c.bnez a4, four
    addi  t2, t2, 128
four:
    la    t3, five
    c.jr  t3
    addi  t2, t2, 256
#: t2 = 3
routine:
    c.addi t2, 1
    c.jr  ra
five:
    c.ebreak
    c.nop
#: trap 3 five five 3
reserved:
    .half 0x0000                # Defined illegal.
    .half 0x0004                # c.addi4spn with immediate 0.
    .half 0x8000                # Reserved in quadrant 0.
    .half 0x2001                # c.addiw x0
    .half 0x6101                # c.addi16sp 0
    .half 0x6581                # c.lui a1, 0
    .half 0x9c41                # Reserved in the arithmetic group.
    .half 0x4002                # c.lwsp x0
    .half 0x6002                # c.ldsp x0
    .half 0x8002                # c.jr x0
#: trap 2 0x0000 reserved 3
#: trap 2 0x0004 reserved+2 3
#: trap 2 0x8000 reserved+4 3
#: trap 2 0x2001 reserved+6 3
#: trap 2 0x6101 reserved+8 3
#: trap 2 0x6581 reserved+10 3
#: trap 2 0x9c41 reserved+12 3
#: trap 2 0x4002 reserved+14 3
#: trap 2 0x6002 reserved+16 3
#: trap 2 0x8002 reserved+18 3
hints:
    .half 0x0081                # c.addi x1, 0
    .half 0x4005                # c.li x0, 1
    .half 0x6005                # c.lui x0, 1
    .half 0x8006                # c.mv x0, x1
    .half 0x9006                # c.add x0, x1
    .half 0x0002                # c.slli x0, 0
    .half 0x1002                # c.slli x0, 32
    # Illegal with FS off: mtval has the sixteen bits.
    csrc  mstatus, t1
off:
    c.fld f9, 64(s0)
    c.fsdsp f9, 72(sp)
#: trap 2 0x2024 off 3
#: trap 2 0xa4a6 off+2 3
    j     done
    .org  0x2000
stack:
    .dword 0
