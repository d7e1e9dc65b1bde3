import stat
import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from infra.services.tokens import as_exports, tokens, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_tokens_are_long_distinct_stored_and_private(tmp_path: Path) -> None:
    first = tokens(tmp_path / "tokens")
    names = sorted(path.name for path in (tmp_path / "tokens").iterdir())
    assert names == ["mlflow", "mlflow_cookies", "postgres", "prefect", "ray"]
    assert len({first[name] for name in names}) == len(names)
    assert all(len(first[name]) >= 32 for name in names)
    assert {mode(first.path(name)) for name in names} == {0o600}
    assert mode(tmp_path / "tokens") == 0o700
    again = tokens(tmp_path / "tokens")
    assert [again[name] for name in names] == [first[name] for name in names]


def test_repr_contains_no_token(tmp_path: Path) -> None:
    made = tokens(tmp_path)
    assert made["prefect"] not in repr(made)


def test_private_file_is_replaced_and_stays_private(tmp_path: Path) -> None:
    path = tmp_path / "environment"
    path.write_text("everyone may read this")
    write_private(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)
    assert [each.name for each in tmp_path.iterdir()] == ["environment"]


@given(
    st.dictionaries(
        st.from_regex(r"OLMO_[A-Z]{1,8}", fullmatch=True), st.text("abc $`'\"\\!*", max_size=12), max_size=4
    )
)
def test_shell_reads_back_exported_variables(environment: dict[str, str]) -> None:
    printed = "".join(f'printf "%s\\0" "${name}"\n' for name in sorted(environment))
    done = subprocess.run(["sh", "-euc", as_exports(environment) + printed], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == [environment[name] for name in sorted(environment)]
