"""The report's section on servers: whether each gives an export's own vectors, and what must be sent to it."""

import json
from collections.abc import Mapping
from pathlib import Path


def serving_section(files: Mapping[str, str | Path]) -> dict:
    """What the section shows. files: export -> its file of check_serving.

    Returns texts (how many were compared) and rows: export, server (with its version), passed, sent (in words), cosine
    (the lowest; None if there were no vectors), rate (texts a second; None if it failed), note (why it failed, or what
    to know), and machine.
    """
    rows, texts = [], 0
    for export, path in files.items():
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        texts = max(texts, content["texts"])
        rows += [{"export": export, **_row(server)} for server in content["servers"]]
    return {"texts": texts, "rows": rows}


def _row(server: Mapping) -> dict:
    name = " ".join(filter(None, (server["name"], server.get("version"))))
    if "fault" in server:
        blank = dict.fromkeys(("sent", "cosine", "rate", "machine"))
        return {"server": name, "passed": False, "note": server["fault"], **blank}
    way = server["ways"][-1]
    differs = server["ways"][0]["first_that_differs"]
    notes = [server["wrong"], f"plain texts differ first at {differs['text'][:60]!r}" if differs else ""]
    return {
        "server": name,
        "passed": server["passed"],
        "sent": way["in_words"],
        "cosine": way["lowest_cosine"],
        "rate": way["texts_per_second"],
        "note": "; ".join(filter(None, notes)),
        "machine": server["machine"],
    }
