"""Children as Python starts them: processes, threads, and forks of both kinds."""

import multiprocessing
import os
import subprocess
import threading

CHILD = ["bash", os.path.join(os.path.dirname(os.path.realpath(__file__)), "child")]


def attempt(name):
    """What `child` does, in this task: a thread has no shell to do it in."""
    with open(os.path.join(os.environ["WORKSPACE"], "note"), encoding="utf-8") as note:
        worked = 0 if note.readline() else 1
    try:
        with open(os.environ["KEY"], encoding="utf-8"):
            said = "opened"
    except OSError as error:
        said = error.strerror
    line = f"{name}\t{worked}\t{threading.get_native_id()}\t{said}\n"
    os.write(1, line.encode())


def fork(name):
    child = os.fork()
    if child == 0:
        attempt(name)
        os._exit(0)
    os.waitpid(child, 0)


def main():
    subprocess.run([*CHILD, "python-subprocess"], check=False)
    os.waitpid(os.posix_spawnp("bash", [*CHILD, "python-posix-spawn"], os.environ), 0)
    fork("python-fork")
    threads = [threading.Thread(target=attempt, args=(f"python-thread-{n}",)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    process = multiprocessing.get_context("spawn").Process(target=attempt, args=("python-multiprocessing",))
    process.start()
    process.join()


if __name__ == "__main__":
    main()
