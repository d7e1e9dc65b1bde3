import json
import shutil

import pytest
import torch
from packaging.version import Version
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from olmo_core.hub import weights
from olmo_core.hub.convert import ConversionError, read_hub_model, write_hub_model, write_tokenizer
from olmo_core.hub.file_names import WEIGHTS_INDEX
from olmo_core.hub.mapping import hub_name
from olmo_core.hub.weights import WeightsError
from olmo_core.model.load import load_config, load_model


@pytest.fixture
def exported(tmp_path, native, tokenizer_folder):
    def make(dtype="float32", name="hub"):
        folder = tmp_path / name
        folder.mkdir()
        write_hub_model(native(), folder, dtype, *write_tokenizer(native(), tokenizer_folder, folder))
        return folder

    return make


def test_round_trip_is_exact_to_the_bit(native, exported, tmp_path):
    back = tmp_path / "back"
    back.mkdir()
    config = read_hub_model(exported(), back)
    assert config == load_config(native())
    assert (back / "model.json").read_bytes() == (native() / "model.json").read_bytes()
    ours, returned = load_file(native() / "model.safetensors"), load_file(back / "model.safetensors")
    assert ours.keys() == returned.keys()
    assert all(torch.equal(ours[name], returned[name]) for name in ours)


def test_transformers_reads_and_keeps_every_value(native, exported):
    folder = exported()
    config = AutoConfig.from_pretrained(folder)
    ours = load_config(native())
    assert (config.rope_parameters["rope_theta"], config.rms_norm_eps) == (ours.rope_theta, ours.norm_eps)
    assert (config.vocab_size, config.max_position_embeddings) == (ours.padded_vocab_size, ours.context_length)
    assert (config.eos_token_id, config.pad_token_id, config.bos_token_id) == (298, 299, None)
    assert GenerationConfig.from_pretrained(folder).eos_token_id == 298
    model = AutoModelForCausalLM.from_pretrained(folder)
    tensors = model.state_dict()
    assert all(
        torch.equal(tensor, tensors[hub_name(name)]) for name, tensor in load_model(native()).state_dict().items()
    )


def test_files_saved_by_transformers_are_read(native, exported, tmp_path):
    saved, back = tmp_path / "saved", tmp_path / "back"
    back.mkdir()
    AutoModelForCausalLM.from_pretrained(exported()).save_pretrained(saved)
    config = read_hub_model(saved, back)
    # Without a tokenizer, only the rows of the embedding indicate the size of the vocabulary.
    assert config == load_config(native()).model_copy(update={"vocab_size": 384})
    assert torch.equal(load_model(back).head.weight, load_model(native()).head.weight)


def test_bfloat16_rounds_as_torch_does(native, exported):
    folder = exported("bfloat16")
    ours, theirs = load_file(native() / "model.safetensors"), load_file(folder / "model.safetensors")
    for name, tensor in ours.items():
        assert theirs[hub_name(name)].dtype == torch.bfloat16
        assert torch.equal(theirs[hub_name(name)], tensor.to(torch.bfloat16))
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"


