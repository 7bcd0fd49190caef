# Instructions that straddle two pages, and the fault on the second (tval: its first byte).
    .equ  V, 1
    li    a0, 0x8000000000080010
    call  enter_s
    li    t0, 0x40000ffe
    jalr  ra, (t0)              # Both pages there: 0x80030ffe and 0x80032000.
#: s0 = 5
    li    t0, 0x40002ffe        # The second page is missing.
    li    s1, 0
    jalr  ra, (t0)
#: trap 12 0x40003000 0x40002ffe 1
    # The second page goes to another frame: no fence.
    li    s10, 0x80012000
    li    t1, 0x2000cccb
    sd    t1, 8(s10)
    li    t0, 0x40000ffe
    jalr  ra, (t0)
#: s0 = 5

    # And is written.
    li    t1, 0x80033000
    li    t2, 0x0070
    sh    t2, 0(t1)
    mv    s3, s2
    jalr  ra, (t0)
#: s3 = 6
#: s2 = 7
    j     done
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf
    .org  0x11000
    .dword 0x80012000/4+V
    .org  0x12000
    .dword 0x80030000/4+0xcb, 0x80032000/4+0xcb, 0x80030000/4+0xcb, 0
    .org  0x30ffe
    .half 0x0413                # li s0, imm: low half
    .org  0x32000
    .half 0x0050                # 5
    ret
    .org  0x33000
    .half 0x0060                # 6
    mv    s2, s0
    li    s0, 5
    ret
