"""Isolated dynamics (Iso-Dream): what the agent controls, what moves by itself, and what stands still, apart."""
