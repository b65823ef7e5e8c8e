"""A real SLURM on this one machine, for tests: two nodes that are only names, two GPUs that are only device files.

Debian's packages, no systemd, every daemon on the loopback address, all state in one folder. What a daemon's pid file
says is believed only where a living process of that name has that pid; nothing else is ever signalled. By hand:
`python tests/slurm/one_machine.py start | start-with-accounting | stop`.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

STATE = Path(tempfile.gettempdir()) / "promptpool-slurm"
ETC = Path("/etc/slurm")  # nowhere else: SLURM_CONF does not reach the inside of a job
SIGNED = "# promptpool's tests wrote this file\n"
PROGRAMS = {"munge": "munged", "slurmctld": "slurmctld", "slurmd": "slurmd", "slurm-client": "squeue"}
ACCOUNTING = {"slurmdbd": "slurmdbd", "mariadb-server": "mariadbd"}
NODES = {"cpu1": 17821, "gpu1": 17822}
PORTS = {"controller": 17817, "accounting": 17819, "database": 17861}
CPUS, MEMORY, GPUS = 8, 64_000, 2  # of each node, whatever this machine has; MiB


def why_not() -> str | None:
    """What keeps this machine from being a cluster; None where nothing does."""
    if os.geteuid() != 0:
        return "a SLURM cluster of one machine needs root"
    missing = _missing({**PROGRAMS, **ACCOUNTING})
    if missing and not shutil.which("apt-get"):
        return f"SLURM is not installed ({', '.join(missing)}) and this is no Debian to install it on"
    config = ETC / "slurm.conf"
    if config.exists() and not config.read_text().startswith(SIGNED):
        return f"{config} is there already, of a real cluster perhaps: it stays untouched"
    return None


def start(accounting: bool = False) -> None:
    """Installs what is missing and starts the cluster, clean of whatever an earlier one left."""
    stop()
    install({**PROGRAMS, **(ACCOUNTING if accounting else {})})
    shutil.rmtree(STATE, ignore_errors=True)
    for folder in ("state", "spool/cpu1", "spool/gpu1", "dev"):
        (STATE / folder).mkdir(parents=True)
    _pretend_gpus()
    _start_munge()
    ETC.mkdir(exist_ok=True)
    for name, text in {"slurm.conf": _slurm_conf(accounting), "gres.conf": _gres_conf()}.items():
        (ETC / name).write_text(SIGNED + text)
    if accounting:
        _start_database()
        _start_accounting()
    start_controller()
    for node in NODES:
        _daemon(f"slurmd.{node}", ["slurmd", "-N", node])
    until(lambda: answer("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * 2, "two idle nodes")


def start_controller() -> None:
    _daemon("slurmctld", ["slurmctld"])


def kill_controller() -> None:
    """As a crash would, without warning; not in the very seconds in which it has not yet written down what it started.

    A controller that comes back with a running job noted as waiting ends that job: SLURM's way, and retries fix it.
    """
    pid, asked = _living("slurmctld"), time.time()
    until(lambda: (STATE / "state/job_state").stat().st_mtime > asked, "the controller to write its state")
    assert pid, "no controller to kill"
    os.kill(pid, signal.SIGKILL)
    until(lambda: not _living("slurmctld"), "the controller to be gone")


def stop() -> None:
    """Ends the jobs, then every daemon that was started here, and takes its files out of /etc/slurm.

    A slurm.conf without a controller would cost every Snakemake on this machine nine seconds a start.
    """
    if _living("slurmctld"):
        answer("scancel", "--user", "root")
        with contextlib.suppress(TimeoutError):
            until(lambda: not answer("squeue", "-h"), "the queue to be empty", seconds=20)
    for name in (*(f"slurmd.{node}" for node in NODES), "slurmctld", "slurmdbd", "mariadbd", "munged"):
        _end(name)
    for path in left_behind():
        if path.parent == ETC:
            path.unlink()


def left_behind() -> list[Path]:
    """Files of ours in /etc/slurm, and the pid files of daemons that live."""
    daemons = (*(f"slurmd.{node}" for node in NODES), "slurmctld", "slurmdbd", "mariadbd", "munged")
    configs = [ETC / name for name in ("slurm.conf", "gres.conf", "slurmdbd.conf")]
    return [
        *(path for path in configs if path.exists() and path.read_text().startswith(SIGNED)),
        *(_pid_file(name) for name in daemons if _living(name)),
    ]


def answer(*command: str) -> str:
    """What a SLURM command prints, or nothing: one that has no controller to ask is given up after ten seconds."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    return ""


