"""Chapters of a Bible module: positions, numbers and brackets, on modules written for the purpose."""

from pathlib import Path

import pytest
from archives import write_tar, write_zip
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.documents.sources.archive import ArchiveError
from olmo_core.documents.sources.pythonbible import PythonBibleSource

SOURCE = PythonBibleSource(reader="pythonbible", package="p", member="p/bible.py")


def module(text: str, verses: dict[int, tuple[int, int]]) -> bytes:
    """A module as the package has it: the text, then a table of starts and one of ends."""
    tables = ["".join(f"        {verse}: {place[side]},\n" for verse, place in verses.items()) for side in (0, 1)]
    return f'bible = Bible(\n    """{text}""",\n    {{\n{tables[0]}    }},\n    {{\n{tables[1]}    }},\n)\n'.encode()


def chapters(folder: Path, content: bytes) -> dict[str, str]:
    path = write_tar(folder / "p.tar.gz", {"p/bible.py": content})
    return {each.id: each.text for each in SOURCE.documents(path)}


def test_books_from_the_tenth_and_chapters_from_the_hundredth_keep_their_numbers(tmp_path: Path) -> None:
    verses = {9031013: (0, 2), 19119176: (3, 5), 66022021: (6, 8)}
    assert chapters(tmp_path, module("aa bb cc", verses)) == {"09/031": "aa", "19/119": "bb", "66/022": "cc"}


def test_position_counts_characters_and_not_escapes(tmp_path: Path) -> None:
    # `\\u2019` and `\\n` are one character each; the second chapter starts at the fifth.
    content = module("a\\u2019s\\nb", {1001001: (0, 3), 1002001: (4, 5)})
    assert chapters(tmp_path, content) == {"01/001": "a\u2019s", "01/002": "b"}


def test_position_counts_characters_and_not_bytes(tmp_path: Path) -> None:
    assert chapters(tmp_path, module("\u00e9\u00e9 b", {1001001: (0, 2), 1002001: (3, 4)})) == {
        "01/001": "\u00e9\u00e9",
        "01/002": "b",
    }


def test_brackets_are_removed_and_their_words_stay(tmp_path: Path) -> None:
    text = "God [is] good. [He] is"
    assert chapters(tmp_path, module(text, {1001001: (0, 22)})) == {"01/001": "God is good. He is"}


@settings(max_examples=25)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_chapters_are_the_text_between_their_first_verses(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    """So many verses in each chapter; every verse is its own number, so a misplaced one would show."""
    words = [[f"c{chapter}v{verse}" for verse in range(1, size + 1)] for chapter, size in enumerate(sizes, 1)]
    text, verses = "", {}
    for chapter, verse_words in enumerate(words, 1):
        for verse, word in enumerate(verse_words, 1):
            verses[1_000_000 + 1000 * chapter + verse] = (len(text), len(text) + len(word))
            text += word + " "
    found = chapters(tmp_path_factory.mktemp("bible"), module(text, verses))
    assert found == {f"01/{chapter:03d}": " ".join(part) for chapter, part in enumerate(words, 1)}


def test_every_module_that_the_pattern_matches_is_read(tmp_path: Path) -> None:
    both = {f"p/{name}/bible.py": module(name, {1001001: (0, 3)}) for name in ("asv", "kjv")}
    path = write_zip(tmp_path / "p.whl", both)
    found = list(SOURCE.model_copy(update={"member": "*/bible.py"}).documents(path))
    assert [(each.text, each.source) for each in found] == [
        ("asv", "p.whl!p/asv/bible.py"),
        ("kjv", "p.whl!p/kjv/bible.py"),
    ]


@pytest.mark.parametrize(
    "content",
    [b'text = """words"""\n', b"table = {\n    1001001: 0,\n}\n", b'"""words"""\n{1001001: 0}\n'],
    ids=["no table", "no text", "table on one line"],
)
def test_module_of_another_form_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"p\.tar\.gz: p/bible\.py has no text with a table of verses"):
        chapters(tmp_path, content)


def test_module_is_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    content = module("word", {1001001: (0, 4)}) + f"open({str(marker)!r}, 'w')\n".encode()
    assert chapters(tmp_path, content) == {"01/001": "word"}
    assert not marker.exists()
