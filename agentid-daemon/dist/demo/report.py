"""Prints what happened for people, and keeps count of the expectations."""

import textwrap

COLUMN = 52
WIDTH = 110
MARGIN = 20


class Report:
    def __init__(self):
        self.held = 0
        self.failed = []

    def title(self, text):
        print(f"\n{text}", flush=True)

    def check(self, what, expected, actual, said=""):
        """One expectation: `actual` is `expected`."""
        if actual == expected:
            self.held += 1
            print(f"  ok      {what:{COLUMN}}  {said}".rstrip(), flush=True)
            return
        self.failed.append(what)
        print(f"  FAILED  {what}", flush=True)
        self.detail("expected", expected)
        self.detail("actual", actual)

    def detail(self, name, text):
        text = textwrap.wrap(str(text), WIDTH - MARGIN) or [""]
        print(f"          {name:9} {text[0]}", flush=True)
        for line in text[1:]:
            print(f"{'':{MARGIN}}{line}", flush=True)

    def end(self):
        """The exit status."""
        total = self.held + len(self.failed)
        print(f"\n{self.held} of {total} expectations held", flush=True)
        for what in self.failed:
            print(f"  failed: {what}")
        return 1 if self.failed else 0
