"""The property tests: one module for each concept, one test for each numbered requirement."""
