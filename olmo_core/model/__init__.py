"""The OLMo 2 and OLMo 1 models, from token ids to logits."""
