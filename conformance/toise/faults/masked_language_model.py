"""masked_language_model: to be written."""
