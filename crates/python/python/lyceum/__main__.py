"""The command ``lyceum``, also as ``python -m lyceum``."""

import sys

from . import _native


def main() -> None:
    """Does what the arguments of the program say; ``lyceum --help`` tells what there is."""
    sys.exit(_native.main(["lyceum", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
