# Two shifts and an `or` that are a rotation, and some that are not quite one; what the shifts computed is
# seen afterwards, or not.
    li    a0, 0xffffffff92345678
    li    a1, 0x8123456789abcdef
    la    a2, place
    li    s11, 3
again:
    slliw t0, a0, 7
    srliw t1, a0, 25
    or    s0, t0, t1            # Both are seen: at the end.
    srliw t2, a0, 7
    slliw s1, a0, 25
    or    s1, s1, t2
    slliw t2, a0, 31            # The one before is not.
    srliw s2, a0, 1
    or    s2, t2, s2
    li    t2, 9
#: t0 = 0x1a2b3c00
#: t1 = 0x49
#: s0 = 0x1a2b3c49
#: s1 = 0xfffffffff12468ac
#: s2 = 0x491a2b3c
#: t2 = 9
    slli  s3, a1, 13
    srli  t3, a1, 51
    or    s3, t3, s3
    li    t3, 8
    slli  t4, a1, 63
    srli  s4, a1, 1
    or    s4, s4, t4
    li    t4, 7
#: s3 = 0x68acf13579bdf024
#: s4 = 0xc091a2b3c4d5e6f7
    # The source changes between the shifts; the amounts do not fit; one is of another register.
    slliw t5, a0, 7
    addi  a3, a0, 1
    mv    a4, a0
    slliw s5, a4, 7
    mv    a4, a3
    srliw t6, a4, 25
    or    s5, s5, t6
    slliw s6, a0, 7
    srliw t6, a0, 24
    or    s6, s6, t6
    slliw s7, a0, 7
    srliw t6, a1, 25
    or    s7, s7, t6
    li    t6, 6
#: t5 = 0x1a2b3c00
#: s5 = 0x1a2b3c49
#: s6 = 0x1a2b3c92
#: s7 = 0x1a2b3c44
    # A load that faults in between shows the shift, and a branch joins behind one.
    slliw s8, a0, 7
    lw    a5, 0(a2)
    srliw a6, a0, 25
    or    s8, s8, a6
    li    a6, 5
    slliw a7, a0, 3
    bnez  a7, join
    slliw a7, a0, 7
join:
    srliw s9, a0, 25
    or    s9, s9, a7
    li    a7, 4
#: a5 = 0x77
#: s8 = 0x1a2b3c49
#: s9 = 0xffffffff91a2b3c9
    addi  s11, s11, -1
    bnez  s11, again
    j     done
place:
    .dword 0x77
