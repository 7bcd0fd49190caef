# Branches and jumps (chapter "RV32I", "Control Transfer Instructions").
    li    t0, -1
    li    t1, 1
    li    s0, 0
    beq   t0, t0, a
    j     wrong
a:  bne   t0, t1, b
    j     wrong
b:  blt   t0, t1, c             # Signed.
    j     wrong
c:  bge   t1, t0, d
    j     wrong
d:  bltu  t1, t0, e             # Unsigned.
    j     wrong
e:  bgeu  t0, t1, f
    j     wrong
f:  bge   t0, t0, g
    j     wrong
g:  blt   t0, t0, wrong
    beq   t0, t1, wrong
    bgeu  t1, t0, wrong
    # A backward loop.
    li    t2, 10
loop:
    addi  s0, s0, 3
    addi  t2, t2, -1
    bnez  t2, loop
#: s0 = 30
    jal   s1, over
back:
    j     wrong
over:
    la    t3, target+1          # jalr clears bit 0 of its target,
    jalr  t3, 0(t3)             # and takes it before it writes rd.
link:
    j     wrong
target:
    # Across a page: forward, and back.
    j     far
near:
    la    ra, done
    ret
    .org  0x1000
#: s1 = back
#: t3 = link
#: s11 = 0
far:
    jal   s2, near
after:
#: s2 = after
wrong:
    li    s11, 1
    j     done