def jobs() -> list[dict[str, str]]:
    """Every job of the last hour, oldest first: id, name, account, partition, feature, state, memory, gpus, rule."""
    widths = {
        "JobID": 12,
        "Name": 80,
        "Account": 20,
        "Partition": 12,
        "Feature": 20,
        "State": 20,
        "MinMemory": 12,
        "tres-per-job": 24,
        "Comment": 200,
    }
    found = []
    for line in answer("squeue", "-h", "-t", "all", "-O", ",".join(f"{k}:{w}" for k, w in widths.items())).splitlines():
        values = []
        for width in widths.values():
            values.append(line[:width].strip())
            line = line[width:]
        names = ("id", "name", "account", "partition", "feature", "state", "memory", "gpus", "rule")
        job = dict(zip(names, values, strict=True))
        job["rule"] = job["rule"].removeprefix("rule_").partition("_wildcards")[0]
        found.append(job)
    return sorted(found, key=lambda job: int(job["id"]))


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One cluster at a time on a machine, however many clones test."""
    with open(Path(tempfile.gettempdir()) / "promptpool-slurm.lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def install(programs: Mapping[str, str]) -> None:
    """Debian package -> a program of it; those whose program is missing are installed, their daemons not started."""
    packages = _missing(programs)
    if not packages:
        return
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "check": True, "timeout": 600}
        subprocess.run(["apt-get", "update", "-qq"], **quiet)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], **quiet)
    finally:
        if ours:
            policy.unlink()


def _missing(programs: Mapping[str, str]) -> list[str]:
    return [package for package, program in programs.items() if not _program(program)]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


# --- daemons -----------------------------------------------------------------------------------------


def _pid_file(name: str) -> Path:
    return STATE / f"{name}.pid"


def _living(name: str) -> int | None:
    """The pid of a daemon of ours, if that process is alive and still is the daemon."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(_pid_file(name).read_text())
        fields = Path(f"/proc/{pid}/stat").read_text()
        program, state = fields[fields.index("(") + 1 : fields.rindex(")")], fields[fields.rindex(")") + 2]
        if program == name.partition(".")[0] and state != "Z":
            return pid
    return None


def _daemon(name: str, command: list[str]) -> None:
    """Starts a program that goes to the background and writes its pid file itself."""
    _pid_file(name).unlink(missing_ok=True)
    _spawn(name, command).wait(timeout=60)
    until(lambda: _living(name) is not None, f"{name} to start")


def _spawn(name: str, command: list[str], **options: object) -> subprocess.Popen:
    with open(STATE / f"{name}.out", "a") as out:
        return subprocess.Popen(
            [_program(command[0]), *command[1:]], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True, **options,
        )  # fmt: skip


def _end(name: str) -> None:
    """TERM, and KILL to one that does not listen: a slurmd that misses its controller takes minutes."""
    for deadly, seconds in ((signal.SIGTERM, 30 if name in ("mariadbd", "slurmdbd") else 5), (signal.SIGKILL, 5)):
        pid = _living(name)
        if pid is None:
            return
        os.kill(pid, deadly)
        with contextlib.suppress(TimeoutError):
            until(lambda: _living(name) is None, f"{name} to end", seconds=seconds)


