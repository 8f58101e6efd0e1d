"""Starts one command and says what it took: ``python -I -S launcher.py COMMAND...``.

Linux lets a started process inherit the peak memory of the one that started it, so
this one stays as small as Python can be: it imports built-in modules only. It prints
one line: exit status, begin in seconds since the epoch, wall seconds, user seconds,
system seconds, peak KiB.
"""

import posix  # `os` would be bigger
import sys
import time


def main(command: list[str]) -> None:
    """Run the command, its output sent to our standard error, and print the line."""
    to_log = [(posix.POSIX_SPAWN_DUP2, 2, 1)]
    since_epoch, begin = time.time(), time.monotonic()
    child = posix.posix_spawn(command[0], command, posix.environ, file_actions=to_log)
    _, status, usage = posix.wait4(child, 0)
    wall = time.monotonic() - begin
    code = posix.waitstatus_to_exitcode(status)
    print(code, since_epoch, wall, usage.ru_utime, usage.ru_stime, usage.ru_maxrss)


main(sys.argv[1:])
