"""The help of a command in Chinese: its own layout, with what stands in the table in place of the English."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cyclopts.help import DefaultFormatter, InlineText
from rich.text import Text

from dujiang.doors import chinese

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions


class Chinese(DefaultFormatter):
    """Writes the panels of a help page in Chinese; what the table lacks stays in English."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Writes one panel."""
        super().__call__(console, options, panel.copy(entries=[_turned(entry) for entry in panel.entries]))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Writes the line that shows how the command is used."""
        del options
        if usage:
            console.print(
                Text(f"用法：{usage}".replace("COMMAND", "命令").replace("[OPTIONS]", "[选项]"), style="bold")
            )


def _turned(entry: HelpEntry) -> HelpEntry:
    if not isinstance(entry.description, InlineText):
        return entry
    english = entry.description.primary_renderable
    if isinstance(english, Text) and (said := chinese.help_of(english.plain)):
        entry.description.primary_renderable = Text(said)
    notes = [f"可选：{'、'.join(entry.choices)}"] if entry.choices else []
    if entry.default not in (None, "", '""', "False"):
        notes.append(f"默认：{entry.default}")
    if entry.required:
        notes.append("必填")
    for note in notes:
        entry.description.append(Text(f"[{note}]", style="dim"))
    return entry.copy(choices=None, default=None, required=False)
