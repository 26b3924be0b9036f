"""Runs to statistics, figures, tables and one HTML page."""
