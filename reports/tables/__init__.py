"""Tables: results, comparisons and provenance, as text, CSV, Markdown and LaTeX."""
