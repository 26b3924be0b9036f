"""Shard sets and runs in the layouts of other people's tools: LeRobot data sets, folders for the Hugging Face hub."""
