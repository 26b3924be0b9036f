"""Recording: episodes of any task, played by a policy, as files with their actions."""
