# A server on bare metal, for the simulator's real-machine worlds (crates/sim/src/bare.rs).
#
# It runs in machine mode on the board's RAM, UART, CLINT, PLIC, one virtio-blk and one virtio-net device. A byte of
# 0x80 and more from the UART is a request; the answer is a frame. On the way it computes, is interrupted by its
# timer at exact steps, writes and reads its disk with both requests in flight, and prints. All of it is mixed
# into one hash (s1), and everything it shows depends on that: two runs that differ anywhere show it.
#
#   0x80 + n % 100    request n: done if it is the next one, answered again if it was the last one
#   0xfe              answer, then switch off
#   below 0x80        typed: mixed in and echoed
#
# The binary beside this file is made by (any GNU binutils for RISC-V):
#   riscv64-linux-gnu-as -march=rv64ima_zicsr -o server.o server.s
#   riscv64-linux-gnu-ld -Ttext=0x80000000 -o server.elf server.o
#   riscv64-linux-gnu-objcopy -O binary -j .text server.elf server.bin
#
# s0 data   s1 hash   s2 requests answered   s3 UART   s4 PLIC   s5 disk   s6 network
# s7 stirred by the timer   s8, s9 next index of the disk's, the network's ring   t4 to t6: the timer's alone

    .equ DISK_RING,   0x0000
    .equ NET_RING,    0x1000
    .equ AVAILABLE,   0x200
    .equ USED,        0x400
    .equ WRITE,       0x2000        # header 16 bytes, status 1 byte
    .equ READ,        0x2020
    .equ WRITE_DATA,  0x2200
    .equ READ_DATA,   0x2400
    .equ FRAME,       0x2600        # virtio header 12 bytes, Ethernet header 14, pad 2, number 8, hash 8

    .macro mix register
    xor   s1, s1, \register
    li    t0, 0x9e3779b97f4a7c15
    mul   s1, s1, t0
    srli  t0, s1, 29
    xor   s1, s1, t0
    .endm

    .text
    .globl _start
_start:
    li    s0, 0x80100000
    li    s1, 1
    li    s2, 0
    li    s3, 0x10000000
    li    s4, 0x0c000000
    li    s5, 0x10001000
    li    s6, 0x10002000
    li    s7, 0
    li    s8, 0
    li    s9, 0
    la    t0, timer
    csrw  mtvec, t0
    li    t0, 1                     # priorities of disk, network, UART
    sw    t0, 4(s4)
    sw    t0, 8(s4)
    sw    t0, 40(s4)
    li    t0, 0x0c200000            # threshold
    sw    zero, 0(t0)
    mv    a0, s5
    li    a1, 0
    li    a2, DISK_RING
    call  device
    mv    a0, s6
    li    a1, 1
    li    a2, NET_RING
    call  device
    li    t0, 1
    sb    t0, 1(s3)                 # UART: interrupt when something is typed
    li    t0, 0x80                  # timer interrupts
    csrs  mie, t0
    li    t5, 0x02004000
    sd    zero, 0(t5)
    csrsi mstatus, 8
    li    a0, '!'
    call  print

main:
    lbu   t0, 5(s3)
    andi  t0, t0, 1
    beqz  t0, nothing
    lbu   a0, 0(s3)
    call  typed
    j     main
nothing:
    li    a0, 0x406                 # UART, network, disk
    call  wait
    j     main

# A byte came in: a0.
typed:
    mv    s10, ra
    mix   a0
    li    t0, 0xfe
    beq   a0, t0, leave
    li    t0, 0x80
    blt   a0, t0, echo
    addi  a0, a0, -0x80
    li    t1, 100
    remu  t0, s2, t1
    beq   t0, a0, repeat
    addi  t0, s2, 1
    remu  t0, t0, t1
    bne   t0, a0, ignore
    call  compute
    call  disk
    call  compute
    call  answer
    andi  a0, s1, 0x1f
    addi  a0, a0, 'A'
    call  print
    andi  t0, s1, 3
    bnez  t0, ignore
    li    a0, 10                    # a line end makes the UART send at once
    call  print
ignore:
    jr    s10
echo:
    call  print
    jr    s10
repeat:
    beqz  s2, ignore
    call  send
    jr    s10
leave:
    call  answer
    li    t0, 0x100000
    li    t1, 0x5555
    sw    t1, 0(t0)
stop:
    wfi
    j     stop

print:
    sb    a0, 0(s3)
    ret

# Up to 16384 rounds, with the time of day in each: the timer lands anywhere in here.
compute:
    srli  t1, s1, 40
    li    t2, 0x3fff
    and   t1, t1, t2
    li    t3, 0x0200bff8
compute_round:
    ld    t2, 0(t3)
    add   s1, s1, t2
    mix   t1
    addi  t1, t1, -1
    bgtz  t1, compute_round
    ret

# Writes one sector and reads another or the same, both in flight, and waits for both.
disk:
    mv    s11, ra
    li    t1, WRITE_DATA
    add   t1, t1, s0
    sd    s1, 0(t1)
    sd    s2, 8(t1)
    sd    s1, 504(t1)
    li    a0, 1
    andi  a1, s1, 7
    li    a2, WRITE
    li    a3, WRITE_DATA
    li    a4, 0
    call  submit
    li    a0, 0
    srli  a1, s1, 8
    andi  a1, a1, 7
    li    a2, READ
    li    a3, READ_DATA
    li    a4, 3
    call  submit
