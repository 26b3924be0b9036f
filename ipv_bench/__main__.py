"""`python -m ipv_bench` is `ipv-bench`."""

from ipv_bench.cli import main

if __name__ == "__main__":
    main()
