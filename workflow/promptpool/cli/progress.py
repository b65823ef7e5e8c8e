"""What snakemake prints as it runs: which jobs are done, which run now, what went wrong, how long the rest takes."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

STARTED = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):$")
ENDED = re.compile(r"^Finished jobid: (\d+)")
STEPS = re.compile(r"^(\d+) of (\d+) steps \(")
FAILED = re.compile(r"^Error in rule (\w+)")
LOG = re.compile(r"^    log: (\S+?),? (?:.* )?\(check log file")
TOTAL = re.compile(r"^total +(\d+)$")
_KEPT = re.compile(r"^(?:Error: |No GPU is visible|baselines\.\S+: package )")
_FAULT = re.compile(r"^(?:WorkflowError|LockException|\w*(?:Error|Exception))\b.*:$")
# Jobs' costs relative to one that draws a figure: seconds of the demo's jobs, where models and texts are small.
_WEIGHTS = {"train_adapter": 12, "embed_checkpoint": 4, "make_pairs": 3, "build_task": 3, "build_report": 2}
_WEIGHTS |= {"judge_tuning": 4, "score_checkpoint": 3, "measure_attention": 3, "check_parity": 3, "export_model": 3}


@dataclass
class RunProgress:
    """The state of a run, fed line by line with what snakemake prints on stderr.

    show: what is done with a line for the user. clock: seconds.
    """

    show: Callable[[str], object]
    clock: Callable[[], float] = time.monotonic
    total: int = 0
    done: int = 0
    running: dict[str, str] = field(default_factory=dict)  # job id -> its rule and wildcards
    faults: list[str] = field(default_factory=list)  # lines that say what went wrong
    logs: list[str] = field(default_factory=list)  # of failed jobs
    tail: list[str] = field(default_factory=list)  # the last lines, if nothing else says what went wrong
    nothing: bool = False  # all files are there and up to date
    _rule: str = ""
    _id: str = ""
    _began: float = 0.0
    _weight: float = 0.0  # of what is done
    _expected: dict[str, int] = field(default_factory=dict)  # rule -> jobs
    _fault: bool = False
    _failing: bool = False

    def line(self, text: str) -> None:
        """Takes one line."""
        text = text.rstrip()
        self.tail = [*self.tail, text][-30:]
        if self._fault:  # the line after `WorkflowError:`
            self.faults.append(text.strip())
            self._fault = False
        elif _KEPT.match(text):
            (self.faults if text.startswith("Error: ") else []).append(text)
            self.show(text)
        elif found := FAILED.match(text):
            self._failing = True
            self.faults.append(f"the job {found[1]} failed")
        elif _FAULT.match(text) and not text.startswith(("RuleException", "CalledProcessError")):
            self._fault = True
        elif text.startswith("Nothing to be done"):
            self.nothing = True
        elif self._failing and (found := LOG.match(text)):
            self.logs.append(found[1])
            self._failing = False
        else:
            self._of_jobs(text)

    def _of_jobs(self, text: str) -> None:
        if found := STARTED.match(text):
            self._rule, self._id, self._failing = found[1], "", False
            self._began = self._began or self.clock()
        elif text.startswith("    jobid: ") and not self._failing:
            self._id = text.partition(": ")[2]
            self.running[self._id] = self._rule
        elif text.startswith("    wildcards: ") and self._id in self.running:
            values = [part.partition("=")[2] for part in text.partition(": ")[2].split(", ")]
            self.running[self._id] = " ".join([self._rule, *values])
        elif found := ENDED.match(text):
            self._weight += weight(self.running.pop(found[1], ""))
        elif found := STEPS.match(text):
            self.done, self.total = int(found[1]), int(found[2])
            self.show(self.status())
        elif found := TOTAL.match(text):
            self.total = int(found[1])
        elif found := re.match(r"^(\w+) +(\d+)$", text):
            self._expected[found[1]] = int(found[2])

    def left(self) -> float | None:
        """Seconds until all jobs are done, if those to come are as fast as those that are; None: too early to say."""
        whole = sum(weight(rule) * count for rule, count in self._expected.items())
        if self.done < 3 or not whole or self._weight >= whole:
            return None
        begun = self._weight + sum(weight(job) for job in self.running.values()) / 2
        return (self.clock() - self._began) * (whole - begun) / begun

    def status(self) -> str:
        """`12 of 41 jobs done, about 2 min left; now: train_adapter tuned`."""
        seconds = self.left() if self.done < self.total else None
        rest = f", about {duration(seconds)} left" if seconds is not None else ""
        now = f"; now: {', '.join(self.running.values())}" if self.running else ""
        return f"{self.done} of {self.total or '?'} jobs done{rest}{now}"


def weight(job: str) -> float:
    """How long a job takes, relative to others. job: its rule, with or without wildcards."""
    return _WEIGHTS.get(job.partition(" ")[0], 1)


def duration(seconds: float) -> str:
    """`40 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