disk_wait:
    li    t0, DISK_RING + USED
    add   t0, t0, s0
    lhu   t0, 2(t0)
    beq   t0, s8, disk_done
    li    a0, 0x6                   # not the UART: its bytes wait
    call  wait
    j     disk_wait
disk_done:
    li    t1, READ_DATA
    add   t1, t1, s0
    ld    t2, 0(t1)
    mix   t2
    li    t1, WRITE
    add   t1, t1, s0
    lbu   t2, 0x10(t1)              # both may have failed
    mix   t2
    lbu   t2, 0x30(t1)
    mix   t2
    jr    s11

# a0 type, a1 sector, a2 header, a3 data, a4 first descriptor
submit:
    add   t1, s0, a2
    sw    a0, 0(t1)
    sw    zero, 4(t1)
    sd    a1, 8(t1)
    slli  t2, a4, 4
    add   t2, t2, s0                # its descriptor
    sd    t1, 0(t2)
    li    t0, 16
    sw    t0, 8(t2)
    li    t0, 1
    sh    t0, 12(t2)
    addi  t3, a4, 1
    sh    t3, 14(t2)
    add   t0, s0, a3
    sd    t0, 16(t2)
    li    t0, 512
    sw    t0, 24(t2)
    xori  t0, a0, 1                 # a read is written to
    slli  t0, t0, 1
    ori   t0, t0, 1
    sh    t0, 28(t2)
    addi  t3, a4, 2
    sh    t3, 30(t2)
    addi  t0, t1, 16
    sd    t0, 32(t2)
    li    t0, 1
    sw    t0, 40(t2)
    li    t0, 2
    sh    t0, 44(t2)
    andi  t0, s8, 7
    slli  t0, t0, 1
    add   t0, t0, s0
    sh    a4, DISK_RING + AVAILABLE + 4(t0)
    addi  s8, s8, 1
    slli  s8, s8, 48
    srli  s8, s8, 48
    fence
    sh    s8, DISK_RING + AVAILABLE + 2(s0)
    sw    zero, 0x50(s5)
    ret

# One more request is answered.
answer:
    addi  s2, s2, 1
    mix   s7
    li    t1, FRAME
    add   t1, t1, s0
    sd    s2, 28(t1)
    sd    s1, 36(t1)
# Sends the last answer.
send:
    li    t1, NET_RING
    add   t1, t1, s0
    li    t2, FRAME
    add   t2, t2, s0
    sd    t2, 0(t1)
    li    t0, 76
    sw    t0, 8(t1)
    sw    zero, 12(t1)
    andi  t0, s9, 7
    slli  t0, t0, 1
    add   t0, t0, t1
    sh    zero, AVAILABLE + 4(t0)
    addi  s9, s9, 1
    fence
    sh    s9, AVAILABLE + 2(t1)
    li    t0, 1
    sw    t0, 0x50(s6)
    ret

# Waits for one of the interrupts in a0 (a PLIC mask), or the timer.
wait:
    csrci mstatus, 8
    li    t0, 0x2000
    add   t0, t0, s4
    sw    a0, 0(t0)
    li    t0, 0x800
    csrs  mie, t0
    wfi
    csrc  mie, t0
    li    t1, 0x0c200004
wait_claim:                         # what a device says after it was asked is claimed again
    lw    t0, 0x60(s5)
    sw    t0, 0x64(s5)
    lw    t0, 0x60(s6)
    sw    t0, 0x64(s6)
    lw    t0, 0(t1)
    beqz  t0, wait_done
    sw    t0, 0(t1)
    li    t2, 10
    bne   t0, t2, wait_claim        # the UART's stays up until its bytes are read
wait_done:
    csrsi mstatus, 8
    ret

# virtio-mmio: a0 base, a1 queue, a2 ring.
device:
    sw    zero, 0x70(a0)
    li    t0, 3
    sw    t0, 0x70(a0)
    li    t0, 1                     # VIRTIO_F_VERSION_1
    sw    t0, 0x24(a0)
    sw    t0, 0x20(a0)
    sw    zero, 0x24(a0)
    sw    zero, 0x20(a0)
    li    t0, 11
    sw    t0, 0x70(a0)
    sw    a1, 0x30(a0)
    li    t0, 8
    sw    t0, 0x38(a0)
    add   t1, s0, a2
    sw    t1, 0x80(a0)
    sw    zero, 0x84(a0)
    addi  t1, t1, AVAILABLE
    sw    t1, 0x90(a0)
    sw    zero, 0x94(a0)
    addi  t1, t1, AVAILABLE
    sw    t1, 0xa0(a0)
    sw    zero, 0xa4(a0)
    li    t0, 1
    sw    t0, 0x44(a0)
    li    t0, 15
    sw    t0, 0x70(a0)
    ret

# Every two milliseconds: where it was interrupted goes into the hash.
    .balign 4
timer:
    csrr  t4, mepc
    slli  t5, s7, 5
    add   s7, s7, t5
    add   s7, s7, t4
    li    t6, 0x0200bff8
    ld    t5, 0(t6)
    add   s7, s7, t5
    li    t4, 20000
    add   t5, t5, t4
    li    t6, 0x02004000
    sd    t5, 0(t6)
    mret
