# Sums of words whose sign extension nobody wants at once: on all ways out and where ways meet they are whole.
    li    s0, 0x80014000
    li    s1, 0x7fffffff
    li    a5, 0x12b4567890     # As a word it is negative.
    # A load that fails while a result is not extended yet.
    li    a1, 0x40000000        # Nothing is there.
    addw  a0, s1, s1
fails:
    ld    a2, 0(a1)
    mv    s2, a0
#: trap 5 0x40000000 fails 3
#: s2 = 0xfffffffffffffffe
    # The register that a failing load would have overwritten.
    addw  a2, s1, s1
again:
    ld    a2, 0(a1)
    mv    s3, a2
#: trap 5 0x40000000 again 3
#: s3 = 0xfffffffffffffffe
    # Ways that meet: on one a3 is a word, on the other all of 64 bits.
    li    t0, 40
meet:
    andi  t1, t0, 1
    mv    a3, a5
    beqz  t1, even
    addw  a3, s1, t0
even:
    slt   t2, a3, zero
    add   s4, s4, t2
    add   s4, s4, a3
    addw  a4, a3, zero          # And the other way around: not extended where the branch leaves.
    bnez  t1, odd
    mv    a4, a5
odd:
    xor   s5, s5, a4
    add   s5, s5, a4
    addi  t0, t0, -1
    bnez  t0, meet
#: s4 = 0x16c16c16cd0
#: s5 = 0x21df0a0d10
    # What a loop adds up is more than a word before its first turn, which does not get to the sum.
    li    a0, 0x500000007
    li    t0, 30
turns:
    addi  t0, t0, -1
    beqz  t0, over
    addiw a1, a1, 3
    bne   a1, t0, turns
over:
    mv    s6, a0
    li    t0, 1
one:
    addi  t0, t0, -1
    beqz  t0, early             # In the first turn.
    addw  a0, a0, t0
    j     one
early:
    add   s6, s6, a0
#: s6 = 0xa0000000e
    # Through memory, with the sum carried from turn to turn.
    li    t2, 25
row:
    li    a0, 0x7000000003
    li    t0, 0x80014000
    li    t1, 0x80014050
    sw    s1, 0x40(t0)
words:
    add   s7, s7, a0            # In the first turn all of it.
    lw    a1, 0(t0)
    addi  t0, t0, 4
    addw  a0, a0, a1
    bne   t0, t1, words
    add   s7, s7, a0
    addi  t2, t2, -1
    bnez  t2, row
#: s7 = 0xabe000005c3
    # Comparisons of words and of what only looks like one.
    li    a0, -1
    li    a1, 0xffffffff
    addw  a2, a1, zero
    li    t0, 20
compare:
    addw  a3, a2, zero
    bne   a3, a0, wrong
    beq   a3, a1, wrong
    sltu  a4, a1, a3
    add   s8, s8, a4
    slt   a4, a3, zero
    add   s8, s8, a4
    and   a4, a3, a1
    add   s9, s9, a4
    addi  t0, t0, -1
    bnez  t0, compare
    j     right
wrong:
    li    s8, -1
right:
#: s8 = 40
#: s9 = 0x13ffffffec
    # What is no word, though it is nearly one; and what is one from the second turn on.
    li    a0, 0xf000000180000000
    li    t1, 0x7000000180000000
    li    t0, 20
nearly:
    srli  a3, a0, 32
    slt   a4, a3, zero
    add   t5, t5, a4
    andi  a3, t1, -16
    slt   a4, zero, a3
    add   t5, t5, a4
    srai  a3, t1, 31
    slt   a4, a3, zero
    add   t5, t5, a4
    srli  a3, a0, 33
    slt   a4, a3, zero
    add   t5, t5, a4
    addi  t0, t0, -1
    bnez  t0, nearly
    li    t0, 20
    li    a1, 1
    li    a2, 1
second:
    add   t6, t6, a5
    and   a5, a1, a2
    addw  a1, s1, t0
    addw  a2, s1, t0
    addi  t0, t0, -1
    bnez  t0, second
    # A way out that is gone often, and on.
    li    t0, 50
calls:
    call  leaves
    addi  t0, t0, -1
    bnez  t0, calls
    j     called
away:
    add   t5, t5, a3
    ret
leaves:
    andi  t1, t0, 1
    addw  a3, s1, t0
    beqz  t1, away
    slli  a4, a3, 31
    add   t6, t6, a4
    add   t6, t6, a3
    ret
called:
#: t5 = 0xfffffff380000285
    # Extensions made of two shifts, of whose first halves one is wanted, one is not.
    li    a0, 0xfffffff8
    li    t0, 20
scale:
    slli  a1, a0, 32
    slli  a2, t0, 32
    srli  a3, a1, 30
    srli  a1, a2, 31
    add   s10, s10, a3
    add   s10, s10, a1
    add   s10, s10, a2
    slli  a4, a0, 32
    addi  a0, a0, 1
    srli  a4, a4, 32            # Of what it was.
    add   s11, s11, a4
    slli  a0, a0, 32
    srli  a0, a0, 32
    slli  a4, a0, 32
    srli  a5, a4, 32
    add   s11, s11, a4
    slli  a0, a0, 32
    srli  a5, a0, 31
    add   s11, s11, a0
    add   s11, s11, a5
    srli  a0, a0, 32
    slli  a4, a0, 56
    srai  a4, a4, 56
    add   s11, s11, a4
    addi  t0, t0, -1
    bnez  t0, scale
#: s10 = 0xf20000021c
#: s11 = 0x7a000000b4
    j     done
