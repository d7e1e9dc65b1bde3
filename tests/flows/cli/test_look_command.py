"""`olmo data look` from its arguments to its output: 80 columns, JSON, a recipe that plans, errors in one line."""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app as command
from flows.opening import read_plan
from infra.profile import load_profile

TEXT = "The committee will meet on Monday to discuss the budget of the city, and the public is invited."


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    folder.mkdir()
    rows = [{"url": f"https://a.example/{n}", "article": f"{n}. {TEXT * 4}\n{TEXT}"} for n in range(40)]
    lines = [json.dumps(row) for row in rows]
    (folder / "a.jsonl").write_text("\n".join(lines[:30]) + "\n")
    (folder / "b.jsonl").write_text("\n".join([*lines[30:], '{"broken \x1b[31m', lines[0]]) + "\n")
    return folder


@pytest.fixture
def olmo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `olmo` as a process does; return its exit code and what it printed."""

    def run(*arguments: str, columns: int = 80) -> tuple[int, str, str]:
        monkeypatch.setattr(command, "commanded", nullcontext)
        monkeypatch.setattr(sys, "argv", ["olmo", *arguments])
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as ended:
            command.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


Run = Callable[..., tuple[int, str, str]]


def test_a_look_fits_80_columns_and_ends_with_a_section_to_paste(corpus: Path, olmo: Run) -> None:
    code, out, _ = olmo("data", "look", str(corpus))
    assert code == 0
    lines = out.splitlines()
    long = [line for line in lines if len(line) > 80 and "paths:" not in line]
    assert (long, "\x1b" in out) == ([], False)
    assert lines[0].startswith("2 files, ")
    assert ["column", "type", "rows", "example"] in [line.split() for line in lines]
    assert "text column: article, a guess" in lines
    assert "documents: 41, 19.7 kB of text; all files were read" in lines
    assert "exact duplicates: 1 of 41 looked at (2.4%)" in lines
    assert "bad rows: 1 of 42 looked at (2.4%)" in lines
    assert "languages: en 100%" in lines
    assert lines.count("samples:") == 1
    assert len([line for line in lines if TEXT[:40] in line and line.startswith("  ")]) == 10
    section = out.partition("section of a recipe:")[2].partition("to go on")[0]
    source = yaml.safe_load(section)["corpora"]["web"]["source"]
    assert source == {
        "reader": "jsonl",
        "paths": [str(corpus)],
        "columns": {"text": "article"},
        "on_bad_row": "skip",
    }
    assert lines[-2:] == ["  olmo plan mine.yaml", "  olmo run mine.yaml"]


def test_json_has_everything(corpus: Path, olmo: Run) -> None:
    code, out, _ = olmo("data", "look", str(corpus), "--json")
    found = json.loads(out)
    assert (code, found["files"], found["path"]) == (0, 2, str(corpus))
    assert found["formats"][0]["format"] == {"suffix": ".jsonl", "compression": "", "reader": "jsonl"}
    sounding = found["corpora"]["web"]["sounding"]
    assert sounding["documents"]["count"] == 41
    assert [len(each["text"]) for each in sounding["samples"]] == [200] * 10
    assert found["recipe"]["corpora"]["web"]["source"]["columns"] == {"text": "article"}


def test_the_recipe_it_writes_plans(corpus: Path, olmo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(corpus.parent)
    (tmp_path / "recipes").mkdir()
    mine = "recipes/mine.yaml"
    code, out, _ = olmo("data", "look", "web", "--out", mine)
    assert code == 0
    assert out.splitlines()[-3:] == [f"wrote {mine}; to go on:", f"  olmo plan {mine}", f"  olmo run {mine}"]
    plan = read_plan(mine, [], load_profile("laptop"))
    (shard,) = [step for step in plan.steps if step.kind == "documents"]
    assert sorted(shard.fields["files"]) == [str(corpus / "a.jsonl"), str(corpus / "b.jsonl")]
    code, _, err = olmo("data", "look", "not-even-read", "--out", mine, columns=1000)
    assert (code, err) == (2, f"olmo: {mine}: exists already; give another name, nothing is overwritten\n")


def test_a_name_cannot_write_to_the_terminal(corpus: Path, olmo: Run) -> None:
    (corpus / "a\x1b[31m.jsonl").write_text('{"\\u001b[1m": 1, "article": 2}\n')
    code, out, _ = olmo("data", "look", str(corpus))
    assert (code, "\x1b" in out) == (0, False)
    assert "    a [31m.jsonl, line 1: column 'article' is a number, not a string" in out.splitlines()


def test_a_plan_keeps_the_digests_of_its_files_and_a_look_makes_none(
    corpus: Path, olmo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("olmo_core.documents.file_digests._SETTLED_NS", 0)
    assert olmo("data", "look", str(corpus), "--out", str(tmp_path / "mine.yaml"))[0] == 0
    assert not (tmp_path / "home").exists()
    read_plan(str(tmp_path / "mine.yaml"), [], load_profile("laptop"))
    kept = json.loads((tmp_path / "home" / "digests.json").read_text())
    assert sorted(kept) == [str(corpus / "a.jsonl"), str(corpus / "b.jsonl")]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.jsonl", "none.jsonl: no such file; give an address"),
        ("none/*.jsonl", "none/*.jsonl: no such file"),
        ("ftp://a/b", "ftp:// is not read from"),
        ("odd", "unknown format (.bin); there are jsonl (.jsonl, "),
        ("empty", "empty: 1 file of 0 bytes"),
        ("numbers", "no text column; name one with --text; there are n (integer)"),
        ("pointer", "is a Git LFS pointer"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    path: str, message: str, olmo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"odd/a.bin": "x", "empty/a.jsonl": "", "numbers/a.jsonl": '{"n": 1}\n'}
    files["pointer/a.jsonl"] = "version https://git-lfs.github.com/spec/v1\n"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    code, out, err = olmo("data", "look", path, columns=1000)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("olmo: ")
    assert message in err


def test_the_arguments_reach_the_look(monkeypatch: pytest.MonkeyPatch, corpus: Path) -> None:
    ended = CliRunner().invoke(command.app, ["data", "look", str(corpus), "--text", "url", "--json"])
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["recipe"]["corpora"]["web"]["source"]["columns"] == {"text": "url"}
    assert CliRunner().invoke(command.app, ["data", "look"]).exit_code == 2
