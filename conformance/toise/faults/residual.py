"""residual: to be written."""