def until(done: Callable[[], bool], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            logs = "".join(f"\n--- {path}\n{path.read_text()[-600:]}" for path in sorted(STATE.glob("*.log")))
            raise TimeoutError(f"waited {seconds} s for {what}{logs}")
        time.sleep(0.2)


def _pretend_gpus() -> None:
    """Files like /dev/null. slurmd wants devices, and nothing ever opens them."""
    for number in range(GPUS):
        with contextlib.suppress(OSError):  # a container may forbid it: _gres_conf then only counts
            os.mknod(STATE / f"dev/nvidia{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))


def _start_munge() -> None:
    """Unless one runs already: jobs are signed with it."""
    if answer("munge", "-n"):
        return
    key = Path("/etc/munge/munge.key")
    if not key.exists() or not key.stat().st_size:
        key.write_bytes(secrets.token_bytes(128))
    Path("/run/munge").mkdir(exist_ok=True)
    for path in (key, key.parent, *map(Path, ("/run/munge", "/var/lib/munge", "/var/log/munge"))):
        shutil.chown(path, "munge", "munge")
    key.chmod(0o400)
    Path("/run/munge").chmod(0o755)
    _spawn("munged", ["munged", "--force"], user="munge", group="munge", extra_groups=[]).wait(timeout=60)
    until(lambda: bool(answer("munge", "-n")), "munge to answer")
    shutil.copy("/run/munge/munged.pid", _pid_file("munged"))


def _start_database() -> None:
    folder = STATE / "database"
    folder.mkdir()
    shutil.chown(folder, "mysql", "mysql")
    STATE.chmod(0o755)
    prepare = ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={folder}", "--skip-test-db"]
    _spawn("mariadb-install-db", prepare).wait(timeout=120)
    (STATE / "first.sql").write_text(
        "CREATE DATABASE jobs;\nCREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'pretended';\n"
        "GRANT ALL ON jobs.* TO slurm@'127.0.0.1';\n"
    )
    server = _spawn("mariadbd", [
        "mariadbd", "--no-defaults", "--user=mysql", f"--datadir={folder}", f"--socket={folder}/socket",
        f"--pid-file={folder}/pid", "--bind-address=127.0.0.1", f"--port={PORTS['database']}", "--skip-name-resolve",
        f"--init-file={STATE}/first.sql", "--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900",
    ])  # fmt: skip
    _pid_file("mariadbd").write_text(str(server.pid))
    until(lambda: _listens(PORTS["database"]), "the database to listen")


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _start_accounting() -> None:
    """slurmdbd, with one account, `lab`, that root may charge."""
    path = ETC / "slurmdbd.conf"
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(
        SIGNED + f"DbdHost=localhost\nDbdAddr=127.0.0.1\nDbdPort={PORTS['accounting']}\nAuthType=auth/munge\n"
        f"SlurmUser=root\nLogFile={STATE}/slurmdbd.log\nPidFile={_pid_file('slurmdbd')}\n"
        "CommunicationParameters=NoInAddrAny\nStorageType=accounting_storage/mysql\nStorageHost=127.0.0.1\n"
        f"StoragePort={PORTS['database']}\nStorageUser=slurm\nStoragePass=pretended\nStorageLoc=jobs\n"
    )
    _daemon("slurmdbd", ["slurmdbd"])
    until(lambda: "Cluster" in answer("sacctmgr", "list", "cluster"), "slurmdbd to answer")
    for entry in ("cluster pretended", "account lab cluster=pretended", "user root account=lab cluster=pretended"):
        answer("sacctmgr", "-i", "add", *entry.split())


# --- what SLURM reads --------------------------------------------------------------------------------


def _slurm_conf(accounting: bool) -> str:
    host = socket.gethostname().partition(".")[0]
    storage = (
        "AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
        f"AccountingStoragePort={PORTS['accounting']}\nAccountingStoreFlags=job_comment\nAccountingStorageTRES=gres/gpu"
        if accounting
        else "AccountingStorageType=accounting_storage/none"
    )
    names = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory={MEMORY}"
        + (f" Gres=gpu:h200:{GPUS} Feature=pretended" if name == "gpu1" else "")
        for name, port in NODES.items()
    )
    return f"""ClusterName=pretended
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={PORTS["controller"]}
SlurmUser=root
AuthType=auth/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={STATE}/state
SlurmdSpoolDir={STATE}/spool/%n
SlurmctldPidFile={_pid_file("slurmctld")}
SlurmdPidFile={_pid_file("slurmd.%n")}
SlurmctldLogFile={STATE}/slurmctld.log
SlurmdLogFile={STATE}/slurmd.%n.log
# No cgroups in a container: processes are followed by their parents, and memory is looked at every two seconds.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# The nodes have what is written here, not what slurmd finds.
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=1,batch_sched_delay=0,bf_interval=5
ReturnToService=2
MpiDefault=none
KillWait=5
# Ended jobs stay in the queue's listing for an hour: tests read them there.
MinJobAge=3600
{storage}
{names}
PartitionName=cpu Nodes=cpu1 Default=YES MaxTime=2-00:00:00 State=UP
PartitionName=gpu Nodes=gpu1 MaxTime=2-00:00:00 State=UP
"""


def _gres_conf() -> str:
    files = sorted((STATE / "dev").iterdir())
    devices = f"File={STATE}/dev/nvidia[0-{GPUS - 1}]" if len(files) == GPUS else f"Count={GPUS}"
    return f"AutoDetect=off\nNodeName=gpu1 Name=gpu Type=h200 {devices}\n"


if __name__ == "__main__":
    reason = why_not()
    if reason:
        sys.exit(reason)
    {"start": start, "start-with-accounting": lambda: start(True), "stop": stop}[sys.argv[1]]()
