# RV64I word arithmetic: 32 bits in, the result sign-extended (chapter "RV64I").
    li    t0, 0x17fffffff
    li    t1, 0x80000000
    addiw s0, t0, 1
    addw  s1, t0, t0
    subw  s2, zero, t1
    slliw s3, t0, 31
    srliw s4, t1, 31
    sraiw s5, t1, 31
    li    t2, 33                # Word shifts take the low five bits.
    sllw  s6, t0, t2
    srlw  s7, t1, t2
    sraw  s8, t1, t2
    sext.w s9, t1
    addiw s10, t1, -1
    srliw s11, t1, 0            # Sign-extends even when nothing is shifted.
    slliw a0, t1, 0
#: s0 = 0xffffffff80000000
#: s1 = 0xfffffffffffffffe
#: s2 = 0xffffffff80000000
#: s3 = 0xffffffff80000000
#: s4 = 1
#: s5 = 0xffffffffffffffff
#: s6 = 0xfffffffffffffffe
#: s7 = 0x40000000
#: s8 = 0xffffffffc0000000
#: s9 = 0xffffffff80000000
#: s10 = 0x7fffffff
#: s11 = 0xffffffff80000000
#: a0 = 0xffffffff80000000
    # Shift amounts of 32 and more in a word shift are reserved.
bad:
    .word 0x0200101b            # slliw x0, x0, 32
    .word 0x4200501b            # sraiw x0, x0, 32
#: trap 2 0x0200101b bad 3
#: trap 2 0x4200501b bad+4 3
    j     done
