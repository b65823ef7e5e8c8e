"""The config's schema: fills its defaults and words its first fault as one line."""

import difflib
import functools
import math
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from importlib.resources import files
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from ..errors import choices

EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
SCHEMA = files(__package__) / "config.schema.yaml"
WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "keys of its own",
    "null": "null",
}
MENDS = {
    "integer": "write digits only",
    "number": "write a plain number such as 0.5",
    "string": "put it in quotes",
    "boolean": "write true or false",
    "array": "put it in square brackets",
    "object": "indent its keys under it",
}


@functools.cache
def schema() -> Mapping:
    """The JSON Schema of a study, read once."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C it takes a tenth of the time; some builds lack it
    return yaml.load(SCHEMA.read_text(encoding="utf-8"), loader)


def fill_defaults(config: dict) -> str | None:
    """Fills every default of the schema into `config`, in place.

    Returns the first fault as `dotted.key: what is wrong; what to do`, or None. A misspelt key is reported before all
    others, because it is often the cause of a missing one.
    """
    faults = list(_filling_validator()(schema()).iter_errors(config))
    faults.sort(key=lambda fault: fault.validator != "additionalProperties")
    return _told(faults[0]) if faults else None


@functools.cache
def _filling_validator() -> type:
    def properties(validator, subschemas, instance, parent) -> Iterator[ValidationError]:
        if validator.is_type(instance, "object"):
            for key, subschema in subschemas.items():
                if "default" in subschema:
                    instance.setdefault(key, deepcopy(subschema["default"]))
                if key in instance:
                    instance[key] = _read(instance[key], subschema)
        yield from Draft202012Validator.VALIDATORS["properties"](validator, subschemas, instance, parent)

    def number(_, value) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

    def integer(_, value) -> bool:  # 80.0 would appear in a path as "80.0"
        return isinstance(value, int) and not isinstance(value, bool)

    types = Draft202012Validator.TYPE_CHECKER.redefine_many({"number": number, "integer": integer})
    keywords = {"properties": properties, "items": _items, "additionalProperties": _others}
    return extend(Draft202012Validator, keywords, type_checker=types)


def _items(validator, subschema, instance, parent) -> Iterator[ValidationError]:
    if validator.is_type(instance, "array"):
        instance[:] = [_read(item, subschema) for item in instance]
    yield from Draft202012Validator.VALIDATORS["items"](validator, subschema, instance, parent)


def _others(validator, subschema, instance, parent) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        for key in instance.keys() - parent.get("properties", {}).keys():
            instance[key] = _read(instance[key], subschema)
    yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, subschema, instance, parent)


def _types(subschema: Mapping | bool) -> list[str]:
    """The types that a part of the schema allows, references resolved."""
    if not isinstance(subschema, Mapping):
        return []
    if "$ref" in subschema and "type" not in subschema:
        return _types(schema()["$defs"][subschema["$ref"].rpartition("/")[2]])
    allowed = subschema.get("type", [])
    return [allowed] if isinstance(allowed, str) else allowed


def _read(value: Any, subschema: Mapping | bool) -> Any:
    """Reads 5e-5 as a number where no text is allowed. YAML 1.2 does too; a YAML 1.1 reader needs a point in it."""
    if not isinstance(value, str) or not EXPONENT.fullmatch(value):
        return value
    types = _types(subschema)
    return float(value) if "number" in types and "string" not in types else value


def _told(fault: ValidationError) -> str:
    path = [step for step in fault.absolute_path if isinstance(step, str)]
    if fault.validator == "additionalProperties":
        known = list(fault.schema["properties"])
        extra = next(key for key in fault.instance if key not in known)
        close = difflib.get_close_matches(extra, known, n=1)
        title = fault.schema.get("title", path[-1] if path else "this section")
        remedy = f"did you mean {close[0]!r}?" if close else f"{title} has {', '.join(known)}"
        return f"{'.'.join([*path, extra])}: unknown key; {remedy}"
    if fault.validator == "required":
        missing = next(key for key in fault.validator_value if key not in fault.instance)
        about = str(fault.schema.get("properties", {}).get(missing, {}).get("description", "it has no default"))
        return f"{'.'.join([*path, missing])}: missing; add it: {about}"
    if fault.validator in ("pattern", "maxLength") and fault.schema.get("title") == "name":
        if "propertyNames" in fault.absolute_schema_path:
            path.append(repr(fault.instance))
        remedy = "use letters, digits, '.', '_' and '-', at most 100, a letter or digit first and no '..'"
        return f"{'.'.join(path)}: {fault.instance!r} cannot be part of a file path; {remedy}"
    return f"{'.'.join(path)}: {_wrong(fault, path[-1] if path else 'config')}"


def _wrong(fault: ValidationError, key: str) -> str:
    """What is wrong with a value, and what to do."""
    value, limit = fault.instance, fault.validator_value
    match fault.validator:
        case "enum" | "const":
            known = limit if fault.validator == "enum" else [limit]
            return f"unknown {fault.schema.get('title', key)} {value!r}; {choices(value, known)}"
        case "type":
            return _wrong_type(value, [limit] if isinstance(limit, str) else limit)
        case "minimum":
            return f"{value!r} is too small; give at least {limit}"
        case "exclusiveMinimum":
            return f"{value!r} is too small; give more than {limit}"
        case "maximum":
            return f"{value!r} is too large; give at most {limit}"
        case "exclusiveMaximum":
            return f"{value!r} is too large; give less than {limit}"
        case "minItems" | "minLength" | "minProperties":
            return f"{value!r} is {'too short' if value else 'empty'}; give at least {limit}"
        case "uniqueItems":
            twice = next(item for i, item in enumerate(value) if item in value[:i])
            return f"{twice!r} is listed twice; name it once"
    return f"{fault.message}; see {SCHEMA.name}"


def _wrong_type(value: Any, allowed: list[str]) -> str:
    expected = " or ".join(WORDS[name] for name in allowed)
    remedy = MENDS[allowed[0]]
    if isinstance(value, str) and allowed[0] in ("number", "integer"):
        try:  # YAML reads 5e-5 as text: it needs a point in a number with an exponent
            number = float(value)
            int(number)  # fails for infinity and NaN
        except (ValueError, OverflowError):
            pass
        else:
            plain = int(number) if allowed[0] == "integer" and number.is_integer() else number
            remedy = f"YAML reads this as text, write {plain}"
    elif isinstance(value, float) and value.is_integer() and allowed[0] == "integer":
        remedy = f"write {int(value)}"
    return f"expected {expected}, not {value!r}; {remedy}"
