"""What is shown while both runs live."""

import os
import platform
import re
import subprocess

import client
import expected
import records


def host(report):
    status = client.status()
    # Some are attached only while a run needs them.
    needed = [hook for hook in status["hooks"] if hook["needed"]]
    attached = sum(hook["attached"] for hook in needed)
    report.title(f"Linux {platform.release()}, agentid {status['version']}, uid {os.getuid()}")
    report.check("this host enforces", "enforcing", status["posture"], f"posture {status['posture']}")
    report.check("every hook is attached", len(needed), attached, f"{attached} hooks")


def person(report, stage, title):
    """The same user, without an invocation, does all that is denied to the run."""
    report.title(title)
    processes = set()
    for step in expected.trespasses(stage.tool):
        with subprocess.Popen(step.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            processes.add(process.pid)
        report.check(step.tried, 0, process.returncode, "done")
    recorded = processes & {event["what"]["process"]["tgid"] for event in records.accesses(client.events())}
    report.check("none of it is in the record of a run", set(), recorded, f"{len(processes)} processes")


def side_by_side(report, *runs):
    report.title(f"Two runs of one agent, side by side: policy {runs[0].view['policy']}")
    for run in runs:
        busy(run)
        named = f"{run.view['agent']} for {run.view['owner']}, task {run.task}"
        report.check(named, "active", client.show(run.id)["phase"], f"run {run.id}")


def busy(run):
    """Waits until everything was tried, and the loop goes round."""
    def missing():
        return sorted(expected.names() - run.lines.keys())

    try:
        client.until(lambda: not missing(), f"the agent of {run.task}", 180)
    except TimeoutError as error:
        raise TimeoutError(f"{error}; it did not come to {', '.join(missing())}") from None
    client.until(lambda: run.beats() >= 2, f"the loop of {run.task}")
    # What the kernel has recorded so far can be read.
    due = client.show(run.id)["totals"]["records"]
    client.until(lambda: len(records.accesses(client.events(run.id))) >= due, f"the records of {run.task}")


def work(report, run):
    report.title(f"What the policy grants ({run.task})")
    for step in expected.WORK:
        status, _, said = run.lines[step.name]
        report.check(step.tried, (step.status, step.said), (status, said), said or "done")


def trespass(report, stage, run):
    report.title(f"What it does not grant ({run.task})")
    found = client.events(run.id)
    for step in expected.trespasses(stage.tool):
        status, _, said = run.lines[step.name]
        event = records.denial(found, step.want, step.object)
        told = records.verdict(event)
        report.check(step.tried, (step.status, "deny", step.reason), (status, *told[:2]), "denied")
        report.detail("program", said)
        report.detail("kernel", records.sentence(event))
        answer = client.why(run.id, step.question)
        report.detail("rule", answer["rule_text"] or answer["explanation"])
        if answer["because"]:
            report.detail("because", answer["because"])
        report.detail("who", records.who(event))
        report.check("  `agentid why` says the same", told, (answer["verdict"], answer["reason"], answer["rule"]))


def children(report, run):
    report.title(f"Every child is held to it, however it was started ({run.task})")
    found = client.events(run.id)
    for name in expected.CHILDREN:
        worked, task, said = run.lines[name]
        denied = records.denied_to(found, expected.KEY, task)
        outcome = f"task {task:5}  works; the key: {said}"
        report.check(name.replace("-", " "), (0, expected.DENIED, True), (worked, said, denied), outcome)


def same(report, first, second):
    report.title(f"The other run meets the same ({second.task})")
    names = first.lines.keys() | second.lines.keys()
    different = [name for name in sorted(names) if outcome(first, name) != outcome(second, name)]
    report.check("each step and child has the same outcome", [], different, f"{len(names)} outcomes")


def outcome(run, name):
    """Without what is another in each run: its folder, and the times that curl tells."""
    status, _, said = run.lines.get(name, (None, 0, ""))
    return status, re.sub(r"after \d+ ms", "", said.replace(run.workspace, ""))
