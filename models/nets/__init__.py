"""Networks and distributions; they know nothing of configs of runs, devices or files."""
