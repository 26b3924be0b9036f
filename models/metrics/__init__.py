"""Measures of predictions, one place and one name each."""
