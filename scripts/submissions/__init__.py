"""Checks of the submissions' audits that take too long for the tests."""
