"""The names of the two files of a tokenizer, and the special tokens that the second one holds."""

import msgspec

TOKENIZER_FILE = "tokenizer.json"
SPECIAL_TOKENS_FILE = "special_tokens.json"


class SpecialTokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model and a token file need to know of a tokenizer; `vocab_size` is one more than the largest id."""

    eos_token: str
    eos_id: int
    pad_token: str
    pad_id: int
    vocab_size: int
