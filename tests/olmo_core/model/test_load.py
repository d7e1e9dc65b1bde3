from pathlib import Path

import pytest
import torch

from olmo_core.model.config import preset
from olmo_core.model.load import load_config, load_model, load_weights, save_model
from olmo_core.model.transformer import Transformer


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Transformer, Path]:
    model = Transformer(preset("micro")).initialize(torch.Generator().manual_seed(1))
    save_model(tmp_path, model.config, model.state_dict())
    return model, tmp_path


def test_loaded_model_gives_same_logits(saved: tuple[Transformer, Path]) -> None:
    model, folder = saved
    loaded = load_model(folder)
    tokens = torch.randint(0, 1024, (2, 16))
    assert loaded.config == model.config
    assert not loaded.training
    assert torch.equal(loaded(tokens), model(tokens))


def test_equal_weights_give_equal_bytes(saved: tuple[Transformer, Path], tmp_path: Path) -> None:
    _, folder = saved
    again = tmp_path / "again"
    again.mkdir()
    save_model(again, load_config(folder), load_weights(folder, load_config(folder)))
    for name in ("model.json", "model.safetensors"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_tensor_of_other_shape_is_named(saved: tuple[Transformer, Path]) -> None:
    _, folder = saved
    (folder / "model.json").write_text(preset("micro", hidden_size=256).model_dump_json())
    with pytest.raises(ValueError, match=r"blocks.0.feed_forward.w1.weight has shape \(192, 64\).*\(256, 64\)"):
        load_model(folder)


def test_missing_tensor_is_named(saved: tuple[Transformer, Path]) -> None:
    model, folder = saved
    weights = model.state_dict()
    del weights["norm.weight"]
    save_model(folder, model.config, weights)
    with pytest.raises(ValueError, match=r"norm.weight has shape none \(missing\)"):
        load_model(folder)


def test_missing_file_and_invalid_config_are_named(saved: tuple[Transformer, Path], tmp_path: Path) -> None:
    _, folder = saved
    with pytest.raises(ValueError, match=r"has no model\.json"):
        load_model(tmp_path / "nowhere")
    (folder / "model.json").write_text('{"d_model": 64}')
    with pytest.raises(ValueError, match=r"model\.json is not a model config"):
        load_model(folder)
