"""Adapters to implementations that come with Toise; each is imported only when it is named."""
