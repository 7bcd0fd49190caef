"""Runs in a guest: executes the Python programs that a test sends it.

On port 7000 each connection brings a line with a length and a program of so many bytes. The program finds the
connection as `link` and what comes over it as `lines`; what it says there, the test hears.
"""

import resource
import socket
import threading
import traceback

PORT, MANY = 7000, 16_000


def serve(link):
    lines = link.makefile("rb")
    program = lines.read(int(lines.readline()))
    try:
        exec(program, {"link": link, "lines": lines, "socket": socket, "threading": threading})
    except Exception:
        traceback.print_exc()
    lines.close()
    link.close()


resource.setrlimit(resource.RLIMIT_NOFILE, (MANY, MANY))
listener = socket.create_server(("", PORT), backlog=64)
print("agent: ready", flush=True)
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
