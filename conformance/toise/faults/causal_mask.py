"""causal_mask: to be written."""
