# Ifs in a loop: branches to later instructions of the same straight line, and a jump forward.
    li    s0, 0x80014000
    li    s1, 7
    sd    s1, 8(s0)
    li    a0, 0
    li    a3, 0
    li    t0, 200
loop:
    andi  t1, t0, 3
    beqz  t1, behind            # Over a lookup that is made for those behind it too.
    ld    a1, 0(s0)
    ld    a2, 8(s0)
    add   a0, a0, a1
    sd    a2, 0(s0)
behind:
    ld    a1, 16(s0)
    addi  a1, a1, 1
    sd    a1, 16(s0)
    andi  t2, t0, 1
    bnez  t2, half              # Between two that are one instruction together.
    slli  a3, t0, 48
half:
    srli  a3, a3, 48
    add   a0, a0, a3
    beqz  t1, nothing
nothing:
    addi  a4, a4, 1
    j     on
    addi  a0, a0, 1000
on:
    addi  t0, t0, -1
    bnez  t0, loop
    # All registers of a loop that ends in a jump.
    li    t0, 50
again:
    beqz  t0, end
    addi  t0, t0, -1
    blt   t0, s1, small
    addi  s2, s2, 1
small:
    addi  s3, s3, 2
    j     again
end:
    ld    a5, 16(s0)
#: a5 = 200
#: a4 = 200
#: a0 = 11143
#: s2 = 43
#: s3 = 100
    j     done
