# RV64I register and immediate arithmetic (chapters "RV32I", "RV64I").
    li    t0, 0x7fffffffffffffff
    li    t1, -1
    addi  s0, t0, 1             # Wraps.
    add   s1, t0, t0
    sub   s2, zero, t0
    slti  s3, t1, 0             # Signed: -1 < 0.
    sltiu s4, t1, 1             # Unsigned: not less.
    slt   s5, t0, t1
    sltu  s6, t0, t1
    xori  s7, t0, -1
    ori   s8, zero, -2048
    andi  s9, t1, 0x7ff
    xor   s10, t0, t1
    or    s11, t0, t1
    and   a0, t0, t1
#: s0 = 0x8000000000000000
#: s1 = 0xfffffffffffffffe
#: s2 = 0x8000000000000001
#: s3 = 1
#: s4 = 0
#: s5 = 0
#: s6 = 1
#: s7 = 0x8000000000000000
#: s8 = 0xfffffffffffff800
#: s9 = 0x7ff
#: s10 = 0x8000000000000000
#: s11 = 0xffffffffffffffff
#: a0 = 0x7fffffffffffffff
    lui   a1, 0x80000           # Sign-extends.
    addi  a0, a0, 0
    auipc a2, 0                 # Its own address.
here:
    la    a3, here
    sub   a2, a3, a2
    addi  zero, t1, 5           # x0 stays zero.
    mv    a3, zero
    slli  a4, t1, 63
    srli  a5, t1, 63
    srai  a6, s0, 63
#: a1 = 0xffffffff80000000
#: a2 = 4
#: a3 = 0
#: a4 = 0x8000000000000000
#: a5 = 1
#: a6 = 0xffffffffffffffff
    # Shifts by a register take its low six bits.
    li    t2, 65
    sll   a7, t1, t2
    srl   t3, t1, t2
    sra   t4, s0, t2
#: a7 = 0xfffffffffffffffe
#: t3 = 0x7fffffffffffffff
#: t4 = 0xc000000000000000
    j     done
