"""The demo's router is a second ExaBGP; this is its API process: it hands what ExaBGP reports to the demo."""

from __future__ import annotations

import socket
import sys


def main() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as demo:
        demo.connect(sys.argv[1])
        for line in sys.stdin.buffer:
            demo.sendall(line)


if __name__ == "__main__":
    main()
