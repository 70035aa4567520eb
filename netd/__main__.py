"""``python -m netd`` is the console script ``netd``."""

from netd.cli.main import main

if __name__ == "__main__":
    main()
