"""World models: the action-free one of videos, and the action-conditional one stacked on it."""
