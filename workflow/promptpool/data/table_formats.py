"""The cells of a csv, tsv, jsonl or parquet file, each as the text that stands there: no type is guessed.

Every reader gives (names of the columns, {name: cells}), a cell being str, or None where the format has no value.
Errors are ValueErrors that name the line.
"""

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Columns = dict[str, list[str | None]]
BARE_RETURN = re.compile(r"\r(?!\n)")
EXACT_FLOAT = 2**53  # from here on a float no longer tells neighbouring integers apart


def read_csv(path: Path, wanted: Sequence[str]) -> tuple[list[str], Columns]:
    """Comma-separated, fields quoted as in RFC 4180. An empty cell is "", and blank lines are no rows."""
    return _from_rows(_records(_decoded(path), ","), wanted)


def read_tsv(path: Path, wanted: Sequence[str]) -> tuple[list[str], Columns]:
    """Tab-separated. A quote is an ordinary character, unless the file as a whole was written with quoting.

    That is so where lines alone do not give equal rows and quoting does; and, where both do, where all names of the
    first line are quoted or a quoted field holds a doubled quote.
    """
    text = _decoded(path)
    plain = [line.split("\t") for line in text.replace("\r\n", "\n").split("\n")]
    plain = [row for row in plain if row != [""]]
    try:
        quoted = [row for _, row in _records(text, "\t")]
    except ValueError:
        quoted = None
    if quoted is not None and _is_quoted(plain, quoted):
        return _from_rows(_records(text, "\t"), wanted)
    lines = enumerate(text.replace("\r\n", "\n").split("\n"), 1)
    return _from_rows(((number, line.split("\t")) for number, line in lines if line), wanted)


def read_jsonl(path: Path, wanted: Sequence[str]) -> tuple[list[str], Columns]:
    """A JSON object a line. Numbers keep their digits, null and an absent key are no value."""
    names: dict[str, None] = {}
    columns: Columns = {name: [] for name in wanted}
    for number, line in enumerate(_decoded(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(
                line, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_without_repeats
            )
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}: {error.msg} (column {error.colno})") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number}: {_kind(row)}, where an object with named values is wanted")
        names |= dict.fromkeys(row)
        for name in wanted:
            columns[name].append(_cell(_follow(row, name), name, f"line {number}"))
    return _with_paths(list(names), columns), columns


def read_parquet(path: Path, wanted: Sequence[str]) -> tuple[list[str], Columns]:
    """Text, whole numbers, decimals, dates and floats as their exact text; lists and structures by a path alone."""
    names = pq.read_schema(path).names
    _require_once(names)
    tops = [name for name in names if any(want == name or want.startswith(f"{name}.") for want in wanted)]
    return names, arrow_columns(pq.read_table(path, columns=tops), wanted, names)


def arrow_columns(table: pa.Table, wanted: Sequence[str], names: list[str]) -> Columns:
    """The wanted columns of an Arrow table; those that lie inside a structure are appended to `names`."""
    columns: Columns = {}
    for name in wanted:
        top = name if name in table.column_names else name.partition(".")[0]
        if top in table.column_names:
            path = name if top == name else name[len(top) + 1 :]
            cells = (value if top == name else _follow(value, path) for value in table[top].to_pylist())
            columns[name] = [_cell(value, name, f"row {row}") for row, value in enumerate(cells, 1)]
    _with_paths(names, columns)
    return columns


READERS: dict[str, Callable[[Path, Sequence[str]], tuple[list[str], Columns]]] = {
    ".parquet": read_parquet,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
}


def _decoded(path: Path) -> str:
    """The file as UTF-8, a byte order mark aside."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8 (byte {data[error.start]:#04x}); save the file as UTF-8") from None


def _records(text: str, delimiter: str) -> Iterable[tuple[int, list[str]]]:
    """(line, fields) of each row that is not blank. ValueError where the quoting is broken.

    A carriage return alone ends a row only in a file that has no newline: some writers leave it bare within a field.
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
        raise ValueError(f"line {start}: {error}; put a field with quotes into quotes, and double those") from None


def _is_quoted(plain: list[list[str]], quoted: list[list[str]]) -> bool:
    """Whether a tab-separated file was written with quoting; see read_tsv."""
    plain_fits, quoted_fits = (len(set(map(len, rows))) == 1 for rows in (plain, quoted))
    if not quoted_fits:
        return False
    if not plain_fits or all(len(name) > 1 and name[0] == name[-1] == '"' for name in plain[0]):
        return True
    if len(plain) != len(quoted):  # quoting would join lines that are whole rows
        return False
    return any(field.startswith('"') and '""' in field[1:-1] for row in plain for field in row)


def _from_rows(rows: Iterable[tuple[int, list[str]]], wanted: Sequence[str]) -> tuple[list[str], Columns]:
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        raise ValueError("the file is empty; a first line with the columns' names is wanted")
    names = first[1]
    _require_once([name for name in names if name])
    places = {name: names.index(name) for name in wanted if name in names}
    columns: Columns = {name: [] for name in places}
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(
                f"line {line}: {len(row)} fields, and the first line names {len(names)} columns; put a text with the "
                f"separator in it into quotes ({row[0][:40]!r}...)"
            )
        for name, place in places.items():
            columns[name].append(row[place])
    return names, columns


def _without_repeats(pairs: list[tuple[str, object]]) -> dict:
    _require_once([name for name, _ in pairs])
    return dict(pairs)


def _require_once(names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"two columns are called {twice[0]!r}; rename one")


def _with_paths(names: list[str], columns: Columns) -> list[str]:
    """Adds to `names` the paths that led to a value somewhere."""
    names += [name for name in columns if name not in names and any(cell is not None for cell in columns[name])]
    return names


def _follow(value: object, path: str) -> object:
    """What stands at a path such as `messages.0.content`; a key that has dots itself comes first. None: nothing."""
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


def _cell(value: object, name: str, where: str) -> str | None:
    """A value as the text that stands for it. ValueError for one that is no single value."""
    if value is None or value != value:  # a float that is not a number is no value
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and abs(value) >= EXACT_FLOAT:
        raise ValueError(f"{where}: {name!r} is the float {value!r}, too large to be exact; save it as text or integer")
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{where}: {name!r} holds half of a character (a lone surrogate); repair it") from None
        return value
    if isinstance(value, int | float | Decimal | date | datetime | time):
        return str(value)
    hint = ", or name a value inside it, such as messages.0.content" if isinstance(value, list | dict) else ""
    raise ValueError(f"{where}: {name!r} is {_kind(value)}, and a text is wanted; save it as text{hint}")


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text or number", bytes: "bytes", bool: "true or false"}
    return names.get(type(value), f"a {type(value).__name__}")
