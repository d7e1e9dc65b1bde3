"""Token ids: tokenizers, token files, mixes, and the loader that feeds training."""
