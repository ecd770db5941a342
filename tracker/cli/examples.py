"""Examples at the end of a command's help, as man pages have them."""

from __future__ import annotations

WIDTH = 76
"""Of a line, with its indentation, on a terminal of 80 columns."""


def examples(*lines: tuple[str, str]) -> str:
    """Return an epilog of command lines, each under what it does; a test parses every one of them.

    Args:
        lines: what it does, then the command line as typed; a long one is continued, as a shell does it.
    """
    shown = "\n".join(f"  # {purpose}\n{_folded(command)}" for purpose, command in lines)
    return f"\b\nExamples:\n{shown}"


def _folded(command: str) -> str:
    """Break a command line before options where it is too long."""
    first, *options = command.split(" --")
    lines = [f"  {first}"]
    for option in options:
        if len(lines[-1]) + len(f" --{option} \\") <= WIDTH:
            lines[-1] += f" --{option}"
        else:
            lines.append(f"      --{option}")
    return " \\\n".join(lines)
