# F and D as far as the fpu's own tests do not see them: registers, boxing, FS, rounding-mode field, fcsr,
# and one instruction of each kind (chapters "F", "D").
one:
    fadd.d f0, f0, f0           # FS is Off after reset: all of them are illegal.
    flw   f0, 0(t0)
    fsd   f0, 0(t0)
    csrr  a0, fcsr
#: trap 2 0x02007053 one 3
#: trap 2 0x0002a007 one+4 3
#: trap 2 0x0002b027 one+8 3
#: trap 2 0x00302573 one+12 3
    li    t1, 0x2000            # Initial.
    csrs  mstatus, t1
    csrr  s0, mstatus           # Not dirty, SD clear.
    li    t2, 0x3ff8000000000000
    fmv.d.x f1, t2              # 1.5
    csrr  s1, mstatus           # Dirty, SD set.
#: s0 = 0xa00002080
#: s1 = 0x8000000a00006080
    fcvt.s.d f2, f1
    fmv.x.d s2, f2              # Boxed.
    fmv.x.w s3, f2
    fadd.s f3, f1, f2           # f1 is not boxed: a NaN.
    fmv.x.d s4, f3
    fcvt.d.s f4, f2
    fmv.x.d s5, f4
    li    t3, 0x80000000
    fmv.w.x f5, t3
    fmv.x.w s6, f5              # Sign-extended.
    fmv.x.d s7, f5
#: s2 = 0xffffffff3fc00000
#: s3 = 0x3fc00000
#: s4 = 0xffffffff7fc00000
#: s5 = 0x3ff8000000000000
#: s6 = 0xffffffff80000000
#: s7 = 0xffffffff80000000
    la    t4, data
    flw   f6, 0(t4)             # 0x40490fdb, boxed.
    fld   f7, 8(t4)
    flw   f28, 5(t4)            # Misaligned.
    fsw   f7, 16(t4)            # The low word, whatever the register holds.
    fsd   f6, 24(t4)
#: f6 = 0xffffffff40490fdb
#: f7 = 0x400921fb54442d18
#: f28 = 0xffffffff18111111
#: [data+16] = 0x54442d18
#: [data+24] = 0xffffffff40490fdb
    # Arithmetic, S and D.
    fmul.d f8, f1, f1           # 2.25
    fsub.d f9, f8, f1           # 0.75
    fdiv.d f10, f9, f1          # 0.5
    fsqrt.d f11, f8             # 1.5
    fmadd.d f12, f1, f1, f8     # 4.5
    fmsub.d f13, f1, f1, f8     # 0
    fnmsub.d f14, f1, f1, f8    # 0
    fnmadd.d f15, f1, f1, f8    # -4.5
    fmul.s f16, f2, f2
    fsgnj.d f17, f1, f15        # -1.5
    fsgnjn.d f18, f17, f17      # 1.5
    fsgnjx.d f19, f17, f17      # 1.5
    fmin.d f20, f17, f1
    fmax.s f21, f2, f16
#: f8 = 0x4002000000000000
#: f9 = 0x3fe8000000000000
#: f10 = 0x3fe0000000000000
#: f11 = 0x3ff8000000000000
#: f12 = 0x4012000000000000
#: f13 = 0
#: f14 = 0
#: f15 = 0xc012000000000000
#: f16 = 0xffffffff40100000
#: f17 = 0xbff8000000000000
#: f18 = 0x3ff8000000000000
#: f19 = 0x3ff8000000000000
#: f20 = 0xbff8000000000000
#: f21 = 0xffffffff40100000
    fle.d a0, f17, f1
    flt.d a1, f1, f1
    feq.s a2, f2, f2
    fclass.d a3, f17            # Negative normal: bit 1.
    fcvt.w.d a4, f17, rtz       # -1
    fcvt.w.d a5, f17, rdn       # -2
    fcvt.lu.d a6, f17           # Negative: 0, invalid.
    fcvt.wu.s a7, f16, rup      # 3
    li    t5, -3
    fcvt.d.w f22, t5
    fcvt.d.lu f23, t5           # 2^64 - 3 rounds to 2^64.
    fcvt.s.l f24, t5
    fcvt.d.wu f25, t5           # 2^32 - 3
#: a0 = 1
#: a1 = 0
#: a2 = 1
#: a3 = 2
#: a4 = -1
#: a5 = -2
#: a6 = 0
#: a7 = 3
#: f22 = 0xc008000000000000
#: f23 = 0x43f0000000000000
#: f24 = 0xffffffffc0400000
#: f25 = 0x41efffffffa00000
    # Flags accrue; frm is used by the dynamic mode.
    csrr  s8, fflags            # NV (16) and NX (1).
    csrrwi s9, fcsr, 0
    li    t6, 3
    fcvt.d.w f26, t6
    csrwi frm, 3                # RUP
    fdiv.d f27, f1, f26         # 0.5 exactly.
    fdiv.d f26, f10, f26        # 1/6, rounded up.
    csrr  s10, fcsr
#: s8 = 0x11
#: s9 = 0x11
#: f27 = 0x3fe0000000000000
#: f26 = 0x3fc5555555555556
#: s10 = 0x61
    # Reserved rounding modes: static 5 and 6; dynamic with frm 5 to 7.
    csrwi frm, 5
two:
    fadd.d f1, f1, f1           # Dynamic: illegal.
    fadd.d f1, f1, f1, rne      # Static: legal.
    .word 0x0210d0d3            # fadd.d f1, f1, f1 with rm 5
    fsgnj.d f2, f1, f1          # Has no rounding mode.
    fcvt.d.w f3, t6             # Exact, but the field still counts.
    .word 0x07f0f0d3            # Format 3: Q is not implemented.
    .word 0xe21080d3            # fmv.x.d with rs2 = 1
#: trap 2 0x0210f0d3 two 3
#: trap 2 0x0210d0d3 two+8 3
#: trap 2 0xd20ff1d3 two+16 3
#: trap 2 0x07f0f0d3 two+20 3
#: trap 2 0xe21080d3 two+24 3
#: f2 = 0x4008000000000000
    # A comparison that raises a flag dirties FS; one that does not leaves it.
    csrwi fcsr, 0
    li    t1, 0x4000            # Clean.
    li    t2, 0x6000
    csrc  mstatus, t2
    csrs  mstatus, t1
    feq.d s11, f1, f1
    csrr  ra, mstatus
    li    t3, 0x7ff0000000000001
    la    t4, data
    feq.d s11, f1, f2
    fsd   f1, 32(t4)
    csrr  sp, mstatus
    fcvt.w.d s11, f26           # Inexact.
    csrr  gp, mstatus
#: ra = 0xa00004080
#: sp = 0xa00004080
#: gp = 0x8000000a00006080
    # fcsr has eight bits; the parts read back apart.
    li    t5, -1
    csrw  fcsr, t5
    csrr  tp, fcsr
    csrr  t5, frm
    csrr  t6, fflags
#: tp = 0xff
#: t5 = 7
#: t6 = 0x1f
    j     done
    .org  0x2000
data:
    .word 0x40490fdb, 0x11111111
    .dword 0x400921fb54442d18, 0, 0, 0
