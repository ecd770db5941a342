"""`tracker completion`: the shell completes commands, options and values."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from tracker.cli.examples import examples
from tracker.cli.values import OPEN

BASH = r"""
%(complete_func)s() {
    local response type value
    COMPREPLY=()
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
            open) COMPREPLY+=("$value"); compopt -o nospace ;;
        esac
    done <<< "$response"
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Click's, for words that hold `=` and `:`, at which bash cuts them in pieces."""

    source_template = BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Split the line as a shell does, and not as bash's completion does."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        while "=" in words[0]:  # a variable set for this command alone
            words.pop(0)
        self._typed = "" if line[-1:].isspace() or len(words) == 1 else words.pop()
        return words[1:], self._typed

    def format_completion(self, item: CompletionItem) -> str:
        """Leave out what stands before the last break: bash keeps that itself."""
        kind = "open" if item.type == "plain" and item.value.endswith(OPEN) else item.type
        breaks = [mark for mark in "=:" if mark in os.environ.get("COMP_WORDBREAKS", "")]
        kept = max((self._typed.rfind(mark) + 1 for mark in breaks), default=0)
        return f"{kind},{item.value[kept:] if item.value[:kept] == self._typed[:kept] else item.value}"


class Zsh(ZshComplete):
    """Click's, without a space after a value that is to be typed on."""

    source_template = (
        ZshComplete.source_template.replace(
            'completions+=("$key")', 'if [[ "$key" == *[=,.:] ]]; then open+=("$key"); else completions+=("$key"); fi'
        )
        .replace("local -a completions\n", "local -a completions open\n")
        .replace("    if [ -n \"$completions\" ]", "    (( $#open )) && compadd -U -S '' -V unsorted -a open\n"
                 "    if [ -n \"$completions\" ]")
    )  # fmt: skip


class Fish(FishComplete):
    """Click's, for values and help texts with a comma in them."""

    source_template = FishComplete.source_template.replace('(string split ","', '(string split -m 1 ","')


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}

for _shell in SHELLS.values():
    add_completion_class(_shell)


@click.command(
    epilog=examples(
        ("bash: put this line into ~/.bashrc", 'eval "$(tracker completion bash)"'),
        ("zsh: into ~/.zshrc, below compinit", 'eval "$(tracker completion zsh)"'),
        ("fish: once", "tracker completion fish > ~/.config/fish/completions/tracker.fish"),
    )
)
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script with which a shell completes this program.

    It completes commands, options, and values: studies, cells, metrics, models, datasets,
    normalizations, `--set KEY=` and `--axis KEY=`. Studies and cells come from experiments/ and
    from the trial database in the home folder, not from one on a server.
    """
    root: Any = context.find_root()
    name = PurePath(root.info_name or "tracker").name
    complete = SHELLS[shell](root.command, {}, name, f"_{name.replace('-', '_').upper()}_COMPLETE")
    click.echo(complete.source())
