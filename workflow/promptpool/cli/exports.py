"""The commands on an exported model: verify, sign, push, serve-check."""

import argparse
from pathlib import Path

from ..errors import PromptpoolError
from ..export.contents import CONTENTS, SIGNATURE, faults_of_export, read_contents


def verify_export(given: argparse.Namespace) -> int:
    """`promptpool verify EXPORT`: 0 if every file is as contents.json lists it, and signed if a signer is named."""
    if bool(given.identity) != bool(given.issuer) or (given.key and given.identity):
        raise PromptpoolError("verify: give --key, or --identity together with --issuer")
    folder = Path(given.export)
    faults = faults_of_export(folder)
    files = read_contents(folder)["files"]
    print("\n".join([*faults, f"{folder}: {len(files)} files listed, {len(faults)} faults"]))
    if faults:
        return 1
    if given.key or given.identity:
        from ..export.signature import require_signature

        print(f"Signed by {require_signature(folder, given.key, given.identity, given.issuer)}")
    elif (folder / SIGNATURE).is_file():
        print(f"{SIGNATURE} was not checked; name the signer with --key, or --identity and --issuer")
    else:
        print(f"Unsigned: the files are those of {CONTENTS}; who wrote that is not known")
    return 0


def sign(given: argparse.Namespace) -> int:
    """`promptpool sign EXPORT`: writes a signature of a whole export into it."""
    from ..export.signature import sign_export

    folder = Path(given.export)
    faults = faults_of_export(folder)
    if faults:
        raise PromptpoolError(faults[0])
    print(f"Wrote {sign_export(folder, given.key)}")
    return 0


def push(given: argparse.Namespace) -> int:
    """`promptpool push EXPORT OWNER/NAME`: prints what is sent, then sends it."""
    from ..export.push_plan import push_plan, require_licences

    plan = push_plan(Path(given.export), given.repository)
    print(plan)
    print("Anyone can see it" if given.public else "Only you and your organisation can see it; --public changes that")
    if not given.despite_licence:
        require_licences(plan)
    if given.dry_run:
        print("Dry run: nothing was sent")
        return 0
    from ..export.push_export import push_export

    print(push_export(plan, private=not given.public, update=given.update))
    return 0


def serve_check(given: argparse.Namespace) -> int:
    """`promptpool serve-check EXPORT`: 0 if each server gives the export's vectors, 1 if one does not."""
    from ..export.check_serving import report_of
    from ..export.running_engine import running
    from ..export.served_parity import Reference
    from ..export.serving_engines import engines
    from ..export.serving_notes import write_serving_notes

    folder = Path(given.export)
    reference = Reference(folder)
    how = {"model": given.model, "key_variable": given.key_variable, "least": given.least}
    reports, faults = [], 0
    if given.url:
        reports.append(report_of(reference, given.url, **how))
        print(reports[-1])
    else:
        found, without = engines(folder, reference.variant["pooling"], given.gguf)
        print("\n".join(without))
        if not found:
            raise PromptpoolError("serve-check: no server was found here; start one, and give its address with --url")
        for engine in found:
            print(f"{engine.name}: starting", flush=True)
            try:
                with running(engine) as url:
                    reports.append(report_of(reference, url, engine=engine, **how))
            except PromptpoolError as fault:  # the others may still serve it
                faults += 1
                print(f"{engine.name}: FAILED\n  {fault}", flush=True)
            else:
                print(reports[-1], flush=True)
    passed = [report for report in reports if report.passed]
    if passed:
        notes = folder.resolve().with_name(f"{folder.resolve().name}.serving.md")
        print(f"Wrote {write_serving_notes(notes, folder, len(reference.texts()), passed)}")
    return 0 if len(passed) == len(reports) and not faults else 1
