"""The same site without root, on loopback: hosts are addresses of 127.0.77.0/24, and the guest is behind a
gateway. Nothing can be cut, and hosts have one kernel: it tells of a dead process of another host what no
other computer could.

The classes here take the place of `namespaces.Network`, `place.Place` and `bridged.Witness` in `site.Site`.
"""

import contextlib
import pathlib
import socket
import subprocess

from .place import Place, end


class LoopbackHost:
    """A host's address."""

    def __init__(self, network, name, number):
        self.network, self.name, self.address = network, name, f"127.0.77.{number}"
        self.port_of_switch = None

    @staticmethod
    def connect(address, port, timeout=5):
        """A TCP connection, without delay of small segments."""
        connection = socket.create_connection((address, port), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def start(self, command, **options):
        """Starts a program, which is killed with the network."""
        streams = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.DEVNULL)
        process = subprocess.Popen([*map(str, command)], **{**streams, **options})
        self.network.stack.callback(end, process)
        return process

    def plug(self):
        """There is no cable."""

    unplug = plug


class Loopback:
    """The addresses of the hosts."""

    def __init__(self, names):
        self.stack = contextlib.ExitStack()
        self.hosts = {name: LoopbackHost(self, name, number) for number, name in enumerate(names, start=2)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def host(self, name):
        """The host of that name."""
        return self.hosts[name]


class LoopbackPlace(Place):
    """A host whose processes are told by the directory of their sockets. Its way to the shared storage is a
    link of its own."""

    def build(self):
        """Makes its way to the shared storage."""
        self.regain_storage()
        self.is_on = True

    @property
    def shared(self):
        """The shared storage, as this host sees it."""
        return self.directory / "shared"

    def command(self, words):
        """The command line itself."""
        return [*map(str, words)]

    def pids(self):
        """The agent, and the processes that it or an earlier one has started."""
        wanted, found = f"XDG_RUNTIME_DIR={self.run_dir}".encode(), []
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            # Other users' processes are not to be read, and any may just have ended.
            with contextlib.suppress(OSError):
                if wanted in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        if self.agent and self.agent.poll() is None:
            found.append(self.agent.pid)
        return found

    def release(self):
        """What is left when the site ends."""

    def lose_storage(self, how="gone"):
        """The shared storage is gone: the link leads nowhere."""
        self.shared.unlink()
        self.shared.symlink_to(self.directory / "nowhere")

    def regain_storage(self):
        """It is there again."""
        self.shared.unlink(missing_ok=True)
        self.shared.symlink_to(self.site.storage)


class NoWitness:
    """Nobody sees which host shows the guest."""

    def hosts(self):
        """None was seen."""
        return []

    def story(self):
        """The same in words."""
        return "(not seen on loopback)"

    def stop(self):
        """There is nothing to end."""


def free_port():
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
