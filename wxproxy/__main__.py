"""``python -m wxproxy``."""

from wxproxy.cli import main

if __name__ == "__main__":
    main()
