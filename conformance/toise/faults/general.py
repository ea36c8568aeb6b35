"""general: to be written."""
