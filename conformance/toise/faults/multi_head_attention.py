"""multi_head_attention: to be written."""
