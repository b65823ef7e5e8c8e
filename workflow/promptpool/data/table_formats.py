"""The cells of a csv, tsv, jsonl or parquet file, each as its exact text. No type is guessed.

Every reader returns (column names, {name: cells}). A cell is a str, or None if the format has no value there. Errors
are ValueErrors that name the line.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Columns = dict[str, list[str | None]]
BARE_RETURN = re.compile(r"\r(?!\n)")
EXACT_FLOAT = 2**53  # from here on, neighbouring whole numbers are the same float
NARROW = {pa.float16(): np.float16, pa.float32(): np.float32}
PACKED = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}


def kind_of(path: Path) -> str:
    """The suffix that decides how a file is read, in lower case: ".csv" for `Mine.CSV` and for `mine.csv.gz`."""
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    return endings[-2] if len(endings) == 2 and endings[-1] in PACKED else "".join(endings[-1:])


def read_csv(path: Path, wanted: Sequence[str], delimiter: str = ",") -> tuple[list[str], Columns]:
    """Comma-separated, fields quoted as in RFC 4180. An empty cell is "", and blank lines are not rows."""
    return _from_rows(_records(_decoded(path), delimiter), wanted)


def read_tsv(path: Path, wanted: Sequence[str]) -> tuple[list[str], Columns]:
    """Tab-separated. A quote is an ordinary character, unless the whole file was written with quoting.

    It was if only quoting gives rows of equal length. If both readings do, it was if all names in the first line are
    quoted, or if a quoted field contains a doubled quote.
    """
    text = _decoded(path)
    lines = enumerate(text.replace("\r\n", "\n").split("\n"), 1)
    plain = [(number, line.split("\t")) for number, line in lines if line]
    if '"' in text:
        try:
            quoted = list(_records(text, "\t"))
        except ValueError:
            quoted = []
        if quoted and _is_quoted([row for _, row in plain], [row for _, row in quoted]):
            return _from_rows(quoted, wanted)
    return _from_rows(plain, wanted)


def read_jsonl(path: Path, wanted: Sequence[str]) -> tuple[list[str], Columns]:
    """One JSON object per line. Numbers keep their digits; null and an absent key are no value."""
    lines = enumerate(_decoded(path).split("\n"), 1)
    return _from_objects(((f"line {number}", _parsed(line, number)) for number, line in lines if line.strip()), wanted)


def read_json(path: Path, wanted: Sequence[str], field: str | None = None) -> tuple[list[str], Columns]:
    """A JSON list of objects, which is under the key `field` if that is given; or one JSON object per line."""
    text = _decoded(path)
    if field is None and not text.lstrip().startswith("["):
        return read_jsonl(path, wanted)
    rows = _parsed(text)
    rows = rows.get(field) if field is not None and isinstance(rows, dict) else rows
    if not isinstance(rows, list):
        raise ValueError(f"{_kind(rows)}, but a list of objects with named values is expected")
    return _from_objects(((f"row {number}", row) for number, row in enumerate(rows, 1)), wanted)


def read_parquet(path: Path, wanted: Sequence[str]) -> tuple[list[str], Columns]:
    """Text, whole numbers, decimals, dates and floats as their exact text; lists and structures only by a path."""
    names = pq.read_schema(path).names
    _require_once(names)
    tops = [name for name in names if any(want == name or want.startswith(f"{name}.") for want in wanted)]
    return names, arrow_columns(pq.read_table(path, columns=tops), wanted, names)


def arrow_columns(table: pa.Table, wanted: Sequence[str], names: list[str]) -> Columns:
    """The wanted columns of an Arrow table. Names of columns inside a structure are appended to `names`."""
    columns: Columns = {}
    for name in wanted:
        top = name if name in table.column_names else name.partition(".")[0]
        if top in table.column_names:
            path = name if top == name else name[len(top) + 1 :]
            narrow = NARROW.get(table[top].type)
            exact = 2 ** (np.finfo(narrow).nmant + 1) if narrow else EXACT_FLOAT
            cells = (value if top == name else _follow(value, path) for value in table[top].to_pylist())
            columns[name] = [_cell(value, name, f"row {row}", exact, narrow) for row, value in enumerate(cells, 1)]
    _with_paths(names, columns)
    return columns


READERS: dict[str, Callable[[Path, Sequence[str]], tuple[list[str], Columns]]] = {
    ".parquet": read_parquet,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
}


def _decoded(path: Path) -> str:
    """The file, unpacked, as UTF-8, without a byte order mark."""
    data = PACKED.get(path.suffix.lower(), bytes)(path.read_bytes())
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8 (byte {data[error.start]:#04x}); save the file as UTF-8") from None


def _records(text: str, delimiter: str) -> Iterable[tuple[int, list[str]]]:
    """(line, fields) of each row that is not blank. Raises ValueError for broken quoting.

    A lone carriage return ends a row only in a file without newlines, because some writers leave it bare in a field.
    """
    csv.field_size_limit(sys.maxsize)
    stand_in = None
    if "\n" in text and BARE_RETURN.search(text):
        stand_in = next(char for char in map(chr, range(0xE000, 0xF8FF)) if char not in text)
        text = BARE_RETURN.sub(stand_in, text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    try:
        for row in reader:
            if row:
                yield start, [field.replace(stand_in, "\r") for field in row] if stand_in else row
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {start}: {error}; quote a field that contains quotes, and double those") from None


def _is_quoted(plain: list[list[str]], quoted: list[list[str]]) -> bool:
    """Whether a tab-separated file was written with quoting; see read_tsv."""
    plain_fits, quoted_fits = (len(set(map(len, rows))) == 1 for rows in (plain, quoted))
    if not quoted_fits:
        return False
    if not plain_fits or all(len(name) > 1 and name[0] == name[-1] == '"' for name in plain[0]):
        return True
    if len(plain) != len(quoted):  # quoting would join lines that are complete rows
        return False
    return any(field.startswith('"') and '""' in field[1:-1] for row in plain for field in row)


def _from_rows(rows: Iterable[tuple[int, list[str]]], wanted: Sequence[str]) -> tuple[list[str], Columns]:
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        raise ValueError("the file is empty; the first line must hold the columns' names")
    names = first[1]
    _require_once([name for name in names if name])
    places = {name: names.index(name) for name in wanted if name in names}
    columns: Columns = {name: [] for name in places}
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(
                f"line {line}: {len(row)} fields, but the first line names {len(names)} columns; quote a text that "
                f"contains the separator ({row[0][:40]!r}...)"
            )
        for name, place in places.items():
            columns[name].append(row[place])
    return names, columns


def _parsed(text: str, first: int = 1) -> object:
    """JSON whose numbers keep their exact text. first: the number of the text's first line."""
    try:
        return json.loads(text, **AS_TEXT)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {first + error.lineno - 1}: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {first}: {error}") from None


