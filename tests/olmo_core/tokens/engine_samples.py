"""Texts that engines may disagree on, and the step that makes token files of Proverbs."""

from archives import SHIPPED_SHA256

from olmo_core.artifact.identity import Step
from olmo_core.documents.corpus import CorpusConfig, corpus_step
from olmo_core.tokens.token_file import tokens_step
from olmo_core.tokens.tokenizer import BpeConfig, tokenizer_step

ADVERSARIAL = [
    "",
    " ",
    "\0",
    "a\0b",
    "<|endoftext|>",
    "a<|endoftext|><|pad|> b<|endoftext|",
    "|||IP_ADDRESS||| and |||IP_ADDRESS||",
    "e\u0301 cafe\u0301 \u1112\u1161\u11ab \u0041\u030a\u0323 \u0344\u212b",
    "\u0301\u0301\u0301 combining first",
    "漢字かな交じり文。中文文本没有空格",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd",
    "don't DON'T we'LL \u017f'\u017f I'M they'Re",
    "1234567890 12 \u0663\u0664\u0665 \u00bd \u2167",
    "a  b   c\t\td \n\n \r\n \r e\u00a0f\u3000g\u2003h\x0b\x0c\x85i ",
    "a" * 3000,
    " " * 3000 + "x",
    "\n" * 500,
    "ab" * 2000 + "!?" * 2000,
    "\ufeff\ufffe\U0010ffff\ue000\u202eabc",
]


def steps() -> Step:
    source = {"reader": "shipped", "file": "micro.jsonl.gz", "sha256": SHIPPED_SHA256, "books": ["proverbs"]}
    config = CorpusConfig.model_validate({"source": source, "licence": "CC0-1.0", "heldout": 0.1})
    corpus = corpus_step("wisdom", config, {})
    return tokens_step(corpus, 0, tokenizer_step("t", BpeConfig(kind="bpe", vocab_size=400), {"wisdom": corpus}))
