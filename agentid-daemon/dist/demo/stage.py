"""What the person has before any agent comes: a repository, a key, a tool, two servers."""

import functools
import http.server
import os
import shutil
import subprocess
import threading

import expected

GREETING = 'def greet(name):\n    return f"Helo, {name}"\n'
TEST = """import unittest

from greeting import greet


class Greeting(unittest.TestCase):
    def test_greets_by_name(self):
        self.assertEqual(greet("world"), "Hello, world")
"""


HERE = os.path.dirname(os.path.realpath(__file__))
# The agent's own program, which it may read because it lies in its workspace.
AGENT = ("agent", "child", "children.py")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Stage:
    def __init__(self):
        self.folder = os.path.join(expected.HOME, "agentid-demo")
        self.tool = os.path.join(self.folder, "tools", "deploy")
        self.own_key = False
        self.servers = []

    def __enter__(self):
        # The folder is removed in the end, so it must not be anybody's.
        os.mkdir(self.folder)
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.shutdown()
            server.server_close()
        if self.own_key:
            os.remove(expected.KEY)
        shutil.rmtree(self.folder)

    def _build(self):
        os.mkdir(os.path.dirname(self.tool))
        shutil.copy("/usr/bin/true", self.tool)
        if not os.path.exists(expected.KEY):
            os.makedirs(os.path.dirname(expected.KEY), mode=0o700, exist_ok=True)
            write(expected.KEY, "the person's key\n")
            self.own_key = True
        served = os.path.join(self.folder, "served")
        os.mkdir(served)
        write(os.path.join(served, "answer.txt"), expected.ANSWER + "\n")
        for port in (expected.GRANTED_PORT, expected.OTHER_PORT):
            self.servers.append(serve(served, port))

    def workspace(self, name):
        """A folder for one run, with the repository that it is to work on."""
        workspace = os.path.join(self.folder, name)
        source = os.path.join(self.folder, f"{name}-source")
        os.makedirs(os.path.join(workspace, "tmp"))
        os.mkdir(os.path.join(workspace, "agent"))
        for name in AGENT:
            shutil.copy(os.path.join(HERE, name), os.path.join(workspace, "agent"))
        write(os.path.join(workspace, "note"), "the agent may read this\n")
        git("init", "--quiet", source)
        write(os.path.join(source, "greeting.py"), GREETING)
        write(os.path.join(source, "test_greeting.py"), TEST)
        git("-C", source, "add", ".")
        git("-C", source, "-c", "user.name=dana", "-c", "user.email=dana@example.org", "commit", "--quiet",
            "--message", "greet by name")
        git("clone", "--quiet", "--bare", source, os.path.join(workspace, "upstream.git"))
        return workspace


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def git(*arguments):
    subprocess.run(["git", "-c", "init.defaultBranch=main", *arguments], check=True)


def serve(folder, port):
    handler = functools.partial(Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
