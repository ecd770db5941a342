"""Examples at the end of a command's help, as man pages have them."""

from __future__ import annotations


def examples(*lines: tuple[str, str]) -> str:
    """Return an epilog of command lines, each under what it does; a test parses every one of them.

    Args:
        lines: what it does, then the command line as typed.
    """
    blocks = "\n\n".join(f"  # {purpose}\n  {command}" for purpose, command in lines)
    return f"\b\nExamples:\n{blocks.replace(chr(10) * 2, chr(10))}"
