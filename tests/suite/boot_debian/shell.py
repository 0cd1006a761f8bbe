"""A command as a job of a person's shell, bare or as a run: all that is seen of it must be the same."""

import os
import pty
import re
import select
import sys
import time

seen = ""


def until(what, holds):
    global seen
    end = time.monotonic() + 120
    while not holds():
        if time.monotonic() > end:
            sys.exit(f"not seen: {what}; but {seen!r}")
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 4096).decode()


def types(text):
    os.write(terminal, text.encode())


def front():
    return os.tcgetpgrp(terminal)


def says(command, pattern):
    """What the shell answers to a command, from here on."""
    before = len(seen)
    types(command + "\n")
    found = lambda: re.search(pattern, seen[before:])
    until(command, lambda: found() and front() == shell)
    return found().group(1)


shell, terminal = pty.fork()
if shell == 0:
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
until("the shell is in front", lambda: front() == shell and "bash-" in seen)
types("$RUN bash -c 'echo I am $$; exec sleep 1000'\n")
until("a job in front", lambda: front() != shell and re.search(r"I am \d+\r", seen))
job = front()
tells = [f"leads its group: {re.search(r'I am ([0-9]+)', seen[seen.rindex('I am '):]).group(1) == str(job)}"]
types("\x1a")
until("it stands still", lambda: front() == shell and "Stopped" in seen)
tells.append(says("jobs", r"\[1\]\+  (Stopped) "))
types("bg\n")
until("it goes on behind", lambda: "sleep 1000' &" in seen)
tells.append(says("jobs", r"\[1\]\+  (Running) "))
types("fg\n")
until("it is in front again", lambda: front() == job)
types("\x03")
until("the shell is in front", lambda: front() == shell)
tells.append("interrupted " + says("echo status $?", r"status (\d+)\r"))
tells.append("ended " + says("$RUN bash -c 'exit 7'; echo status $?", r"status (\d+)\r"))
tells.append("died " + says("$RUN bash -c 'kill -USR1 $$'; echo status $?", r"status (\d+)\r"))
# What the shell has just forked may lose a signal: it is sent to one that has executed.
types("$RUN bash -c 'echo I wait $$; exec sleep 1000' &\n")
until("a job behind", lambda: re.search(r"I wait \d+\r", seen))
tells.append("closed " + says("kill -HUP %1; wait %1; echo status $?", r"status (\d+)\r"))
tells.append("has the terminal " + says("$RUN bash -c '[ -t 0 ] && [ -t 2 ] && stty size'", r"\n(\d+ \d+)\r"))
types("exit\n")
_, status = os.waitpid(shell, 0)
print("\n".join(tells + [f"the shell ended with {status}"]))