def test_same_model_gives_same_bytes(exported):
    one, two = exported(name="one"), exported(name="two")
    files = sorted(path.name for path in one.iterdir())
    assert files == sorted(path.name for path in two.iterdir())
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)
    # Tensors are ordered by name, which does not depend on the process.
    data = (one / "model.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    del header["__metadata__"]
    assert list(header) == sorted(header)
    assert [entry["data_offsets"] for entry in header.values()] == sorted(e["data_offsets"] for e in header.values())


def test_large_models_are_cut_into_files(native, exported, tmp_path, monkeypatch):
    whole = load_file(exported(name="whole") / "model.safetensors")
    monkeypatch.setattr(weights, "FILE_BYTES", 30_000)
    folder, back = exported(name="cut"), tmp_path / "back"
    files = sorted(folder.glob("model-*.safetensors"))
    assert len(files) > 3 and not (folder / "model.safetensors").exists()
    assert json.loads((folder / "model.safetensors.index.json").read_text())["metadata"]["total_size"] == sum(
        tensor.nbytes for tensor in whole.values()
    )
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in model.state_dict().items())
    back.mkdir()
    monkeypatch.undo()
    read_hub_model(folder, back)
    assert torch.equal(load_model(back).norm.weight, load_model(native()).norm.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("norm.weight"), "lacks 1 tensors of the model, the first is model.norm.weight"),
        (lambda tensors: tensors.update({"norm.bias": torch.ones(32)}), "norm.bias does not belong to an OLMo"),
        (lambda tensors: tensors.update({"norm.weight": torch.ones(31)}), r"shape \(31,\), the model config requires"),
        (
            lambda tensors: tensors.update({"blocks.3.attention_norm.weight": torch.ones(32)}),
            "blocks.3.attention_norm.weight does not exist in a model",
        ),
    ],
)
def test_weights_of_another_model_are_refused(native, tmp_path, change, message):
    broken, out = tmp_path / "broken", tmp_path / "out"
    shutil.copytree(native(), broken)
    out.mkdir()
    tensors = load_file(broken / "model.safetensors")
    change(tensors)
    save_file(tensors, broken / "model.safetensors")
    with pytest.raises(WeightsError, match=message):
        write_hub_model(broken, out, "float32", 1, 2)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "llama", "model_type is 'llama', only 'olmo2' and 'olmo' can be read"),
        ("attention_bias", True, "attention_bias is True, only False can be read"),
        ("rope_parameters", {"rope_type": "yarn", "factor": 8}, "positions are scaled"),
        ("num_attention_heads", 5, "does not divide"),
    ],
)
def test_other_architectures_are_refused(exported, tmp_path, key, value, message):
    folder = exported()
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ConversionError, match=message):
        read_hub_model(folder, tmp_path)


def test_head_with_tied_embeddings_is_refused(exported, tmp_path):
    folder = exported()
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": True}))
    with pytest.raises(WeightsError, match=r"lm_head\.weight does not exist in a model of this config"):
        read_hub_model(folder, tmp_path)


def test_index_cannot_name_files_outside_its_folder(exported, tmp_path):
    folder = exported()
    (folder / WEIGHTS_INDEX).write_text(json.dumps({"weight_map": {"lm_head.weight": "../x.safetensors"}}))
    with pytest.raises(WeightsError, match="not a file in the same folder"):
        read_hub_model(folder, tmp_path)


def test_tokenizer_of_another_model_is_refused(native, tokenizer_folder, tmp_path):
    wide = tmp_path / "wide"
    shutil.copytree(tokenizer_folder, wide)
    special = json.loads((wide / "special_tokens.json").read_text())
    (wide / "special_tokens.json").write_text(json.dumps(special | {"vocab_size": 385}))
    with pytest.raises(ConversionError, match=r"385 ids.*rows for 384"):
        write_tokenizer(native(), wide, tmp_path)
    (wide / "special_tokens.json").write_text(json.dumps(special | {"eos_id": 5}))
    with pytest.raises(ConversionError, match="no special token with the eos id 5"):
        write_tokenizer(native(), wide, tmp_path)


def test_padding_of_tokenizer_is_not_exported(native, tokenizer_folder, tmp_path):
    folder, out = tmp_path / "tokenizer", tmp_path / "out"
    shutil.copytree(tokenizer_folder, folder)
    out.mkdir()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=1)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_tokenizer(native(), folder, out)
    assert Tokenizer.from_file(str(out / "tokenizer.json")).padding is None
    write_tokenizer(native(), tokenizer_folder, out)
    assert (out / "tokenizer.json").read_bytes() == (tokenizer_folder / "tokenizer.json").read_bytes()


def test_transformers_4_finds_its_fields(exported):
    """4.57 adds `token_type_ids` and warns of a wrong expression unless these fields are set."""
    folder = exported()
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_input_names"] == [
        "input_ids",
        "attention_mask",
    ]
    version = Version(json.loads((folder / "config.json").read_text())["transformers_version"])
    assert Version("4.56") <= version <= Version("4.57.2"), (
        "it reads `dtype`, and skips the test of Mistral's tokenizer"
    )
