"""The jobs of a finished study as their scripts see them, without starting Snakemake for each."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

REPOSITORY = Path(__file__).resolve().parents[2]


def recorded(folder: Path) -> list[SimpleNamespace]:
    """Every job with a script: rule, script, input, output, params, wildcards, threads, resources, log, config."""
    out = folder / "jobs.pickle"
    if not out.exists():
        command = [sys.executable, __file__, str(folder), str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
    return pickle.loads(out.read_bytes())  # written by this very file


def main(folder: str, out: str) -> None:
    from snakemake.cli import main as cli
    from snakemake.dag import DAG

    made, kept = [], DAG.__init__

    def keep(self, *args, **kwargs):
        made.append(self)
        kept(self, *args, **kwargs)

    DAG.__init__ = keep
    os.chdir(folder)
    try:
        cli(["--snakefile", str(REPOSITORY / "Snakefile"), "--directory", folder, "--configfile",
             f"{folder}/study.yaml", "--cores", "2", "-n", "--forceall", "--nolock", "--quiet", "all"])  # fmt: skip
    except SystemExit as end:
        if end.code:
            raise
    dag = made[-1]
    jobs = [
        SimpleNamespace(
            rule=job.rule.name,
            script=str(job.rule.script),
            input=job.input._plainstrings(),
            output=job.output._plainstrings(),
            log=job.log._plainstrings(),
            params=job.params,
            wildcards=job.wildcards,
            threads=1,
            resources={name: value for name, value in job.resources.items() if isinstance(value, int | str)},
            config=dag.workflow.config,
        )
        for job in dag.jobs
        if job.rule.script is not None
    ]
    jobs.sort(key=lambda job: (job.rule, job.output[0]))
    Path(out).write_bytes(pickle.dumps(jobs))


if __name__ == "__main__":
    main(*sys.argv[1:])
