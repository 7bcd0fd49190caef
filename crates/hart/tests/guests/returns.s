# A return leads to where its register says, whatever was called in between: the caller's page is another one
# now, its code has been overwritten, calls are left out, or never returned from (docs/determinism.md,
# "Coherent caches").
    .equ  V, 1
    li    s10, 0x80012008
    li    sp, 0x80028000
    li    a0, 0x8000000000080010
    call  enter_s
    # On the 21st call the page of the caller becomes another one, in which s0 = 2 follows the call.
    li    t0, 0x2000c4cb
    li    t1, 0x40001000        # In another slot of a TLB than this page.
    li    s8, 40
    li    s9, 20
    la    t3, remap
remapping:
    jalr  s6, (t1)
    add   s3, s3, s0
    addi  s8, s8, -1
    bnez  s8, remapping
#: s3 = 60
    # On the 16th call what follows it becomes another instruction.
    li    s8, 30
    li    s9, 15
    li    t0, 0x002a0a13        # addi s4, s4, 2
    la    t1, behind
rewriting:
    jal   ra, rewrite
behind:
    addi  s4, s4, 1
    addi  s8, s8, -1
    bnez  s8, rewriting
#: s4 = 45
    # Recursion: ten times as deep as twelve.
    li    s8, 10
recursions:
    li    a0, 12
    jal   ra, recurse
    addi  s8, s8, -1
    bnez  s8, recursions
#: s5 = 120
    # The inner call returns for the outer one, which has a frame of its own.
    li    s8, 20
leaps:
    jal   ra, outer
    addi  s7, s7, 1
    addi  s8, s8, -1
    bnez  s8, leaps
#: s7 = 20
    j     done
remap:
    bne   s8, s9, kept
    sd    t0, 0(s10)
    j     kept                  # Whoever interprets the store: the return is translated.
    nop
kept:
    ret
recurse:
    addi  s5, s5, 1
    addi  a0, a0, -1
    beqz  a0, bottom
    addi  sp, sp, -16
    sd    ra, 0(sp)
    jal   ra, recurse
    ld    ra, 0(sp)
    addi  sp, sp, 16
bottom:
    ret
outer:
    mv    a1, ra
    jal   ra, inner
    addi  s7, s7, 100
inner:
    mv    ra, a1
    ret
    .org  0x6000
rewrite:
    bne   s8, s9, left
    sw    t0, 0(t1)
    j     left
    nop
left:
    ret
    .org  0x10000
    .dword 0, 0x80011000/4+V, 0x80000000/4+0xcf
    .org  0x11000
    .dword 0x80012000/4+V
    .org  0x12000
    .dword 0, 0x80030000/4+0xcb
    .org  0x30000
    jalr  ra, (t3)
    li    s0, 1
    jr    s6
    .org  0x31000
    jalr  ra, (t3)
    li    s0, 2
    jr    s6
