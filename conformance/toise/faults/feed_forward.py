"""feed_forward: to be written."""
