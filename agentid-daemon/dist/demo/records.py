"""What the kernel said: reading events."""


def accesses(events):
    return [event for event in events if event["what"]["kind"] == "access"]


def denial(events, want, name):
    """The first denial of this right to this object."""
    for event in accesses(events):
        what = event["what"]
        if what["verdict"] == "deny" and wants(what) == want and object_name(what) == name:
            return event
    return None


def denied_to(events, path, task):
    """Whether the kernel denied the file to this very task."""
    return any(
        event["what"]["verdict"] == "deny"
        and event["what"]["process"]["tid"] == task
        and object_name(event["what"]) == path
        for event in accesses(events)
    )


def object_name(what):
    found = what["object"] or {}
    if "file" in found:
        return found["file"]["path"]
    if "peer" in found:
        return f"{found['peer']['address']}:{found['peer']['port']}"
    return None


def wants(what):
    found = what["object"] or {}
    return ",".join(found["file"]["want"]) if "file" in found else "connect"


def verdict(event):
    """Verdict, reason and number of the rule."""
    if event is None:
        return ("no record", None, None)
    what = event["what"]
    return (what["verdict"], what["reason"], what["rule"])


def sentence(event):
    if event is None:
        return "(no record)"
    what = event["what"]
    rule = f"rule {what['rule']}" if what["rule"] else "no rule grants it"
    return f"{what['verdict']} {wants(what)} {object_name(what)}, in {what['hook']}: {rule}"


def who(event):
    if event is None:
        return "(no record)"
    run, process = event["run"], event["what"]["process"]
    program = f"{process['comm']}[{process['tgid']}], uid {process['uid']}"
    return f"{program}, as {run['agent']} for {run['owner']}, task {run['task']}"


def numbers(events):
    return {event["what"]["sequence"] for event in accesses(events)}


def ending(end):
    by = f" by uid {end['by_uid']}" if end["by_uid"] is not None else ""
    reason = f": {end['reason']}" if end["reason"] else ""
    return f"{end['ending']}{by}{reason}"
