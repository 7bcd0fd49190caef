# M: products, and division with its defined results for zero and overflow (chapter "M").
    li    t0, -2
    li    t1, 3
    li    t2, 0x8000000000000000
    li    t3, -1
    mul   s0, t0, t1
    mulh  s1, t0, t1
    mulhsu s2, t0, t1
    mulhu s3, t0, t1
    mulh  s4, t2, t2            # 2^126: the high half is 2^62.
    mulhsu s5, t3, t3           # -1 * (2^64 - 1): high half -1.
    mulhu s6, t3, t3
    mulw  s7, t2, t2
    li    t4, 0x12345678
    mulw  s8, t4, t4            # 0x14b66dc1df4d840, low word sign-extended.
#: s0 = -6
#: s1 = -1
#: s2 = -1
#: s3 = 2
#: s4 = 0x4000000000000000
#: s5 = -1
#: s6 = 0xfffffffffffffffe
#: s7 = 0
#: s8 = 0x1df4d840
    div   a0, t0, t1            # Towards zero.
    rem   a1, t0, t1            # Sign of the dividend.
    divu  a2, t0, t1
    remu  a3, t0, t1
    div   a4, t1, zero
    rem   a5, t1, zero
    divu  a6, t1, zero
    remu  a7, t1, zero
#: a0 = 0
#: a1 = -2
#: a2 = 0x5555555555555554
#: a3 = 2
#: a4 = -1
#: a5 = 3
#: a6 = -1
#: a7 = 3
    div   s9, t2, t3            # Overflow.
    rem   s10, t2, t3
    li    t4, 0x80000000
    divw  s11, t4, t3
    remw  ra, t4, t3
    divuw sp, t4, zero
    remuw gp, t4, zero          # The dividend, sign-extended.
    divw  tp, t1, zero
    remw  t5, t4, zero
    divuw t6, t3, t1
#: s9 = 0x8000000000000000
#: s10 = 0
#: s11 = 0xffffffff80000000
#: ra = 0
#: sp = -1
#: gp = 0xffffffff80000000
#: tp = -1
#: t5 = 0xffffffff80000000
#: t6 = 0x55555555
    j     done
