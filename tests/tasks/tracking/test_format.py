"""What of a result is followed from checkpoint to checkpoint."""

from tasks.tracking.mlflow.format import scores


def test_what_has_no_documents_has_no_score() -> None:
    result = {
        "heldout": {"wiki": {"bits_per_byte": 1.5, "documents": 3}, "notes": {"documents": 0, "left_out": {}}},
        "tasks": {
            "arc_easy:rc_0shot": {"accuracy": 0.5, "primary": "accuracy", "documents": 2},
            "long:rc_0shot": {"primary": "accuracy", "documents": 0, "too_long": 9},
        },
    }
    assert scores(result) == {"heldout/bits_per_byte/wiki": 1.5, "tasks/accuracy/arc_easy:rc_0shot": 0.5}
