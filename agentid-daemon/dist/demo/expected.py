"""What must happen. Everything here is tried by `agent`, and checked by `run`."""

import os
import pwd
from dataclasses import dataclass

GRANTED_PORT = 8080
OTHER_PORT = 8081
ANSWER = "forty-two"
# Not the environment's: whoever started the demo may have another.
HOME = pwd.getpwuid(os.getuid()).pw_dir
SU = os.path.realpath("/usr/bin/su")
KEY = os.path.join(HOME, ".ssh", "id_ed25519")


@dataclass(frozen=True)
class Work:
    """A step that is granted."""

    name: str
    tried: str
    status: int
    said: str


@dataclass(frozen=True)
class Trespass:
    """A step that is not granted."""

    name: str
    tried: str
    status: int
    # As the kernel's record names them.
    want: str
    object: str
    # `deny_rule`, or `no_rule` for a grant that is missing.
    reason: str
    # As `agentid why` is asked.
    question: tuple
    # What a person's own shell types to do the same.
    command: tuple


WORK = (
    Work("clone", "git clone of a local repository", 0, ""),
    Work("test-broken", "python3 -m unittest: the tests as they came", 1, "FAILED (failures=1)"),
    Work("edit", "sed -i greeting.py", 0, ""),
    Work("test-fixed", "python3 -m unittest: the tests after the edit", 0, "OK"),
    Work("commit", "git commit", 0, "code-agent: spell the greeting"),
    Work("fetch", f"curl http://127.0.0.1:{GRANTED_PORT}, which is granted", 0, ANSWER),
)

SHELL = ("pipe", "subshell", "background", "nohup", "setsid", "exec", "xargs", "find-exec", "process-substitution")
SHELL += ("command-substitution", "coprocess", "empty-environment", "exit-trap", "orphan")
PYTHON = ("python-subprocess", "python-posix-spawn", "python-fork", "python-thread-1", "python-thread-2")
PYTHON += ("python-multiprocessing",)
CHILDREN = SHELL + PYTHON
DENIED = "Permission denied"


def trespasses(tool: str) -> tuple:
    """`tool` is a program of the person, outside the workspace."""
    other = f"127.0.0.1:{OTHER_PORT}"
    fetch = ("curl", "--silent", "--show-error", "--max-time", "20", f"http://{other}/answer.txt")
    return (
        Trespass("key", "read ~/.ssh/id_ed25519", 1, "read", KEY, "deny_rule",
                 ("--open", KEY), ("cat", KEY)),
        Trespass("server", f"connect to {other}", 7, "connect", other, "no_rule",
                 ("--connect", other), fetch),
        Trespass("tool", "execute ~/agentid-demo/tools/deploy", 126, "exec", tool, "no_rule",
                 ("--open", tool, "--exec"), (tool,)),
        Trespass("su", "execute su", 126, "exec", SU, "deny_rule",
                 ("--open", SU, "--exec"), ("su", "--version")),
    )


def names() -> set:
    """Every line that a run must have printed before its loop is of interest."""
    steps = [step.name for step in (*WORK, *trespasses(""))]
    return {*steps, *CHILDREN, "loop"}
