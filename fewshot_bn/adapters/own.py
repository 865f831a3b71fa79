"""Adapters by the text that names them: a mode, or a class or object of a Python file of the user's own."""

from typing import Any

from fewshot_bn.adapters import make_adapter
from fewshot_bn.files.own_code import code_of, is_own, load_object


def adapter_of(text: str) -> tuple[str, Any]:
    """A name for the table and the result, and the adapter; one of the user's own is not checked yet (checks.py).

    Raises `UsageError` for an unknown mode, or a file or name that is not there.
    """
    if not is_own(text):
        return text, make_adapter(text)
    found: Any = load_object(text)
    name = text.rpartition(":")[2]
    return name, found() if isinstance(found, type) else found


def is_users(adapter: object) -> bool:
    """Whether its class is none of this package's."""
    return not type(adapter).__module__.startswith("fewshot_bn.")


def origin_of(adapter: object) -> dict[str, str]:
    """What tells the results of a user's own adapter from those of another version of its code; else nothing."""
    return {"code": code_of(type(adapter))} if is_users(adapter) else {}
