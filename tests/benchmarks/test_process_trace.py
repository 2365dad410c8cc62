"""The reader of the kernel's trace of processes."""

from __future__ import annotations

from benchmarks.process_trace import Event, read_trace

TEXT = """\
# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
         systemd-100     [001] ..... 10.000001: sched_process_fork: comm=systemd pid=100 child_comm=x child_pid=200
 (odd [name]) x-200     [000] ..... 10.000002: sys_mount(dev_name: 0, dir_name: 1, type: 2, flags: 3, data: 4)
           <...>-200     [000] ..... 10.000003: sched_process_exec: filename=/usr/bin/sh pid=200 old_pid=200
              sh-200     [000] ..... 10.000004: sched_process_fork: comm=sh pid=200 child_comm=sh child_pid=201
             sh-201     [001] ..... 10.000005: sched_process_exec: filename=/proc/self/fd/9 pid=201 old_pid=201
               9-201     [001] ..... 10.000006: sched_process_exit: comm=9 pid=201 prio=120 group_dead=true
           other-300     [001] ..... 10.000007: sched_process_exec: filename=/usr/bin/other pid=300 old_pid=300
"""


def test_the_processes_below_one_are_read_with_their_programs() -> None:
    assert read_trace(TEXT, 100) == [
        Event(10.000002, 200, "mount", "systemd"),
        Event(10.000003, 200, "exec", "sh"),
        Event(10.000005, 201, "exec", "9"),
        Event(10.000006, 201, "exit", "9"),
    ]
    assert read_trace(TEXT, 999) == []
