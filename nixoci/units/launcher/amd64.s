# Makes the system calls of a table, then executes a program: see __init__.py.
# rbx is the table, r12 the stack with argc, argv and envp.
        mov     %rsp, %r12
        lea     data(%rip), %rbx
next:   mov     (%rbx), %rax
        mov     8(%rbx), %rdi
        mov     16(%rbx), %rsi
        mov     24(%rbx), %rdx
        mov     32(%rbx), %r10
        add     $48, %rbx
        mov     -8(%rbx), %r8
        mov     %rax, %r13
        btr     $62, %rax
        test    %rax, %rax
        js      last
        syscall
        test    %rax, %rax
        jns     next
        bt      $62, %r13               # what is missing may be missing
        jnc     fail
        cmp     $-2, %rax
        je      next
fail:   mov     $126, %edi
        cmp     $-2, %rax               # ENOENT
        jne     exit
        inc     %edi
exit:   mov     $60, %eax
        syscall
last:   test    %rsi, %rsi              # without arguments in the table, this program's own
        jnz     run
        lea     16(%r12), %rsi
run:    mov     $59, %eax
        syscall
        jmp     fail
        .balign 8
data:
