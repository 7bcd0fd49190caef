#!/usr/bin/env python3
"""The gateway's TCP with real programs in a guest and on this host: services that are not there, ends that
leave things lying, slow readers, bulk, programs that are called back, and two VMs with one name.

tests/e2e/gateway_streams.py [NAME ..] [--lockstep FILE] [--json]; `--list` tells the scenarios. Needs a built
lockstep, and no root: all is on the loopback. The guest is an appliance with Python, whose service is
guest/agent.py. The gateway names its VM in its forwards, so the guest's address is not the first one.
"""

import atexit
import contextlib
import json
import pathlib
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lib.pair import Failed  # noqa: E402
from lib.report import Scenarios, arguments, ensure, play_all  # noqa: E402

SCENARIOS = Scenarios()
HERE = pathlib.Path(__file__).resolve().parent
AGENT, SERVICE, CLOSED, CALLBACK, GATEWAY = 7000, 7001, 7002, 7003, "10.0.2.2"
HALF_CLOSED, GIB, BLOCK = 5000, 1 << 30, 1 << 16
BOOT_S, ABSENT_S, LOADED_S = 240, 10, 60
# A connection that a program has closed Linux forgets after 60 s; a closed window of a socket that nobody
# holds makes it give up after 200 to 410 s.
SLOW_GUEST_S, SLOW_CLIENT_S = 75, 450
PATTERN = bytes(range(256)) * (BLOCK // 256)


def image(program):
    """An appliance with Python whose service is guest/agent.py."""
    agent = (HERE / "guest/agent.py").read_text()
    command = f"cat >/run/agent.py <<'AGENT'\n{agent}\nAGENT\nexec python3 -E -S /run/agent.py"
    words = [program, "image", "appliance", "--json", "--package", "python3", "--run", command]
    made = subprocess.run(words, stdout=subprocess.PIPE)
    if made.returncode != 0:
        raise SystemExit("the image with the agent could not be made, see above")
    return json.loads(made.stdout)


class Site:
    """A gateway, a VM behind it, and what they say; nothing of it outlives the `with` block."""

    def __init__(self, program, name="streams", forward_to="streams", known=True):
        self.program, self.name = program, name
        self.stack = contextlib.ExitStack()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="lockstep-streams-"))
        self.stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.socket = self.directory / "gateway.sock"
        help_text = subprocess.run([program, "gateway", "--help"], capture_output=True, text=True).stdout
        # A program that is older than this test knows no forwards by name.
        target = forward_to if known and "VM's name" in help_text else ""
        forwards = [f"--forward=127.0.0.1:0-{target}:{port}" for port in (AGENT, SERVICE, CLOSED, CALLBACK)]
        command = [program, "gateway", "--listen", self.socket, "--allow", "127.0.0.1", *forwards]
        self.gateway = self.start("gateway", command, stdout=subprocess.PIPE)
        ready = json.loads(self.gateway.stdout.readline())
        ports = [int(address.rsplit(":", 1)[1]) for address in ready["forwards"]]
        self.ports = dict(zip((AGENT, SERVICE, CLOSED, CALLBACK), ports, strict=True))
        self.vm = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def start(self, name, command, **streams):
        """Starts a program that is killed in the end; what it says on standard error is kept."""
        errors = self.stack.enter_context((self.directory / f"{name}.err").open("wb"))
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **streams}
        process = subprocess.Popen([*map(str, command)], stderr=errors, **streams)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def said(self, name):
        """What a program has said on standard error."""
        return (self.directory / f"{name}.err").read_text(errors="replace")

    def boot(self, label="vm", named=True):
        """Starts a VM, and kills the one that there was with this label."""
        files = image(self.program)
        words = [self.program, "run", "--kernel", files["kernel"], "--initrd", files["initrd"]]
        words += ["--firmware", files["firmware"], "--append", files["append"], "--memory", "512M"]
        words += ["--net", f"gateway={self.socket}", "--serial", self.directory / f"{label}.console"]
        return self.start(label, [*words, *(["--name", self.name] if named else [])])

    def boot_anew(self):
        """Boots the VM, or boots it again after it was killed, and waits for its agent."""
        if self.vm:
            self.vm.kill()
            self.vm.wait()
        self.vm = self.boot()
        end = time.monotonic() + BOOT_S
        while time.monotonic() < end:
            ensure(self.vm.poll() is None, f"the VM has ended: {self.said('vm')}")
            with contextlib.suppress(OSError), self.run("link.sendall(b'here\\n')") as link:
                if link.makefile("rb").readline() == b"here\n":
                    return self
            time.sleep(0.2)
        raise Failed(f"the guest's agent does not answer: {self.said('vm')} {self.said('gateway')}")

    def run(self, program):
        """Has the guest execute a program; the connection to it."""
        link = self.connect(AGENT)
        program = textwrap.dedent(program).encode()
        link.sendall(b"%d\n%s" % (len(program), program))
        return link

    def connect(self, port, timeout=LOADED_S, source=None):
        """A client of a forward."""
        address = ("127.0.0.1", self.ports[port])
        return socket.create_connection(address, timeout, source and (source, 0))


