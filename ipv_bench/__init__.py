"""Words and formats of ipv-bench: shard sets, runs, presets, errors and the command line.

This package is the bottom of the project. It imports none of `pipelines`, `models` and `reports`, and never torch.
"""

__version__ = "0.1.0"
