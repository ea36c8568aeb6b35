"""attention: to be written."""
