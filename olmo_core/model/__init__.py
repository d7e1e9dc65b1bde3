"""OLMo 2 and OLMo 1: token ids in, logits out."""
