"""What a file is: encodings, dialects, and each bad file refused without a value of it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.kernel.errors import Refused, spoken
from dujiang.plugs import tabular
from dujiang.plugs.duck import Duck

SECRET = "秘密7731"
LIMIT = 1 << 20


def write(folder: Path, content: bytes) -> Path:
    path = folder / "table.bin"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("codec", "mark", "named"),
    [
        ("utf-8", b"", "utf-8"),
        ("utf-8", b"\xef\xbb\xbf", "utf-8-sig"),
        ("utf-16-le", b"\xff\xfe", "utf-16"),
        ("utf-16-be", b"\xfe\xff", "utf-16"),
        ("gb18030", b"", "gb18030"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encoding_and_delimiter_are_found(
    tmp_path: Path, codec: str, mark: bytes, named: str, delimiter: str
) -> None:
    lines = (["编号", '"费用, 元; |"', "年龄"], ["甲", "2.5", "7"])
    text = "".join(delimiter.join(line) + "\r\n" for line in lines)
    form = tabular.recognise(write(tmp_path, mark + text.encode(codec)), LIMIT)
    assert form == tabular.Form("csv", named, delimiter, ("编号", "费用, 元; |", "年龄"))


@settings(max_examples=40)
@given(st.text('年月日abc,"\n;𠮷é', min_size=1, max_size=40), st.sampled_from(["utf-8", "gb18030", "utf-16"]))
def test_transcoding_keeps_the_text(tmp_path_factory: pytest.TempPathFactory, text: str, codec: str) -> None:
    folder = tmp_path_factory.mktemp("text")
    source, target = folder / "a", folder / "b"
    source.write_bytes(text.encode(codec))
    with source.open("rb") as one, target.open("wb") as two:
        tabular.transcode(one, codec, two)
    assert target.read_bytes().decode("utf-8") == text


def parquet(path: Path, query: str) -> bytes:
    duckdb.execute(f"copy ({query}) to '{path}' (format parquet)")
    return path.read_bytes()


def broken_parquet(folder: Path) -> bytes:
    whole = parquet(folder / "whole", f"select '{SECRET}' a, range b from range(1000)")
    return whole[:40] + bytes(200) + whole[240:]


BAD: list[tuple[str, str, bytes]] = [
    ("nothing", "empty_file", b""),
    ("white space", "empty_file", b"\n \r\n"),
    ("header only", "no_rows", b"a,b\n"),
    ("too large", "file_too_large", b"a,b\n" + b"1,2\n" * (LIMIT // 4)),
    ("one field too many", "unreadable_table", f"a,b\n1,2\n{SECRET},2,3\n".encode()),
    ("one field too few", "unreadable_table", f"a,b\n1,2\n{SECRET}\n".encode()),
    ("open quote", "unreadable_table", f'a,b\n1,"{SECRET}\n4,5\n'.encode()),
    ("workbook", "unreadable_table", b"PK\x03\x04" + bytes(100)),
    ("half a parquet", "unreadable_table", b"PAR1" + bytes(100)),
    ("empty parquet", "unreadable_table", b"PAR1" + bytes(4) + b"PAR1"),
    ("binary", "wrong_encoding", bytes(range(256)) * 4),
    ("utf-16 without mark", "wrong_encoding", f"a,b\n{SECRET},2\n".encode("utf-16-le")),
    ("latin-1", "wrong_encoding", b"a,b\nsoir\xe9,2\n"),
    ("same name twice", "duplicate_columns", f"Cost,b,cost\n{SECRET},2,3\n".encode()),
    ("too many columns", "too_many_columns", (",".join(f"c{i}" for i in range(1001)) + "\n").encode() * 2),
    ("a book as name", "unreadable_table", b"a" * 5000 + b"\n1\n"),
]


@pytest.mark.parametrize(("what", "code", "content"), BAD, ids=[bad[0] for bad in BAD])
def test_bad_file_is_refused_without_its_values(tmp_path: Path, what: str, code: str, content: bytes) -> None:
    path = write(tmp_path, content)
    with pytest.raises(Refused) as caught:
        Duck(file_bytes_max=LIMIT).inspect(path, "table.csv")
    assert caught.value.code.name == code
    assert SECRET not in repr((str(caught.value), caught.value.names))
    for language in ("en", "zh"):
        why, fix = spoken(caught.value.code, caught.value.names, language)
        assert "{" not in why + fix
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_line_of_a_broken_csv_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, b"a,b\n1,2\n3,4\n5\n")
    with pytest.raises(Refused) as caught:
        Duck().inspect(path, "x.csv")
    assert caught.value.names == {"line": "4"}


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, broken_parquet(tmp_path))
    with pytest.raises(Refused) as caught:
        Duck().inspect(path, "x.parquet")
    assert caught.value.code is tabular.UNREADABLE_TABLE


def test_parquet_with_equal_names_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table([[1], [{"x": 1, "y": 2}], [3]], names=["a", "s", "A"]), tmp_path / "t")
    with pytest.raises(Refused) as caught:
        Duck().inspect(tmp_path / "t", "t")
    assert caught.value.code is tabular.DUPLICATE_COLUMNS
    assert caught.value.names == {"names": "A"}


def test_codes_speak_both_languages() -> None:
    names = [code.name for code in tabular.CODES]
    assert len(names) == len(set(names))
    assert all(code.why and code.fix and code.why_zh and code.fix_zh for code in tabular.CODES)
