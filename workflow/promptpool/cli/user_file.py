"""Reads a user's file whole, every column as text; refuses one that no study can be made from, with what to do."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..data.table_formats import PACKED, READERS, kind_of
from ..errors import PromptpoolError

LARGEST = 1_000_000_000  # bytes: a file is read as a whole, into about four times its size of memory
_FEWEST = 100  # texts; with fewer neither training nor an interval says anything
_HEAD = 65_536  # bytes that show what kind of file it is
UTF16 = (b"\xff\xfe", b"\xfe\xff")
SEPARATORS = ";\t|"


@dataclass(frozen=True)
class UserFile:
    """A file's columns as str, None where there is no value. path: as given."""

    path: str
    table: pd.DataFrame


def read_user_file(path: str) -> UserFile:
    """The file. Raises PromptpoolError, one line, if it is missing, empty, too large, binary, of an unknown type or
    encoding, or has too few rows.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        raise PromptpoolError(f"{path}: is a directory; name the file of texts in it")
    if not place.is_file():
        raise PromptpoolError(f"{path}: no such file; fix the path")
    kind = kind_of(place)
    if kind not in READERS:
        raise PromptpoolError(f"{path}: unknown file type; use one of {', '.join(READERS)}, one text per row")
    require_plausible(path, place, kind)
    try:
        names, _ = READERS[kind](place, [])
        _, cells = READERS[kind](place, [name for name in names if name])
    except Exception as error:  # pyarrow raises exceptions of many types for a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise PromptpoolError(f"{path}: cannot be read as {kind[1:]}: {reason}") from None
    other = next((mark for mark in SEPARATORS if len(names) == 1 and mark in names[0]), None)
    if other and kind == ".csv":
        raise PromptpoolError(
            f"{path}: has one column, {names[0]!r}; save it with commas, not {other!r}, between columns"
        )
    table = pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in cells.items()})
    if len(table) < _FEWEST:
        raise PromptpoolError(
            f"{path}: has {len(table)} rows; a study needs at least {_FEWEST} texts, better a thousand"
        )
    return UserFile(path, table)


def require_plausible(path: str, place: Path, kind: str) -> None:
    """Raises PromptpoolError for what the size and the first bytes already show."""
    size = place.stat().st_size
    if not size:
        raise PromptpoolError(f"{path}: the file is empty; fill it or name another")
    if size > LARGEST:
        advice = "take a sample of its rows, a few hundred thousand are plenty"
        raise PromptpoolError(f"{path}: has {size / 1e9:.1f} GB, and is read as a whole; {advice}")
    with place.open("rb") as handle:
        head = handle.read(_HEAD)
    if kind == ".parquet":
        if not head.startswith(b"PAR1"):
            raise PromptpoolError(f"{path}: is no parquet file, whatever its name says; write it again, or rename it")
    elif place.suffix.lower() not in PACKED:
        if head.startswith(UTF16):
            raise PromptpoolError(f"{path}: is UTF-16; save the file as UTF-8")
        if b"\0" in head:
            raise PromptpoolError(f"{path}: is a binary file, not {kind[1:]}; export its texts as csv, and name that")
