# Jumps and calls between pages, direct ones and falling off a page's end, while the code of the page that
# they lead to is overwritten and dropped (docs/determinism.md, "Coherent caches").
    li    s2, 100
    li    s3, 50
    la    t1, there
    li    t2, 0x00248493        # addi s1, s1, 2
again:
    jal   ra, near
    bne   s2, s3, go
    sw    t2, 0(t1)
go: addi  s2, s2, -1
    bnez  s2, again
#: s0 = 100
#: s1 = 149
#: s4 = 100
#: s5 = 100
    j     done
    .org  0x7ff0
near:
    addi  s0, s0, 1
    addi  s4, s4, 1
    nop
    nop
    addi  s5, s5, 1             # The first of the next page.
    j     there
    .org  0x9008
there:
    addi  s1, s1, 1
    ret
