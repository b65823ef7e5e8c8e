"""Processes that a job starts for its own work: they end with the job, and do not run its script again."""

import os
import sys
import threading
from multiprocessing import parent_process


def forget_script() -> None:
    """Before a job starts processes: they import what they need, not the job's script, which would start it again.

    multiprocessing imports the main module's file in each process that it spawns.
    """
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is None and hasattr(main, "__file__"):
        del main.__file__


def end_with_parent() -> None:
    """In a process that a job started: ends it when the job is killed, because nobody else would."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
