"""The arguments, exit codes and output streams of every verb of `olmo`, with the work of the verbs replaced."""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app as command
from infra.doctor.finding import Finding
from infra.services.errors import ServiceError
from olmo_core.artifact.make import MissingInputError
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import UnknownStepError
from tasks.workers.failures import StepsFailedError

SURVEY = {"recipe": "micro", "over_budget": []}


class Calls:
    """Replaces functions by ones that record their arguments and return a value."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.made: dict[str, list[Any]] = {}

    def replace(self, path: str, result: Any = None) -> None:
        def record(*arguments: Any) -> Any:
            self.made.setdefault(path.rpartition(".")[2], []).append(arguments)
            return result

        self._patch.setattr(path, record)

    def only(self, name: str) -> Any:
        (arguments,) = self.made[name]
        return arguments


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


def olmo(*arguments: str, code: int = 0) -> Result:
    ended = CliRunner().invoke(command.app, list(arguments))
    assert ended.exit_code == code, (ended.output, ended.exception)
    return ended


def test_run_passes_recipe_profile_overrides_and_parts(calls: Calls) -> None:
    calls.replace("flows.cli.run.run_release")
    olmo("run", "micro", "--profile", "p.yaml", "--from", "soup", "--stages.stage2.seeds=[1,2]", "--json")
    assert calls.only("run_release") == ("micro", "p.yaml", ["--stages.stage2.seeds=[1,2]"], None, "soup", True)


def test_run_has_defaults_for_all_but_the_recipe(calls: Calls) -> None:
    calls.replace("flows.cli.run.run_release")
    olmo("run", "micro", "--only", "data")
    assert calls.only("run_release") == ("micro", "laptop", [], "data", None, False)
    olmo("run", code=2)


@pytest.mark.parametrize(
    ("options", "printer"), [([], "print_plan"), (["--steps"], "print_steps"), (["--json"], "print_json")]
)
@pytest.mark.parametrize(("over", "code"), [([], 0), (["40 min, where the profile's budget is 5 min"], 3)])
def test_plan_over_budget_exits_with_3_in_every_format(
    options: list[str], printer: str, over: list[str], code: int, calls: Calls
) -> None:
    survey = {**SURVEY, "over_budget": over}
    calls.replace("flows.cli.plan.survey", survey)
    for each in ("plan.print_plan", "plan.print_steps", "tables.print_json"):
        calls.replace(f"flows.cli.{each}")
    olmo("plan", "micro", *options, code=code)
    assert calls.made.keys() == {"survey", printer}
    assert calls.only(printer)[-1] == survey


def test_plan_passes_strict_code_and_measures_on_standard_error(calls: Calls) -> None:
    calls.replace("flows.cli.plan.survey", SURVEY)
    ended = olmo("plan", "micro", "--strict-code", "--json", "--stages.stage1.tokens=2M")
    *given, console = calls.only("survey")
    assert given == ["micro", "laptop", ["--stages.stage1.tokens=2M"], True]
    assert console.stderr
    assert json.loads(ended.stdout) == SURVEY


def test_why_prints_lines_or_json(calls: Calls) -> None:
    found = {"step": "soup/soup", "id": "a" * 64, "hit": False, "reason": "r", "differences": [], "code_changed": []}
    calls.replace("flows.cli.why.explain", found)
    assert olmo("why", "micro", "soup/soup").stdout == f"soup/soup ({'a' * 12}): miss: r\n"
    assert json.loads(olmo("why", "micro", "soup/soup", "--json", "--strict-code").stdout) == found
    assert [each[3:] for each in calls.made["explain"]] == [("soup/soup", False), ("soup/soup", True)]


def test_status_is_of_all_recipes_unless_one_is_named(calls: Calls) -> None:
    empty: dict[str, list[Any]] = {"runs": [], "steps": [], "revisions": []}
    calls.replace("flows.cli.status.state", empty)
    assert json.loads(olmo("status", "--json").stdout) == empty
    assert olmo("status", "micro").stdout.split("\n\n") == ["0 runs", "0 steps\n"]
    assert calls.made["state"] == [(None, "laptop"), ("micro", "laptop")]


def test_report_prints_the_path_of_the_page(calls: Calls) -> None:
    calls.replace("flows.cli.report.write_report", Path("/pages/micro.html"))
    assert olmo("report", "micro", "--out", "p.html", "--release.dtype=float32").stdout == "/pages/micro.html\n"
    assert calls.only("write_report") == ("micro", "laptop", ["--release.dtype=float32"], Path("p.html"))


@pytest.mark.parametrize(("given", "recipes"), [([], ["tiny"]), (["micro", "small"], ["micro", "small"])])
def test_up_registers_tiny_unless_recipes_are_named(given: list[str], recipes: list[str], calls: Calls) -> None:
    rows = [{"service": "mlflow", "state": "RUNNING", "address": "http://127.0.0.1:5000"}]
    calls.replace("flows.cli.services.up", (SimpleNamespace(), rows))
    calls.replace("flows.cli.services.show")
    assert json.loads(olmo("up", *given, "--json").stdout) == rows
    passed, _, console = calls.only("up")
    assert passed == recipes
    assert console.stderr, "lines about servers that start are not part of the JSON"
    assert "show" not in calls.made


def test_down_says_whether_anything_was_up(calls: Calls) -> None:
    calls.replace("flows.cli.services.down", True)
    assert olmo("down").stdout == "services stopped\n"
    calls.replace("flows.cli.services.down", False)
    assert olmo("down", "--profile", "other").stdout == "no services were up\n"
    assert [profile for profile, _ in calls.made["down"]] == ["laptop", "other"]


FINE, WRONG = Finding("disk", "900 GB free"), Finding("mlflow", "[Errno 111] refused", "run `olmo up`")


@pytest.mark.parametrize(("found", "code"), [([FINE], 0), ([FINE, WRONG], 1), ([], 0)])
def test_doctor_exits_with_1_if_a_remedy_is_needed(found: list[Finding], code: int, calls: Calls) -> None:
    calls.replace("flows.cli.services.examined", found)
    lines = olmo("doctor", code=code).stdout.splitlines()
    fine, wrong = "fine   disk: 900 GB free", "wrong  mlflow: [Errno 111] refused; run `olmo up`"
    assert lines == [wrong if each is WRONG else fine for each in found]
    rows = json.loads(olmo("doctor", "micro", "--json", code=code).stdout)
    assert [(row["what"], row["seen"], row["remedy"]) for row in rows] == [(f.what, f.seen, f.remedy) for f in found]
    assert calls.made["examined"] == [("tiny", "laptop"), ("micro", "laptop")]


def test_verb_without_overrides_refuses_other_arguments() -> None:
    assert "--stages.stage1.tokens" in olmo("status", "micro", "--stages.stage1.tokens=5", code=2).stderr


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Run `olmo` as a process does, with an application that raises."""

    def run(error: BaseException) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setattr(command, "commanded", nullcontext)
        monkeypatch.setattr(command, "app", fail)
        monkeypatch.setattr(sys, "argv", ["olmo"])
        command.main()

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("recipe mikro: did you mean 'micro'?"), 2),
        (MissingInputError("soup of micro needs [red]two[/red] checkpoints"), 2),
        (ServiceError("disk: 1 GB free; make room"), 2),
        (UnknownStepError("no step is called 'soup/sop'"), 2),
        (StepsFailedError("run/stage1: diverged"), 1),
    ],
)
def test_expected_error_is_its_message_and_an_exit_code(
    error: Exception, code: int, main: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(error)
    assert ended.value.code == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"olmo: {error.args[0]}\n"), "as it is, in no quotes and without markup"


def test_unexpected_error_keeps_its_traceback(main: Callable[[BaseException], None]) -> None:
    with pytest.raises(ZeroDivisionError):
        main(ZeroDivisionError())
