"""Runs beside a frozen protocol: which follow it, how the others deviate, and the result file that is compared."""
