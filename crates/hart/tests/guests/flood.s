# More code than a translator with little memory can keep: a line of 64 loads, entered at each of them.
    li    s0, 0x8001a000
    li    s1, 0x8001a100        # Its end.
    li    t1, 0x00033583        # ld a1, 0(t1)
    li    t2, 0x0003b603        # ld a2, 0(t2)
    mv    t0, s0
write:
    sw    t1, 0(t0)
    sw    t2, 4(t0)
    addi  t0, t0, 8
    bne   t0, s1, write
    li    t3, 0x00008067        # ret
    sw    t3, 0(s1)
    fence.i
    li    t1, 0x8001c000
    li    t2, 0x8001d000
    sd    s0, 0(t1)
    sd    s1, 0(t2)
    li    s3, 0
enter:
    li    a1, 0
    li    a2, 0
    jalr  ra, (s0)
    add   s3, s3, a1
    add   s3, s3, a2
    addi  s0, s0, 4
    bne   s0, s1, enter
    j     done
#: a1 = 0
#: a2 = 0x8001a100
#: s0 = 0x8001a100
# 63 times the one and 64 times the other.
#: s3 = 0x3f80cea000
