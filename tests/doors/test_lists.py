"""A list in a terminal: a table where it fits, without its widest columns where enough are left, never cut."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from dujiang.doors import show

ROW = {
    "contract": "ctr_01m86qqrb2eg6vde4qw8fxw90v", "state": "FINALIZED", "side": "consumer", "purpose": "analyse",
    "status": "active", "peer_did": "did:web:node.example.org:org:org_01m86qmqx7e1zrzcqx01ys9wdr",
    "terms": "For “analyse”, 365 days from the agreement: 12 statistics", "terms_sha256": "73" * 32,
}  # fmt: skip


def drawn(rows: list[dict[str, str]], width: int, language: str = "en") -> str:
    """What a terminal so wide shows."""
    console = Console(file=StringIO(), width=width, markup=False, highlight=False, no_color=True)
    with console.capture() as told:
        console.print(show.rendered(rows, language))
    return told.get()


def test_a_list_that_fits_is_a_whole_table() -> None:
    lines = drawn([ROW, ROW], 400).splitlines()
    assert lines[0].split() == " ".join(ROW).replace("_", " ").split()
    assert len(lines) == 3


def test_a_wide_one_leaves_out_what_machines_read_first_and_says_so() -> None:
    text = drawn([ROW, ROW], 150)
    assert "Not shown: peer did (--json has all)." in text and ROW["terms"] in text
    assert "Not shown: peer did, terms sha256 (" in drawn([ROW, ROW], 130)
    narrow = drawn([ROW], 90, "zh")
    # Chinese headings are narrower: one column more has room.
    assert "未显示：对方 DID, 条款（" in narrow
    for shown in ("contract", "state", "side", "purpose", "status"):
        assert ROW[shown] in narrow


def test_where_too_little_would_be_left_each_line_is_a_paragraph_with_everything() -> None:
    text = " ".join(drawn([ROW], 50).split())
    assert "Not shown" not in text
    for name, value in ROW.items():
        shown = f"{value[:12]}…" if name == "terms_sha256" else value
        assert shown.replace(" ", "") in text.replace(" ", "")
