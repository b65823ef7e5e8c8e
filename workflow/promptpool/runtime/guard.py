"""Runs a command that ends when the process that started it does, however that ended: even by SIGKILL.

This file is run as a program, by its path: `python guard.py COMMAND ...`, in a session of its own and with a pipe as
stdin. It imports the standard library alone. A killed process runs no `finally`, but the system closes its pipes.
"""

import os
import signal
import subprocess
import sys
import threading
import time

SECONDS_LEFT = 5.0  # seconds that the command has to end by itself after its starter's death


def main(command: list[str]) -> int:
    """The command's exit code, as a shell gives it."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # one that is sent to the group is for the command
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_watch, args=(process,), daemon=True).start()
    code = process.wait()
    return code if code >= 0 else 128 - code


def _watch(process: subprocess.Popen) -> None:
    """Ends the whole group, this process too, when nobody holds the other end of stdin any more."""
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGTERM)
    until = time.monotonic() + SECONDS_LEFT
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
