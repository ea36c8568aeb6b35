"""autoregressive: to be written."""
