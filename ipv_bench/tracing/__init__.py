"""`ipv-bench trace`: from a figure back to the videos, every hash on the way compared with the files that are here."""