def _from_objects(rows: Iterable[tuple[str, object]], wanted: Sequence[str]) -> tuple[list[str], Columns]:
    """(names, columns) of rows that are objects. Each row comes with the place that an error names."""
    names: dict[str, None] = {}
    columns: Columns = {name: [] for name in wanted}
    for where, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{where}: {_kind(row)}, but an object with named values is expected")
        names |= dict.fromkeys(row)
        for name in wanted:
            columns[name].append(_cell(_follow(row, name), name, where))
    return _with_paths(list(names), columns), columns


def _no_json(word: str) -> str:
    raise ValueError(f'{word} is not valid JSON; write null if there is no value, or "{word}" for the word')


def _without_repeats(pairs: list[tuple[str, object]]) -> dict:
    row = dict(pairs)
    if len(row) < len(pairs):
        _require_once([name for name, _ in pairs])
    return row


AS_TEXT = {"parse_int": str, "parse_float": str, "parse_constant": _no_json, "object_pairs_hook": _without_repeats}


def _require_once(names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"two columns are called {twice[0]!r}; rename one")


def _with_paths(names: list[str], columns: Columns) -> list[str]:
    """Adds to `names` the paths that lead to a value in some row."""
    names += [name for name in columns if name not in names and any(cell is not None for cell in columns[name])]
    return names


def _follow(value: object, path: str) -> object:
    """The value at a path such as `messages.0.content`. A key that itself contains dots comes first. None: no value."""
    if isinstance(value, dict) and path in value:
        return value[path]
    head, _, rest = path.partition(".")
    if isinstance(value, dict) and head in value:
        inner = value[head]
    elif isinstance(value, list) and head.isdigit() and int(head) < len(value):
        inner = value[int(head)]
    else:
        return None
    return _follow(inner, rest) if rest else inner


def _cell(
    value: object, name: str, where: str, exact: float = EXACT_FLOAT, narrow: Callable | None = None
) -> str | None:
    """A value as its exact text. Raises ValueError for one that is not a single value.

    narrow: numpy's type of a float of 16 or 32 bits, whose text is its shortest (1.1 for 1.1); exact: the number from
    which on neighbouring whole numbers can't be distinguished.
    """
    if value is None or value != value:  # NaN is no value
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if narrow and isinstance(value, float | np.floating):
        value = float(str(narrow(value)))
    if isinstance(value, float) and abs(value) >= exact:
        raise ValueError(f"{where}: {name!r} is the float {value!r}, too large to be exact; save it as text or integer")
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{where}: {name!r} has half a character (a lone surrogate); repair it") from None
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"  # 0.0000001, not 1E-7
    if isinstance(value, int | float | date | datetime | time):
        return str(value)
    hint = ", or name a value inside it, such as messages.0.content" if isinstance(value, list | dict) else ""
    raise ValueError(f"{where}: {name!r} is {_kind(value)}, but a text is expected; save it as text{hint}")


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text or number", bytes: "bytes", bool: "true or false"}
    return names.get(type(value), f"a {type(value).__name__}")
