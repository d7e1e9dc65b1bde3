import hashlib
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from olmo_core.artifact.identity import Step
from olmo_core.soup.certificate import CertificateError, read_certificate, verify
from olmo_core.soup.step import SoupConfig, soup_step

STEPS = [Step("checkpoint", f"ingredient{n}-step60", 1, {"seed": n}) for n in range(3)]


@pytest.fixture
def soup(checkpoint: Callable[..., Path], run: Callable[..., Any]) -> tuple[Path, dict[str, Path]]:
    """Return a soup of three and its ingredients by step id."""
    folders = [checkpoint(seed) for seed in range(3)]
    roles = {f"ingredient{n}": step for n, step in enumerate(STEPS)}
    out, _ = run(soup_step(SoupConfig(), roles), dict(zip(roles, folders, strict=True)))
    return out, {step.id: folder for step, folder in zip(STEPS, folders, strict=True)}


def test_order_and_roles_do_not_change_bytes(checkpoint: Callable[..., Path], run: Callable[..., Any]) -> None:
    folders = [checkpoint(seed) for seed in range(3)]
    found = set()
    for order in itertools.permutations(range(3)):
        roles = {f"role{place}": STEPS[number] for place, number in enumerate(order)}
        paths = {f"role{place}": folders[number] for place, number in enumerate(order)}
        out, result = run(soup_step(SoupConfig(), roles), paths)
        assert result == {"ingredients": 3, "tensors": 4}
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}
        assert files.keys() == {"model.safetensors", "model.json", "certificate.json"}
        found.add(tuple(sorted(files.items())))
    assert len(found) == 1


def test_certificate_has_digests_of_ingredients_and_soup(soup: tuple[Path, dict[str, Path]]) -> None:
    folder, ingredients = soup
    certificate = read_certificate(folder)
    assert (certificate.method, certificate.accumulation) == ("uniform", "float64")
    assert [entry.digest for entry in certificate.ingredients] == sorted(
        entry.digest for entry in certificate.ingredients
    )
    assert {entry.id: entry.name for entry in certificate.ingredients} == {step.id: step.name for step in STEPS}

    def digests(path: Path) -> dict[str, str]:
        return {
            name: hashlib.sha256(array.tobytes()).hexdigest()
            for name, array in load_file(path / "model.safetensors").items()
        }

    assert certificate.tensors == digests(folder)
    for entry in certificate.ingredients:
        assert entry.digest == ingredients[entry.id].name[::-1]
        assert entry.tensors == digests(ingredients[entry.id])


def test_soup_verifies_with_any_order_and_threads(soup: tuple[Path, dict[str, Path]]) -> None:
    folder, ingredients = soup
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert verify(folder, dict(reversed(ingredients.items())), threads=2) == read_certificate(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["soup", "ingredient"]), st.floats(0, 0.9999), st.integers(0, 22))
def test_any_flipped_bit_is_found(soup: tuple[Path, dict[str, Path]], which: str, place: float, bit: int) -> None:
    folder, ingredients = soup
    target = folder if which == "soup" else ingredients[STEPS[1].id]
    path = target / "model.safetensors"
    kept = path.read_bytes()
    weights = load_file(path)
    name = sorted(weights)[int(place * len(weights))]
    flat = weights[name].reshape(-1).view(np.uint32)
    flat[int(place * flat.size)] ^= np.uint32(1 << bit)  # Mantissa bits only: an exponent may make it infinite.
    save_file(weights, path)
    try:
        with pytest.raises(CertificateError, match=name):
            verify(folder, ingredients)
    finally:
        path.write_bytes(kept)


def test_certificate_with_wrong_digests_is_found(soup: tuple[Path, dict[str, Path]]) -> None:
    folder, ingredients = soup
    plain = json.loads((folder / "certificate.json").read_text())
    plain["ingredients"][0]["tensors"]["norm.weight"] = "0" * 64
    (folder / "certificate.json").write_text(json.dumps(plain))
    with pytest.raises(CertificateError, match=r"norm\.weight of ingredient ingredient\d-step60"):
        verify(folder, ingredients)


def test_mean_of_other_weights_is_found(soup: tuple[Path, dict[str, Path]]) -> None:
    """The soup matches its certificate, but is not the mean of its ingredients."""
    folder, ingredients = soup
    weights = load_file(folder / "model.safetensors")
    weights["norm.weight"] *= 2
    save_file(weights, folder / "model.safetensors")
    plain = json.loads((folder / "certificate.json").read_text())
    plain["tensors"]["norm.weight"] = hashlib.sha256(weights["norm.weight"].tobytes()).hexdigest()
    (folder / "certificate.json").write_text(json.dumps(plain))
    with pytest.raises(CertificateError, match=r"norm\.weight of the mean of the ingredients"):
        verify(folder, ingredients)


def test_other_ingredients_are_refused(soup: tuple[Path, dict[str, Path]]) -> None:
    folder, ingredients = soup
    first, *_ = ingredients
    with pytest.raises(CertificateError, match="the certificate names the ingredients"):
        verify(folder, {name: path for name, path in ingredients.items() if name != first})


def test_missing_certificate_is_an_error(soup: tuple[Path, dict[str, Path]]) -> None:
    folder, ingredients = soup
    (folder / "certificate.json").unlink()
    with pytest.raises(CertificateError, match="no readable certificate"):
        verify(folder, ingredients)


def test_ingredients_of_another_model_are_refused(checkpoint: Callable[..., Path], run: Callable[..., Any]) -> None:
    folders = [checkpoint(seed) for seed in range(2)]
    (folders[1] / "model.json").write_text('{"d_model": 6}')
    roles = {"a": STEPS[0], "b": STEPS[1]}
    with pytest.raises(ValueError, match=r"model\.json of checkpoint/ingredient\d-step60 differs"):
        run(soup_step(SoupConfig(), roles), dict(zip(roles, folders, strict=True)))


def test_soup_needs_two_different_ingredients() -> None:
    with pytest.raises(ValueError, match="at least two ingredients, soup has 1"):
        soup_step(SoupConfig(), {"a": STEPS[0]})
    with pytest.raises(ValueError, match="b and a are the same checkpoint"):
        soup_step(SoupConfig(), {"a": STEPS[0], "b": STEPS[0]})


def test_ingredients_with_same_name_are_distinct(
    checkpoint: Callable[..., Path], run: Callable[..., Any], tmp_path: Path
) -> None:
    folders = [checkpoint(seed) for seed in range(2)]
    twins = {"a": Step("checkpoint", "same", 1, {"seed": 1}), "b": Step("checkpoint", "same", 1, {"seed": 2})}
    out, result = run(soup_step(SoupConfig(), twins), dict(zip(twins, folders, strict=True)))
    assert result["ingredients"] == 2
    assert (
        len(verify(out, {step.id: folder for step, folder in zip(twins.values(), folders, strict=True)}).ingredients)
        == 2
    )
    shutil.rmtree(out)
