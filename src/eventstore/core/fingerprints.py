"""Fingerprints of code: did a fold change since it was last used?"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from hashlib import blake2b


def fingerprint(shape: str, *functions: Callable[..., object]) -> str:
    """Summarise a data shape and the code of its handlers.

    Comments, docstrings, layout and the Python version do not matter; names and statements do. Code that the
    handlers call is not seen: raise the version by hand when it changes the outcome.

    Args:
        shape: A text that differs when the data's shape differs.
        functions: The handlers, in a stable order.

    Returns:
        32 hex digits.
    """
    digest = blake2b(shape.encode(), digest_size=16)
    for function in functions:
        digest.update(_normalised(function).encode())
    return digest.hexdigest()


def _normalised(function: Callable[..., object]) -> str:
    try:
        source = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError):  # no source: byte code alone, a lambda inside an expression
        return function.__qualname__
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
