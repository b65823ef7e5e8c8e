"""`promptpool doctor`: what of this machine works, what does not, and what to do about it. A row each."""

import argparse
import shutil
import textwrap
import threading
from collections.abc import Callable, Sequence

from . import machine_checks
from .machine_checks import WRONG, Finding

AT_MOST = 7.0  # seconds for all checks together: a closed network or a hanging driver must not hold up the table
_MARKS = {"ok": "ok", "note": "--", WRONG: "!!"}


def doctor(given: argparse.Namespace) -> int:
    """Prints the table. 1 if something is wrong that stops every study, else 0."""
    findings = look_at_machine()
    print(findings_table(findings))
    return 1 if any(finding.state == WRONG for finding in findings) else 0


def look_at_machine(
    checks: Sequence[Callable[[], Finding]] = machine_checks.CHECKS, at_most: float = AT_MOST
) -> list[Finding]:
    """What each check finds, in their order; all run at once, and one that is not ready in time is a note."""
    found: dict[str, Finding] = {}

    def run(check: Callable[[], Finding]) -> None:
        try:
            found[check.__name__] = check()
        except Exception as error:  # a check must not hide the others
            reason = " ".join(str(error).split())[:120]
            found[check.__name__] = Finding(check.__name__, "note", f"could not be looked at: {reason}", "report this")

    threads = [threading.Thread(target=run, args=(check,), daemon=True) for check in checks]
    for thread in threads:
        thread.start()
    timer = threading.Event()
    threading.Thread(target=lambda: ([thread.join() for thread in threads], timer.set()), daemon=True).start()
    timer.wait(at_most)
    late = "no answer in time"
    return [
        found.get(one.__name__) or Finding(one.__name__, "note", late, "try again; see if it hangs") for one in checks
    ]


def findings_table(findings: Sequence[Finding]) -> str:
    """A row for each finding, with what to do below it where something is."""
    name = max(len(one.name) for one in findings)
    room = max(40, shutil.get_terminal_size().columns - name - 8)
    lines = []
    for one in findings:
        words = textwrap.wrap(one.found, room) or [""]
        words += textwrap.wrap(f"-> {one.fix}", room, subsequent_indent="   ") if one.fix else []
        lines.append(f"{_MARKS[one.state]}  {one.name.ljust(name)}  {words[0]}")
        lines += [f"{' ' * (name + 6)}{line}" for line in words[1:]]
    return "\n".join(
        [*lines, "", f"ok: works   {_MARKS['note']}: works, with a limit   {_MARKS[WRONG]}: fix this first"]
    )
