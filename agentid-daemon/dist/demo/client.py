"""The `agentid` command, as a program uses it, and runs of the agent."""

import json
import os
import subprocess
import threading
import time

import expected

TICK = 0.02


def eventually(fact, seconds=60):
    """What `fact()` is as soon as it is true, or at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = fact()
        if value or time.monotonic() >= deadline:
            return value
        time.sleep(TICK)


def until(fact, what, seconds=60):
    """Waits until `fact()` is true and returns what it is."""
    value = eventually(fact, seconds)
    if not value:
        raise TimeoutError(f"{what}: not within {seconds} s")
    return value


def ask(*arguments):
    """The answer of a verb that knows --json."""
    command = ["agentid", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    # 3: `why` has found a denial, which is an answer too.
    if done.returncode not in (0, 3):
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def status():
    return json.loads(ask("status"))


def show(invocation):
    return json.loads(ask("show", invocation))


def why(invocation, question):
    return json.loads(ask("why", invocation, *question))


def revoke(invocation, reason):
    return json.loads(ask("revoke", invocation, "--reason", reason))


def events(invocation=None):
    """Those of one run, or of all the runs that the user may see."""
    which = ("--id", invocation) if invocation else ()
    return [json.loads(line) for line in ask("events", *which).splitlines()]


class Run:
    """The agent, under the policy; `task` is what the run works on."""

    def __init__(self, policy, task, workspace):
        self.task = task
        self.workspace = workspace
        self.lines = {}
        self.process = subprocess.Popen(
            ["agentid", "run", "--policy", policy, "--agent", "code-agent", "--owner", "dana@example.org"]
            + ["--task", task, "--purpose", "show what a run may do", "--param", f"workspace={workspace}"]
            + ["--", "bash", os.path.join(workspace, "agent", "agent"), workspace],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env={**os.environ, "HOME": expected.HOME},
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.view = until(self._find, f"{task} is not launched")
        self.id = self.view["id"]

    def _read(self):
        for line in self.process.stdout:
            name, worked, task, said = line.rstrip("\n").split("\t", 3)
            self.lines[name] = (int(worked), int(task), said)

    def _find(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.task} ended with {self.process.returncode} before it was seen")
        runs = json.loads(ask("ps"))
        return next((run for run in runs if run["tgid"] == self.process.pid), None)

    def beats(self):
        """How often the loop went round."""
        try:
            return os.path.getsize(os.path.join(self.workspace, "beats"))
        except FileNotFoundError:
            return 0

    def tasks(self):
        """Its processes, found without asking agentid: by what their environment says."""
        mark = f"AGENTID_INVOCATION={self.id}".encode()
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.append(int(name))
            except OSError:
                # Another user's, or gone meanwhile.
                continue
        return found
