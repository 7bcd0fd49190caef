# A: atomic memory operations, LR and SC (chapter "A").
    la    t0, word
    li    t1, -5
    amoadd.w  s0, t1, (t0)      # Old value, sign-extended.
    amoswap.w s1, t1, (t0)
    amoxor.w  s2, t1, (t0)
    amoor.w   s3, t1, (t0)
    amoand.w  s4, t1, (t0)
#: s0 = 0xffffffff80000001
#: s1 = 0x7ffffffc
#: s2 = -5
#: s3 = 0
#: s4 = -5
    li    t2, 7
    amomin.w  s5, t2, (t0)      # min(-5, 7)
    amomax.w  s6, t2, (t0)      # max(-5, 7)
    amominu.w s7, t1, (t0)      # min(7, 2^32 - 5)
    amomaxu.w s8, t1, (t0)      # max(7, 2^32 - 5)
    lw    s9, 0(t0)
    lw    s10, 4(t0)
#: s5 = -5
#: s6 = -5
#: s7 = 7
#: s8 = 7
#: s9 = -5
#: s10 = 0x11111111
    la    t3, double
    amoadd.d  a0, t1, (t3)
    amomaxu.d a1, t2, (t3)
    amomin.d  a2, t2, (t3)
    amoswap.d zero, t2, (t3)
    amoswap.d t3, t3, (t3)      # rd, address and operand are one register.
#: a0 = 4
#: a1 = -1
#: a2 = -1
#: t3 = 7
    # LR, SC: succeeds once.
    la    t4, double
    lr.d  a3, (t4)
    sc.d  a4, t2, (t4)
    sc.d  a5, t1, (t4)
#: a3 = double
#: a4 = 0
#: a5 = 1
    # The reservation is the aligned doubleword; a failing SC ends it.
    lr.w  a6, (t4)
    addi  t5, t4, 8
    sc.w  a7, t1, (t5)
    sc.w  s11, t1, (t4)
#: a6 = 7
#: a7 = 1
#: s11 = 1
    # An own store does not end it; a trap does.
    lr.w  zero, (t4)
    sw    t1, 0(t4)
    sc.w  ra, t2, (t4)
    lr.w  zero, (t4)
one:
    ecall
    sc.w  gp, zero, (t4)
    lw    sp, 0(t4)
    mv    tp, gp
#: trap 11 0 one 3
#: ra = 0
#: tp = 1
#: sp = 7
    # Misaligned: always a fault, also for an SC that would fail anyway.
    addi  t5, t4, 4
two:
    lr.d  t6, (t5)
    sc.d  t6, t6, (t5)
    amoadd.d t6, t6, (t5)
    addi  t5, t4, 2
    lr.w  t6, (t5)
    amoadd.w t6, t6, (t5)
#: trap 4 double+4 two 3
#: trap 6 double+4 two+4 3
#: trap 6 double+4 two+8 3
#: trap 4 double+2 two+16 3
#: trap 6 double+2 two+20 3
    # Devices have no atomics. An SC without reservation fails without looking.
    li    t5, 0x10000000
three:
    lr.w  t6, (t5)
    sc.w  gp, t6, (t5)
    amoadd.w t6, t6, (t5)
    lr.w  t6, (t4)
    sc.w  t6, t6, (t5)
#: trap 5 uart three 3
#: trap 7 uart three+8 3
#: trap 7 uart three+16 3
#: gp = 1
    # Reserved encodings.
four:
    .word 0x1012a02f            # lr.w with rs2 != 0
    .word 0x2800a02f            # An unused funct5.
    .word 0x0000902f            # amoadd of a half word.
#: trap 2 0x1012a02f four 3
#: trap 2 0x2800a02f four+4 3
#: trap 2 0x0000902f four+8 3
    j     done
    .org  0x2000
word:
    .word 0x80000001, 0x11111111
double:
    .dword 4, 0
