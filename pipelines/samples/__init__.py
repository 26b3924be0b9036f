"""Sample releases: a file per data set that draws a tiny release in its genuine layout."""
