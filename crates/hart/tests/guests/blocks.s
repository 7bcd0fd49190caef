# Cache-block instructions (chapter "CMO"): what they do, where they may, and what allows them in S- and
# U-mode.
    .equ  V, 1
    li    s0, 0x80030040
    li    t0, -1
    sd    t0, -8(s0)
    sd    t0, 0(s0)
    sd    t0, 56(s0)
    sd    t0, 64(s0)
    addi  s1, s0, 37
    cbo.clean (s1)              # Machine mode always may.
    cbo.flush (s1)
    cbo.inval (s1)
    ld    a1, 56(s0)
    cbo.zero (s1)               # Any byte stands for its block.
    ld    a2, -8(s0)
    ld    a3, 0(s0)
    ld    a4, 56(s0)
    ld    a5, 64(s0)
#: a1 = -1
#: a2 = -1
#: a3 = 0
#: a4 = 0
#: a5 = -1
    # A device has no blocks to zero, and where nothing answers there is none to manage either.
    li    s2, 0x10000000
    li    s3, 0x20000005
one:
    cbo.zero (s2)
    cbo.zero (s3)
    cbo.clean (s2)
    cbo.inval (s3)
#: trap 7 0x10000000 one 3
#: trap 7 0x20000005 one+4 3
#: trap 7 0x20000005 one+12 3
    # The two reserved values are not taken.
    li    t0, 0x10
    csrw  menvcfg, t0
    li    t0, 0xe0
    csrw  menvcfg, t0
    csrr  a6, menvcfg
    li    t0, 0x30
    csrs  senvcfg, t0
    li    t0, 0x10
    csrc  senvcfg, t0
    csrr  a7, senvcfg
    csrw  senvcfg, zero
    sd    a7, 72(s0)
#: a6 = 0xd0
#: [0x80030088] = 0x30
    # Nothing is allowed.
    csrw  menvcfg, zero
    li    t0, 0xf0
    csrw  senvcfg, t0
    li    a0, 0
    call  enter_s
two:
    cbo.zero (s0)
    cbo.clean (s0)
    cbo.flush (s0)
    cbo.inval (s0)
    li    a7, 1
    ecall
#: trap 2 0x0044200f two 1
#: trap 2 0x0014200f two+4 1
#: trap 2 0x0024200f two+8 1
#: trap 2 0x0004200f two+12 1
#: trap 9 0 two+20 1
    # All is, for the supervisor.
    li    t0, 0xf0
    csrw  menvcfg, t0
    csrw  senvcfg, zero
    call  enter_s
    sd    s0, 0(s0)
    cbo.zero (s0)
    cbo.clean (s0)
    cbo.flush (s0)
    cbo.inval (s0)
    ld    s4, 0(s0)
three:
    ecall
#: s4 = 0
#: trap 9 0 three 1
    # For the user: as both say.
    call  enter_u
four:
    cbo.zero (s0)
    cbo.flush (s0)
    cbo.inval (s0)
    ecall
#: trap 2 0x0044200f four 0
#: trap 2 0x0024200f four+4 0
#: trap 2 0x0004200f four+8 0
#: trap 8 0 four+12 0
    li    t0, 0xd0              # CBIE = 1.
    csrw  senvcfg, t0
    call  enter_u
    sd    s0, 8(s0)
    cbo.inval (s0)
    cbo.clean (s0)
    ld    s5, 8(s0)
    cbo.zero (s0)
    ld    s6, 8(s0)
five:
    ecall
#: s5 = 0x80030040
#: s6 = 0
#: trap 8 0 five 0
    li    t0, 0x40
    csrw  menvcfg, t0
    call  enter_u
six:
    cbo.zero (s0)
    cbo.clean (s0)
    cbo.inval (s0)
    ecall
#: trap 2 0x0044200f six 0
#: trap 2 0x0004200f six+8 0
#: trap 8 0 six+12 0
    j     done
