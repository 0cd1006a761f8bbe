"""What is shown of how runs end."""

import os
import signal
import time

import client
import records


def revocation(report, first, second):
    report.title(f"{first.task} is revoked in the middle of its loop")
    denied = client.show(second.id)["totals"]["denied"]
    round_before = second.beats()
    alive = len(first.tasks())
    report.check("before: the loop, and an orphan that sleeps", True, alive >= 2, f"{alive} processes")

    begin = time.monotonic()
    reply = client.revoke(first.id, "the demo says so")
    first.process.wait(timeout=30)
    outside = (time.monotonic() - begin) * 1000
    stops(report, first, reply, outside)

    round_after = first.beats()
    client.until(lambda: second.beats() >= round_before + 3, f"the loop of {second.task} goes on")
    report.check("its loop stands still", round_after, first.beats(), f"round {round_after}")
    going = f"round {round_before} before, {second.beats()} now"
    report.check(f"{second.task} goes on", None, second.process.poll(), going)
    after = client.show(second.id)["totals"]["denied"]
    report.check(f"{second.task} has no new denial", denied, after, f"{denied} before, {after} now")


def stops(report, run, reply, outside):
    client.until(lambda: not run.tasks(), f"the end of the processes of {run.task}", 30)
    report.check("it stops", -signal.SIGKILL, run.process.returncode, "killed")
    report.check("its last task was seen to stop", (True, 0),
                 (reply["stopped_after_ms"] is not None, reply["remaining"]), f"{reply['tasks']} tasks were alive")
    report.check("no process of it is left, the orphan included", [], run.tasks(), "0 processes")
    report.detail("denied", f"everything, {reply['denied_after_ms']:.1f} ms after the request came")
    report.detail("stopped", f"the last task, {reply['stopped_after_ms'] or 0:.1f} ms after the request came")
    report.detail("outside", f"{outside:.0f} ms from the start of `agentid revoke` until the run's parent saw its end")


def completion(report, run):
    report.title(f"{run.task} comes to its own end")
    with open(os.path.join(run.workspace, "stop"), "w", encoding="utf-8"):
        pass
    run.process.wait(timeout=60)
    report.check("the exit status is the agent's own", 0, run.process.returncode, "0")


def record(report, run, how):
    view = client.until(lambda: ended(run), f"the end of {run.task}")
    report.title(f"The record of {run.task}")
    end, totals = view["end"], view["totals"]
    report.check("how it ended", how, end["ending"], records.ending(end))
    # The last record says that the last task is gone. It becomes the event `ended`, which has no number.
    numbers = set(range(totals["records"] - 1))
    client.eventually(lambda: numbers == records.numbers(client.events(run.id)), 10)
    missing = sorted(numbers ^ records.numbers(client.events(run.id)))
    report.check("no record is missing", ([], 0), (missing, totals["lost"]),
                 f"{totals['records']} records, numbered without a gap")
    figures = f"{totals['started']} tasks, {totals['allowed']} allowed, {totals['denied']} denied"
    report.check("no decision failed", 0, totals["faults"], figures)


def ended(run):
    view = client.show(run.id)
    return view if view["phase"] == "ended" else None
