/* A 32-bit program without libc: says it is ready, then sleeps 20 ms at a time until it is killed.
 *
 * It gives up after 3,000 sleeps (a minute), so that none is ever left behind.
 */
        .globl _start
        .text
_start:
        movl    $4, %eax                /* write */
        movl    $1, %ebx
        movl    $ready, %ecx
        movl    $ready_length, %edx
        int     $0x80
        movl    $3000, %esi
wait_in_compat_sleep:
        movl    $162, %eax              /* nanosleep */
        movl    $time, %ebx
        xorl    %ecx, %ecx
        int     $0x80
        decl    %esi
        jnz     wait_in_compat_sleep
        movl    $1, %eax                /* exit */
        xorl    %ebx, %ebx
        int     $0x80

        .data
time:   .long   0, 20000000
ready:  .ascii  "ready {\"pid\":0,\"tids\":{}}\n"
        .set    ready_length, . - ready
        .section .note.GNU-stack, "", @progbits
