"""The `olmo` command and its arguments; the subcommands are implemented in the other files of this folder."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.interruption import commanded
from olmo_core.recipe.overrides import overrides_of

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
data = typer.Typer(no_args_is_help=True, help="Look at text that a corpus can be made of.")
app.add_typer(data, name="data")
FREE = {"allow_extra_args": True, "ignore_unknown_options": True}
OVER_BUDGET = 3

RecipeArgument = Annotated[str, typer.Argument(help="Built-in recipe (tiny, micro, small) or path of a YAML file.")]
ProfileOption = Annotated[str, typer.Option("--profile", help="Built-in profile or path of a YAML file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
StrictOption = Annotated[bool, typer.Option("--strict-code", help="Rebuild artifacts made with older code.")]


def main() -> None:
    """Run the command. An error is printed in one line; exit code 2 for bad input, 1 for failed steps.

    After Ctrl-C or SIGTERM the exit code is 130 or 143, and a line names what is kept.
    """
    with commanded():
        from flows.errors import EXPECTED_ERRORS, message
        from olmo_core.recipe.plan import UnknownStepError
        from tasks.workers.failures import StepsFailedError

        try:
            app()
        except (*EXPECTED_ERRORS, UnknownStepError) as error:
            Console(stderr=True).print(f"olmo: {message(error)}", style="red", highlight=False, markup=False)
            raise SystemExit(1 if isinstance(error, StepsFailedError) else 2) from None


@app.command(context_settings=FREE)
def plan(
    context: typer.Context,
    recipe: RecipeArgument,
    profile: ProfileOption = "laptop",
    as_json: JsonOption = False,
    strict_code: StrictOption = False,
    steps: Annotated[bool, typer.Option("--steps", help="List every step with its reason.")] = False,
) -> None:
    """Show which steps would run or be reused, why, and the cost; exit code 3 if it exceeds the profile's budget."""
    from flows.cli.plan import print_plan, print_steps, survey
    from flows.cli.tables import print_json

    found = survey(recipe, profile, _overrides(context), strict_code, Console(stderr=True))
    if as_json:
        print_json(found)
    elif steps:
        print_steps(Console(), found)
    else:
        print_plan(Console(), found)
    if found["over_budget"]:
        raise typer.Exit(OVER_BUDGET)


@app.command(context_settings=FREE)
def run(
    context: typer.Context,
    recipe: RecipeArgument,
    profile: ProfileOption = "laptop",
    only: Annotated[str | None, typer.Option(help="Run only this part; its inputs come from the store.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Run this part and all later ones.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a release, or a part of it: data, a stage by name, soup, evaluate, publish."""
    from flows.cli.run import run_release

    run_release(recipe, profile, _overrides(context), only, start, as_json)


@app.command(context_settings=FREE)
def why(
    context: typer.Context,
    recipe: RecipeArgument,
    step: Annotated[str, typer.Argument(help="Step: kind/name, name, or beginning of its id.")],
    profile: ProfileOption = "laptop",
    as_json: JsonOption = False,
    strict_code: StrictOption = False,
) -> None:
    """Show whether a step would be reused, and if not, which field differs from the nearest record."""
    from flows.cli.tables import print_json
    from flows.cli.why import explain, print_why

    found = explain(recipe, profile, _overrides(context), step, strict_code)
    if as_json:
        print_json(found)
    else:
        print_why(Console(), found)


@app.command()
def status(
    recipe: Annotated[str | None, typer.Argument(help="Recipe whose revisions are listed; all by default.")] = None,
    profile: ProfileOption = "laptop",
    as_json: JsonOption = False,
) -> None:
    """List the runs and steps in the store, and the published revisions."""
    from flows.cli.status import print_state, state
    from flows.cli.tables import print_json

    found = state(recipe, profile)
    if as_json:
        print_json(found)
    else:
        print_state(Console(), found)


@app.command(context_settings=FREE)
def report(
    context: typer.Context,
    recipe: RecipeArgument,
    profile: ProfileOption = "laptop",
    out: Annotated[Path | None, typer.Option(help="File to write; report/RECIPE.html below home by default.")] = None,
) -> None:
    """Write the release page, an HTML file made only from the records, and print its path."""
    from flows.cli.report import write_report

    print(write_report(recipe, profile, _overrides(context), out))


@app.command()
def up(
    recipes: Annotated[list[str] | None, typer.Argument(help="Recipes whose deployments are registered.")] = None,
    profile: ProfileOption = "laptop",
    as_json: JsonOption = False,
) -> None:
    """Start Prefect with a worker, MLflow and Ray with their dashboards, and register the deployments."""
    from flows.cli.services import show
    from flows.cli.services import up as bring_up
    from flows.cli.tables import print_json

    console = Console(stderr=as_json)
    loaded, rows = bring_up(recipes or ["tiny"], profile, console)
    if as_json:
        print_json(rows)
    else:
        show(rows, loaded, console)


@app.command()
def doctor(
    recipe: Annotated[str, typer.Argument(help="Recipe whose artifacts must fit on the disk.")] = "tiny",
    profile: ProfileOption = "laptop",
    as_json: JsonOption = False,
) -> None:
    """Check the addresses, versions, tokens, disk and ports of a profile; exit code 1 if one needs a remedy."""
    from flows.cli.services import examined
    from flows.cli.tables import print_json

    found = examined(recipe, profile)
    if as_json:
        print_json([{"what": each.what, "seen": each.seen, "remedy": each.remedy} for each in found])
    else:
        for each in found:
            finding = f"{each.what}: {each.seen}"
            text = f"fine   {finding}" if each.fine else f"wrong  {finding}; {each.remedy}"
            Console().print(text, style=None if each.fine else "red", highlight=False, markup=False, soft_wrap=True)
    if not all(each.fine for each in found):
        raise typer.Exit(1)


@app.command()
def down(profile: ProfileOption = "laptop") -> None:
    """Stop the servers that `olmo up` started; the data in the store, Prefect and MLflow is kept."""
    from flows.cli.services import down as take_down

    print("services stopped" if take_down(profile, Console(stderr=True)) else "no services were up")


@data.command()
def look(
    path: Annotated[str, typer.Argument(help="File, folder, pattern ('data/**/*.jsonl') or address (s3://...).")],
    text: Annotated[str | None, typer.Option(help="Column with the text; guessed by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Recipe to write, such as mine.yaml.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show formats, columns, documents, languages and samples of text, and the recipe section that reads it.

    Up to 32 MB are read, so that a large folder takes seconds too; what they do not have is estimated.
    """
    from flows.cli.look import as_json as json_of
    from flows.cli.look import look as look_at
    from flows.cli.look import print_look
    from flows.cli.tables import print_json

    found, corpora = look_at(path, text, out, Console(stderr=True))
    if as_json:
        print_json(json_of(found, corpora))
    else:
        print_look(Console(), found, corpora, out)


def _overrides(context: typer.Context) -> list[str]:
    """Return the remaining arguments of the command line as overrides."""
    return overrides_of(context.args)


if __name__ == "__main__":
    main()
