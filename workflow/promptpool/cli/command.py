"""The command's arguments. Nothing heavy is imported before a subcommand needs it, so that help comes at once."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from ..errors import PromptpoolError

DESCRIPTION = "Turn a decoder-only LLM into a text-embedding model, and measure what each step adds."
EPILOG = """\
From a file to a model:

  promptpool init texts.csv     looks at the file and writes study.yaml
  promptpool run                runs the study; Ctrl-C stops it, and the same command goes on
  promptpool report             opens results/<run>/report.html

Each command says which snakemake command it runs. What follows `--` is passed to snakemake.
"""
STUDY = "study.yaml"


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    whole = argparse.ArgumentParser(
        prog="promptpool", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    whole.add_argument("--version", action="store_true", help="print the version and end")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND")

    init = _command(commands, "init", "cli.init_study.init_study", "look at your files and write a study for them")
    init.add_argument("files", nargs="*", metavar="FILE", help="texts: .csv, .tsv, .jsonl or .parquet; also packed")
    init.add_argument("--model", help="directory or hub id of the base model; default: the small one that is shipped")
    init.add_argument("--text", metavar="COLUMN", help="the column of texts, if not the one that is found")
    init.add_argument("--label", metavar="COLUMN", help="the column of labels; `none`: use none")
    init.add_argument(
        "--gpu-memory", type=float, metavar="GB", help="of the GPU that will run it, if not this machine's"
    )
    init.add_argument("--yes", action="store_true", help="overwrite an existing study without asking")
    init.add_argument("--from-scratch", metavar="NAME", choices=("demo", "sample"),
                      help="no file: `demo` writes the demo's study, `sample` a sample file")  # fmt: skip
    init.add_argument("--study", default=STUDY, metavar="FILE", help="the study to write; default: %(default)s")

    for name, what in (("plan", "estimate jobs, time and disk, and list what is missing"), ("run", "run the study")):
        one = _command(commands, name, f"cli.run_study.{name}_study", what)
        _study(one)
        if name == "run":
            one.add_argument(
                "targets", nargs="*", metavar="TARGET", help="such as scores, report, or a file; default: all"
            )
            one.add_argument("--cores", default="all", help="CPU cores to use; default: all")
            one.add_argument("-n", "--dry-run", action="store_true", help="only list the jobs")
            one.add_argument("-v", "--verbose", action="store_true", help="all that snakemake prints")

    rest = (
        ("report", "open the report in a browser"),
        ("scores", "print the scores as tables"),
        ("verify", "check every file of the results, or of an exported model, against its digest"),
        ("rebuild", "make damaged files of the results again, and nothing else"),
        ("crate", "describe the results as an RO-Crate, for other tools (needs the extra `crate`)"),
        ("check", "say whether tuning helped; fails if it made the model worse, or if a file is damaged"),
    )
    for name, what in rest:
        function = "verify_results" if name == "verify" else name  # `verify` is the name of what checks a job's inputs
        one = _command(commands, name, f"cli.results.{function}", what)
        _study(one)
        if name == "scores":
            one.add_argument("--top", type=int, default=10, metavar="N", help="variants to list; default: %(default)s")
        elif name == "crate":
            one.add_argument("--licence", metavar="NAME", help="of the results, as an SPDX name or an address")
        elif name == "verify":
            one.add_argument("export", nargs="?", metavar="EXPORT",
                             help="an exported model's directory, to check it in place of the results")  # fmt: skip
            one.add_argument("--key", metavar="FILE", help="the public key (PEM) of who must have signed the export")
            one.add_argument("--identity", metavar="WHO", help="who must have signed it by a login, such as an address")
            one.add_argument(
                "--issuer", metavar="URL", help="where that login was, such as https://accounts.google.com"
            )
    _exports(commands)
    _command(commands, "doctor", "cli.doctor.doctor", "look at this machine: what works, and what to do about the rest")
    return whole


def _exports(commands: argparse._SubParsersAction) -> None:
    one = _command(commands, "sign", "cli.exports.sign", "sign an exported model (needs the extra `sign`)")
    one.add_argument("export", metavar="EXPORT", help="the exported model's directory")
    one.add_argument("--key", metavar="FILE", help="your private key (PEM); without it a login signs (Sigstore)")
    one = _command(commands, "push", "cli.exports.push", "share an exported model on the model hub, private at first")
    one.add_argument("export", metavar="EXPORT", help="the exported model's directory")
    one.add_argument("repository", metavar="OWNER/NAME", help="the repository; it is made if it is not there")
    one.add_argument("-n", "--dry-run", action="store_true", help="only print files, metadata and licences")
    one.add_argument("--public", action="store_true", help="make a new repository that anyone can see")
    one.add_argument("--update", action="store_true", help="replace all that the repository holds")
    one.add_argument("--despite-licence", action="store_true", help="you may share it, whatever the licences say here")

    one = _command(commands, "serve-check", "cli.exports.serve_check", "compare a server's vectors with an export's")
    one.add_argument("export", metavar="EXPORT", help="the exported model's directory")
    one.add_argument(
        "--url", help="of a running server with /v1/embeddings; default: start those that this machine has"
    )
    one.add_argument("--model", metavar="NAME", help="the server's name for the model; default: the first it lists")
    one.add_argument("--key-variable", metavar="NAME", help="the environment variable that holds the server's key")
    one.add_argument("--gguf", metavar="FILE", help="the export, converted for llama.cpp; made if not there")
    one.add_argument(
        "--least", type=float, default=0.9999, metavar="COSINE", help="what each text needs; default: %(default)s"
    )


def _command(commands: argparse._SubParsersAction, name: str, function: str, what: str) -> argparse.ArgumentParser:
    one = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    one.set_defaults(function=function)
    return one


def _study(one: argparse.ArgumentParser) -> None:
    one.add_argument("--study", default=STUDY, metavar="FILE", help="the study's file; default: %(default)s")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code. A mistake of the user's is one line on stderr, and code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    place = words.index("--") if "--" in words else len(words)
    whole = parser()
    given = whole.parse_args(words[:place])
    if given.version:
        print(f"promptpool {import_module(__package__.partition('.')[0]).__version__}")
        return 0
    if not given.command:
        whole.print_help()
        return 0
    given.passed = words[place + 1 :]
    module, _, function = given.function.rpartition(".")
    try:
        code = getattr(import_module(f"..{module}", __package__), function)(given)
        sys.stdout.flush()
        return code
    except PromptpoolError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `promptpool scores | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
