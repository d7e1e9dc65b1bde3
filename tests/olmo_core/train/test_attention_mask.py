import pytest
import torch
from training_world import EAGER, MODEL, config

from olmo_core.train.attention_mask import document_mask
from olmo_core.train.trainer import Trainer

EOS = 0
ROW = [5, 6, 7, EOS, 8, 9, EOS, 10, 11, 12]


def test_query_reads_only_its_document_up_to_itself() -> None:
    mask = document_mask(torch.tensor([ROW]) == EOS)[0, 0]
    documents = [range(0, 4), range(4, 7), range(7, 10)]
    expected = [[any(q in d and k in d for d in documents) and k <= q for k in range(10)] for q in range(10)]
    assert mask.tolist() == expected


def test_packed_documents_match_separate_documents() -> None:
    model = Trainer(MODEL, config(precision="fp32").build_objective(), EAGER).initialize().model
    tokens = torch.tensor([ROW])
    packed = model.states(tokens, readable=document_mask(tokens == EOS))
    for begin, end in ((0, 4), (4, 7), (7, 10)):
        assert torch.allclose(packed[:, begin:end], model.states(tokens[:, begin:end]), atol=1e-5)
    assert not torch.allclose(packed, model.states(tokens), atol=1e-3)


def test_document_attention_changes_loss_and_needs_ends() -> None:
    tokens = torch.randint(0, 8, (4, 16), generator=torch.Generator().manual_seed(1))
    plain = Trainer(MODEL, config().build_objective(), EAGER).initialize()
    within = Trainer(MODEL, config(document_attention=True).build_objective(), EAGER).initialize()
    across = plain.update({"tokens": tokens}, 1e-3).sums["loss"]
    assert across != within.update({"tokens": tokens, "ends": tokens == EOS}, 1e-3).sums["loss"]
    with pytest.raises(ValueError, match="document_attention needs the ends of documents"):
        within.update({"tokens": tokens}, 1e-3)
