// Makes the system calls of a table, then executes a program: see __init__.py.
// x19 is the table, x20 the stack with argc, argv and envp.
        mov     x20, sp
        adr     x19, data
next:   ldp     x8, x0, [x19], #16
        ldp     x1, x2, [x19], #16
        ldp     x3, x4, [x19], #16
        mov     x21, x8
        and     x8, x8, #0xbfffffffffffffff
        tbnz    x8, #63, last
        svc     #0
        tbz     x0, #63, next
        tbz     x21, #62, fail          // what is missing may be missing
        cmn     x0, #2
        b.eq    next
fail:   cmn     x0, #2                  // ENOENT
        mov     x0, #126
        cinc    x0, x0, eq
        mov     x8, #93
        svc     #0
last:   cbnz    x1, run                 // without arguments in the table, this program's own
        add     x1, x20, #16
run:    mov     x8, #221
        svc     #0
        b       fail
        .balign 8
data:
