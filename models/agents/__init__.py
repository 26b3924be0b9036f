"""Agents: behaviour learned in imagination on top of a world model, and the update that trains both."""
