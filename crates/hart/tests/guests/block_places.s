# Where cache-block instructions find something: in RAM and at devices, but not where nothing answers (chapter
# "CMO": an access fault where neither a load nor a store is permitted). PMP and page tables are asked before.
    .equ  V, 1
    .equ  nowhere, 0x90000040
    .equ  va, 0x40000000
    li    t0, 0x20000000000000f0
    csrw  menvcfg, t0
    li    s0, 0x10000000        # A device: its registers can be loaded, so its block can be managed.
    cbo.clean (s0)
    cbo.flush (s0)
    cbo.inval (s0)
one:
    cbo.zero (s0)               # But it has no block of memory to be zeroed.
#: trap 7 0x10000000 one 3
    li    s1, 0x90000043        # Behind RAM, where nothing answers.
    li    s2, 6                 # Often enough to be translated.
again:
    cbo.clean (s1)
    cbo.flush (s1)
    cbo.inval (s1)
    cbo.zero (s1)
    addi  s2, s2, -1
    bnez  s2, again
#: trap 7 0x90000043 again 3
#: trap 7 0x90000043 again+4 3
#: trap 7 0x90000043 again+8 3
#: trap 7 0x90000043 again+12 3
#: trap 7 0x90000043 again 3
#: trap 7 0x90000043 again+4 3
#: trap 7 0x90000043 again+8 3
#: trap 7 0x90000043 again+12 3
#: trap 7 0x90000043 again 3
#: trap 7 0x90000043 again+4 3
#: trap 7 0x90000043 again+8 3
#: trap 7 0x90000043 again+12 3
#: trap 7 0x90000043 again 3
#: trap 7 0x90000043 again+4 3
#: trap 7 0x90000043 again+8 3
#: trap 7 0x90000043 again+12 3
#: trap 7 0x90000043 again 3
#: trap 7 0x90000043 again+4 3
#: trap 7 0x90000043 again+8 3
#: trap 7 0x90000043 again+12 3
#: trap 7 0x90000043 again 3
#: trap 7 0x90000043 again+4 3
#: trap 7 0x90000043 again+8 3
#: trap 7 0x90000043 again+12 3
    # With page tables: a page fault where there is no page, an access fault where a page leads nowhere.
    li    a0, 0x8000000000080010
    call  enter_s
    li    s3, 0x40000003
    li    s4, 0x1000
two:
    cbo.clean (s3)              # 0: leads nowhere.
    add   s3, s3, s4
    cbo.flush (s3)              # 1: nothing is mapped.
    add   s3, s3, s4
    cbo.inval (s3)              # 2: a device.
#: trap 7 va+3 two 1
#: trap 15 va+0x1003 two+8 1
    li    a7, 1
three:
    ecall
#: trap 9 0 three 1
    # PMP forbids the device to S-mode.
    li    t0, 0x04000007        # 64 bytes at 0x10000000
    csrw  pmpaddr0, t0
    li    t0, -1
    csrw  pmpaddr1, t0
    li    t0, 0x1f18
    csrw  pmpcfg0, t0
    li    a0, 0x8000000000080010
    call  enter_s
four:
    cbo.clean (s3)
#: trap 7 va+0x2003 four 1
    j     done
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf
    .org  0x11000
    .dword 0x80012000/4+V
    .org  0x12000
    .dword 0x90000000/4+0xc7, 0, 0x10000000/4+0xc7
