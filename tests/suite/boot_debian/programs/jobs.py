"""Job control on a terminal of one's own: ^Z, bg, fg and ^C, as a person types them."""

import os
import pty
import re
import select
import sys
import time

END = time.monotonic() + 120
seen = ""


def until(what, holds):
    global seen
    while not holds():
        if time.monotonic() > END:
            sys.exit(f"not seen: {what}; but {seen!r}")
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 4096).decode()


def types(text):
    os.write(terminal, text.encode())


def front():
    return os.tcgetpgrp(terminal)


shell, terminal = pty.fork()
if shell == 0:
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
# Nobody is in front until the child has taken the terminal, and a job that has
# just been forked ignores ^Z until it executes: both are waited for.
until("the shell is in front", lambda: front() == shell and "bash-" in seen)
types("bash -c 'echo I am $$; exec sleep 1000'\n")
until("a job in front", lambda: front() != shell and re.search(r"I am \d", seen))
job = front()
types("\x1a")
until("it stands still", lambda: front() == shell and "Stopped" in seen)
types("bg\n")
until("it goes on behind", lambda: "sleep 1000' &" in seen)
types("fg\n")
until("it is in front again", lambda: front() == job)
types("\x03")
until("the shell is in front", lambda: front() == shell)
types("echo status $?\n")
until("it was interrupted", lambda: "status 130" in seen)
types("sleep 1000 & kill %1; wait %1; echo ended $?\n")
until("a job is ended by its number", lambda: "ended 143" in seen)
types("exit\n")
_, status = os.waitpid(shell, 0)
print("all jobs obey" if status == 0 else f"the shell ended with {status}")