SITES = contextlib.ExitStack()
atexit.register(SITES.close)


def shared(turn):
    """The site that most scenarios share, started by the first of them."""
    if not hasattr(SITES, "site"):
        SITES.site = SITES.enter_context(Site(turn.program)).boot_anew()
    return SITES.site


def heard(link):
    """The next line that the guest's program says."""
    line = link.makefile("rb").readline().decode().strip()
    ensure(line, "the guest's program has ended early")
    return line


def server(**options):
    """A server on this host's loopback; its port too."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024, **options)
    return listener, listener.getsockname()[1]


def outcome(site, port, what=b""):
    """What a client of a forward comes to, and after how many seconds."""
    begin = time.monotonic()
    try:
        with site.connect(port, timeout=150) as client:
            client.sendall(what)
            answer = "closed" if client.recv(1) == b"" else "an answer"
    except ConnectionError:
        answer = "reset"
    except TimeoutError:
        answer = "nothing"
    return answer, time.monotonic() - begin


def must_have_told_once(site, words):
    """Raises `Failed` unless the gateway says something, and says it once. A thread of its own writes what
    the gateway says, so a client may be reset before the reason can be read."""
    until(lambda: words in site.said("gateway"), LOADED_S, f"the gateway does not say that {words}")
    told = site.said("gateway")
    ensure(told.count(words) == 1, f"the gateway said: {told!r}")


def meanwhile(work, *arguments):
    """Runs a function on a thread; gives a function that waits for its result or raises what it raised."""
    results = []

    def keep():
        try:
            results.append((work(*arguments), None))
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            results.append((None, error))

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()

    def wait():
        thread.join()
        result, error = results[0]
        if error:
            raise error
        return result

    return wait


@SCENARIOS.add("no-guest", "a client of a guest that is not there is reset, and the gateway says why")
def no_guest(turn):
    with Site(turn.program) as site:
        first, first_s = outcome(site, SERVICE, b"hello")
        later, later_s = outcome(site, SERVICE, b"hello")
        ensure((first, later) == ("reset", "reset"), f"the first had {first}, the next {later}")
        ensure(first_s < 5 * ABSENT_S and later_s < ABSENT_S, f"after {first_s:.1f} s and {later_s:.1f} s")
        must_have_told_once(site, "the VM to which it leads is not connected")
        return f"reset after {first_s:.1f} s, the next one after {later_s * 1000:.0f} ms"


@SCENARIOS.add("closed-port", "a client of a port that nothing listens at is reset at once, and this is told")
def closed_port(turn):
    site = shared(turn)
    waits = []
    for _ in range(5):
        came, seconds = outcome(site, CLOSED, b"hello")
        ensure(came == "reset", f"a client had {came} after {seconds:.1f} s")
        waits.append(seconds)
    must_have_told_once(site, f"nothing listens there at port {CLOSED};")
    ensure(max(waits) < ABSENT_S, f"a client waited {max(waits):.1f} s")
    return f"five resets, the slowest after {max(waits) * 1000:.0f} ms"


@SCENARIOS.add("half-closed-out", "5,000 connections that the guest has closed and their server has not")
def half_closed_out(turn):
    site = shared(turn)
    listener, port = server()
    kept, begin = [], time.monotonic()

    def keep_all():
        with contextlib.suppress(OSError):
            while True:
                kept.append(listener.accept()[0])

    meanwhile(keep_all)
    program = f"""
        refused, made = 0, 0
        while made < {HALF_CLOSED}:
            try:
                with socket.create_connection(("{GATEWAY}", {port}), timeout=60):
                    made += 1
            except ConnectionError:
                refused += 1
                threading.Event().wait(0.05)
        link.sendall(b"%d\\n" % refused)
    """
    with site.run(program) as link:
        link.settimeout(900)
        refused = int(heard(link))
    seconds = time.monotonic() - begin
    with site.run("link.sendall(b'here\\n')") as link:
        ensure(heard(link) == "here", "no client is served any more")
    for connection in [listener, *kept]:
        connection.close()
    return f"{HALF_CLOSED} in {seconds:.0f} s; {refused} tries met a full table whose entries were all fresh"


@SCENARIOS.add("half-closed-in", "5,000 connections that clients have closed and the guest's server has not")
def half_closed_in(turn):
    site = shared(turn)
    program = f"""
        listener = socket.create_server(("", {SERVICE}), backlog=512)
        link.sendall(b"ready\\n")
        kept = []
        def keep_all():
            while True:
                kept.append(listener.accept()[0])
        threading.Thread(target=keep_all, daemon=True).start()
        lines.readline()
        listener.shutdown(socket.SHUT_RDWR)
    """
    begin, kept, refused = time.monotonic(), [], 0
    with site.run(program) as link:
        link.settimeout(900)
        ensure(heard(link) == "ready", "the guest does not listen")
        while len(kept) < HALF_CLOSED:
            # An address of clients has 512 places.
            client = site.connect(SERVICE, source=f"127.0.0.{2 + len(kept) % 16}")
            try:
                client.sendall(b"a word")
                client.shutdown(socket.SHUT_WR)
                # The gateway resets at once whom it has no place for.
                client.settimeout(0.002)
                with contextlib.suppress(TimeoutError):
                    client.recv(1)
                kept.append(client)
            except OSError:
                refused += 1
                time.sleep(0.05)
        seconds = time.monotonic() - begin
        with site.run("link.sendall(b'here\\n')") as other:
            ensure(heard(other) == "here", "no client is served any more")
    for client in kept:
        client.close()
    return f"{HALF_CLOSED} in {seconds:.0f} s; {refused} tries met a full table whose entries were all fresh"


@SCENARIOS.add("booted-anew", "the servers of a guest that was killed hear of it when it is booted anew")
def booted_anew(turn):
    site = shared(turn)
    listener, port = server()
    program = f"""
        kept = [socket.create_connection(("{GATEWAY}", {port}), timeout=60) for _ in range(300)]
        link.sendall(b"open\\n")
        lines.readline()
    """
    link = site.run(program)
    kept = [listener.accept()[0] for _ in range(300)]
    ensure(heard(link) == "open", "the guest did not open its connections")
    begin = time.monotonic()
    site.boot_anew()
    booted = time.monotonic()
    for connection in kept:
        connection.settimeout(LOADED_S)
        try:
            ensure(connection.recv(1) == b"", "a server got a byte out of nothing")
        except ConnectionResetError:
            pass
        except TimeoutError:
            raise Failed(f"a server heard nothing for {LOADED_S} s after its guest was there again") from None
    seconds = time.monotonic() - booted
    return f"300 connections were reset {seconds:.1f} s after a boot of {booted - begin:.0f} s"


@SCENARIOS.add("early-close", "a client that closes its half at once, as `nc -N` does, gets its answer")
def early_close(turn):
    site = shared(turn)
    program = f"""
        listener = socket.create_server(("", {SERVICE}))
        link.sendall(b"ready\\n")
        for _ in range(20):
            client = listener.accept()[0]
            client.recv(1)
            client.sendall(b"the time of day")
            client.close()
        listener.close()
    """
    with site.run(program) as link:
        link.settimeout(LOADED_S)
        ensure(heard(link) == "ready", "the guest does not listen")
        for _ in range(20):
            with site.connect(SERVICE) as client:
                client.shutdown(socket.SHUT_WR)
                try:
                    answer = client.recv(100)
                except OSError as error:
                    raise Failed(f"the client heard: {error}") from error
                ensure(answer == b"the time of day", f"the client got {answer!r}")
    return "20 clients"


@SCENARIOS.add("slow-guest", "a guest that reads after its client has long left gets every byte")
def slow_guest(turn):
    site = shared(turn)
    program = f"""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        listener.bind(("", {SERVICE}))
        listener.listen()
        link.sendall(b"ready\\n")
        client = listener.accept()[0]
        listener.close()
        client.shutdown(socket.SHUT_WR)
        lines.readline()
        got = b""
        try:
            while piece := client.recv(65536):
                got += piece
            link.sendall(b"%d\\n" % len(got))
        except OSError as error:
            link.sendall(b"%d and then: %s\\n" % (len(got), str(error).encode()))
    """
    sent = 200_000
    with site.run(program) as link:
        link.settimeout(LOADED_S)
        ensure(heard(link) == "ready", "the guest does not listen")
        with site.connect(SERVICE) as client:
            ensure(client.recv(1) == b"", "the guest was to close its half first")
            client.sendall(bytes(sent))
        time.sleep(SLOW_GUEST_S)
        link.sendall(b"read now\n")
        got = heard(link)
    ensure(got == str(sent), f"of {sent} bytes that a client was told had arrived the guest got {got}")
    return f"{sent} bytes after {SLOW_GUEST_S} s"


@SCENARIOS.add("slow-client", "a client that reads minutes after both ends have closed gets every byte")
def slow_client(turn):
    site, sent = shared(turn), 200_000
    program = f"""
        listener = socket.create_server(("", {SERVICE}))
        link.sendall(b"ready\\n")
        client = listener.accept()[0]
        listener.close()
        client.sendall(bytes({sent}))
        client.recv(1)
        client.close()
        link.sendall(b"closed\\n")
    """
    with site.run(program) as link:
        link.settimeout(LOADED_S)
        ensure(heard(link) == "ready", "the guest does not listen")
        client = socket.socket()
        # So little room that nearly all waits in the gateway's kernel.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(LOADED_S)
        client.connect(("127.0.0.1", site.ports[SERVICE]))
        got = len(client.recv(1))
        client.shutdown(socket.SHUT_WR)
        ensure(heard(link) == "closed", "the guest was to close too")
    time.sleep(SLOW_CLIENT_S)
    try:
        while piece := client.recv(65536):
            got += len(piece)
    except OSError as error:
        raise Failed(f"of {sent} bytes that the guest sent the client got {got}: {error}") from error
    ensure(got == sent, f"of {sent} bytes that the guest sent the client got {got}")
    return f"{got} bytes after {SLOW_CLIENT_S} s"


SEND = f"""
        block, left = bytes(range(256)) * {BLOCK // 256}, {GIB}
        while left:
            peer.sendall(block)
            left -= len(block)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(65536):
            pass
        link.sendall(b"sent\\n")
"""
TAKE = f"""
        blocks, got = memoryview(bytes(range(256)) * {2 * BLOCK // 256}), 0
        while piece := peer.recv({BLOCK}):
            begin = got % {BLOCK}
            assert piece == blocks[begin : begin + len(piece)], got
            got += len(piece)
        link.sendall(b"%d\\n" % got)
"""


def send_all(peer):
    """Sends a GiB, and waits until the other end has closed."""
    for _ in range(GIB // BLOCK):
        peer.sendall(PATTERN)
    peer.shutdown(socket.SHUT_WR)
    while peer.recv(BLOCK):
        pass


def take_all(peer):
    """Takes what comes, all of which must be as it was sent; its length."""
    blocks, got = memoryview(2 * PATTERN), 0
    while piece := peer.recv(BLOCK):
        begin = got % BLOCK
        ensure(piece == blocks[begin : begin + len(piece)], f"a wrong byte in {len(piece)} at {got}")
        got += len(piece)
    return got


@SCENARIOS.add("bulk", "1 GiB each way through a forward, and each way on a connection of the guest")
def bulk(turn):
    site = shared(turn)
    inbound = f"""
        listener = socket.create_server(("", {SERVICE}))
        link.sendall(b"ready\\n")
        peer = listener.accept()[0]
        listener.close()
    """
    listener, port = server()
    outbound = f"""
        peer = socket.create_connection(("{GATEWAY}", {port}))
        link.sendall(b"ready\\n")
    """
    figures = []
    for way, opening in [("forward", inbound), ("outbound", outbound)]:
        for guest_does, host_does in [(TAKE, send_all), (SEND, take_all)]:
            with site.run(opening + guest_does) as link:
                link.settimeout(1800)
                lines = link.makefile("rb")
                ensure(lines.readline() == b"ready\n", "the guest's program has ended early")
                peer = site.connect(SERVICE) if opening is inbound else listener.accept()[0]
                with peer:
                    peer.settimeout(LOADED_S)
                    begin = time.monotonic()
                    got = host_does(peer)
                    peer.close()
                    answer = lines.readline().decode().strip()
                seconds = time.monotonic() - begin
            arrived = int(answer) if got is None else got
            ensure(arrived == GIB, f"{way}: {arrived} of {GIB} bytes arrived")
            direction = "into the guest" if got is None else "out of it"
            figures.append(f"{way} {direction} {GIB / seconds / 1e6:.0f} MB/s")
    listener.close()
    return ", ".join(figures)


@SCENARIOS.add("called-back", "a server connects back to its client in the guest, as in FTP's active mode")
def called_back(turn):
    site = shared(turn)
    listener, port = server()

    def serve():
        control = listener.accept()[0]
        lines = control.makefile("rb")
        seen = []
        while line := lines.readline():
            word, address, number = line.split()
            ensure(word == b"PORT", f"the guest said {line!r}")
            try:
                with socket.create_connection((address.decode(), int(number)), timeout=5) as data:
                    data.sendall(PATTERN * 16)
                seen.append("sent")
                control.sendall(b"226 sent\n")
            except OSError:
                seen.append("unreachable")
                control.sendall(b"425 cannot connect\n")
        return seen

    wait = meanwhile(serve)
    program = f"""
        data = socket.create_server(("", {CALLBACK}))
        control = socket.create_connection(("{GATEWAY}", {port}), timeout=120)
        answers = control.makefile("rb")
        own = control.getsockname()[0].encode()
        control.sendall(b"PORT %s {CALLBACK}\\n" % own)
        first = answers.readline()
        control.sendall(b"PORT 127.0.0.1 {site.ports[CALLBACK]}\\n")
        peer, got = data.accept()[0], b""
        while piece := peer.recv(65536):
            got += piece
        assert answers.readline().startswith(b"226"), "the server sent it"
        control.close()
        answers.close()
        link.sendall(b"%d %s" % (len(got), first))
    """
    with site.run(program) as link:
        link.settimeout(2 * LOADED_S)
        length, first = heard(link).split(maxsplit=1)
    ensure(int(length) == 16 * BLOCK, f"{length} bytes arrived")
    ensure(first.startswith("425"), f"at the guest's own address the server heard {first}")
    ensure(wait() == ["unreachable", "sent"], "the server was called back at another place")
    return "1 MiB through a forward that the guest names; its own address means nothing outside"


@SCENARIOS.add("one-name", "two VMs without a name on one gateway: it and both of them say so")
def one_name(turn):
    with Site(turn.program, known=False) as site:
        site.boot("first", named=False)
        until(lambda: "agent: ready" in console(site, "first"), BOOT_S, "the first VM does not boot")
        site.boot("second", named=False)
        # The first one uses its network, as a guest does.
        begin = time.monotonic()
        for _ in range(BOOT_S):
            with contextlib.suppress(OSError), site.connect(AGENT, timeout=1) as client:
                client.sendall(b"5\npass\n")
            if all("Ethernet address" in site.said(name) for name in ("gateway", "first", "second")):
                break
            time.sleep(1)
        for name in ("gateway", "first", "second"):
            ensure("Ethernet address" in site.said(name), f"the {name} said {site.said(name)!r}")
        return f"all three have said so {time.monotonic() - begin:.0f} s after the second was started"


def console(site, label):
    """What a VM's console has shown."""
    path = site.directory / f"{label}.console"
    return path.read_text(errors="replace") if path.exists() else ""


def until(holds, seconds, sentence):
    """Waits until something holds; raises `Failed` with the sentence if that takes too long."""
    end = time.monotonic() + seconds
    while not holds():
        ensure(time.monotonic() < end, sentence)
        time.sleep(0.1)


if __name__ == "__main__":
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    sys.exit(play_all(SCENARIOS, arguments(__doc__.splitlines()[0]).parse_args()))
