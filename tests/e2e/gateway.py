#!/usr/bin/env python3
"""The gateway with real programs in the guest and on the host: TFTP, STUN, long datagrams, errors, names.

tests/e2e/gateway.py [NAME ..] [--lockstep PATH] [--keep] [--json]; `--list` tells the scenarios. Needs root,
a release build of lockstep, and Debian's `tftpd-hpa`, `stun-server` and `dnsmasq-base`. All runs in a network
namespace without a way out, in which 192.0.2.1, 192.0.2.2 and 192.0.2.9 are hosts of the world. Scenarios of
TCP stand in `gateway_streams.py`. A line each, with figures, and the exit code 0 only if all passed.
"""

import contextlib
import hashlib
import os
import re
import shutil
import socket
import sys
import threading
import time

from lib.behind import DNS, GATEWAY, Behind, alone, image, until
from lib.report import Scenarios, arguments, ensure, play_all

try:
    import gateway_streams as streams
except ImportError:
    streams = None

ONE, TWO, SILENT = "192.0.2.1", "192.0.2.2", "192.0.2.9"
ECHO_OUT, ECHO_IN, LATE = 7007, 9, 7110
LENGTHS = (1, 1472, 1473, 4096, 9000, 32_768, 65_507)
LATE_S = 110
PACKAGES = ("tftp-hpa", "stun-client", "bind9-dnsutils", "python3-minimal", "iputils-ping", "traceroute")
PROGRAMS = {"in.tftpd": "tftpd-hpa", "stund": "stun-server", "dnsmasq": "dnsmasq-base"}
FLAGS = (
    f"--forward udp:{ONE}:{ECHO_IN}-:{ECHO_IN} --forward udp:{ONE}:{ECHO_IN + 1}-:{ECHO_IN + 1}"
    # The first resolver has a closed port, the second never answers, the third does.
    f" --dns {TWO} --dns {SILENT} --dns {ONE}"
).split()
SCENARIOS = Scenarios(streams.SCENARIOS if streams else {})
SHARED = contextlib.ExitStack()


def behind(turn):
    """The gateway and the guest of all scenarios here, started by the first."""
    if not hasattr(SHARED, "behind"):
        SHARED.behind = SHARED.enter_context(Behind(turn.program, PACKAGES, FLAGS, turn.keep))
    return SHARED.behind


def in_python(guest, program, seconds=60):
    """What a program in Python prints in the guest."""
    return guest.shell(f"python3 - <<'END'\nfrom socket import *\n{program}\nEND", seconds)


def echo(address, port):
    """A program that sends every datagram back."""
    return f"""
s = socket(AF_INET, SOCK_DGRAM); s.bind(("{address}", {port}))
while True: s.sendto(*s.recvfrom(65536))
"""


def start_echo(guest):
    """Has the host send datagrams back, unless it does already."""
    if is_free(ONE, ECHO_OUT):
        guest.start("echo", [sys.executable, "-c", f"from socket import *\n{echo(ONE, ECHO_OUT)}"])
        until(lambda: not is_free(ONE, ECHO_OUT), 20, "the host's echo does not start")


def datagrams(address, port):
    """A socket for datagrams that waits no longer than a test has patience."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind((address, port))
    bound.settimeout(20)
    return bound


def is_free(address, port):
    """Whether nobody has this port for datagrams."""
    with contextlib.suppress(OSError), datagrams(address, port):
        return True


def pattern(length):
    return bytes((index * 7 + index // 256) & 255 for index in range(length))


@SCENARIOS.add("tftp", "a file comes and goes by TFTP, whose server answers from another port")
def tftp(turn):
    guest = behind(turn)
    directory = guest.directory / "tftp"
    directory.mkdir()
    content = os.urandom(3 << 20)
    (directory / "image").write_bytes(content)
    for file in (directory, directory / "image"):
        file.chmod(0o777)
    server = ["in.tftpd", "-L", "-v", "-c", "-p", "-u", "root", "-a", f"{ONE}:69", "-s", directory]
    guest.start("tftpd", server)
    until(lambda: not is_free(ONE, 69), 20, f"tftpd does not start: {guest.said('tftpd')}")
    begin = time.monotonic()
    guest.shell(f"cd /tmp && /usr/bin/tftp {ONE} -m binary -c get image", 120)
    seconds = time.monotonic() - begin
    digest = guest.shell("sha256sum /tmp/image")
    ensure(hashlib.sha256(content).hexdigest() in digest, f"the guest got another file: {digest}")
    guest.shell(f"cd /tmp && /usr/bin/tftp {ONE} -m binary -c put image back", 120)
    ensure((directory / "back").read_bytes() == content, "the host got another file back")
    return f"3 MiB there in {seconds:.1f} s and back"


@SCENARIOS.add("stun", "two STUN servers see one port of the guest at one port of the host")
def stun(turn):
    guest = behind(turn)
    guest.start("stund", ["stund", "-h", ONE, "-a", TWO])
    until(lambda: not is_free(TWO, 3479), 20, f"stund does not start: {guest.said('stund')}")
    verdict = guest.shell(f"stun {ONE} -p 40000", 120)
    line = next((line for line in verdict.splitlines() if line.startswith("Primary")), verdict)
    ensure("Independent Mapping" in line, f"the program `stun` says: {line}")
    return line


@SCENARIOS.add("datagrams-out", "datagrams of a guest up to the longest, and their echoes, arrive whole")
def datagrams_out(turn):
    guest = behind(turn)
    start_echo(guest)
    heard = in_python(
        guest,
        f"""
s = socket(AF_INET, SOCK_DGRAM); s.settimeout(5)
for length in {LENGTHS}:
    payload = bytes((index * 7 + index // 256) & 255 for index in range(length))
    for attempt in range(3):
        s.sendto(payload, ("{ONE}", {ECHO_OUT}))
        try: answer = s.recv(65536)
        except timeout: continue
        print(length, attempt, answer == payload)
        break
    else: print(length, "is lost")
""",
        180,
    )
    expected = "\n".join(f"{length} 0 True" for length in LENGTHS)
    ensure(heard == expected, f"length, attempt, whole: {heard!r}")
    return f"{', '.join(map(str, LENGTHS))} bytes, each at the first attempt"


@SCENARIOS.add("datagrams-in", "datagrams of a client up to the longest, and a guest's echoes, arrive whole")
def datagrams_in(turn):
    guest = behind(turn)
    guest.shell(f"cat >/tmp/echo.py <<'END'\nfrom socket import *\n{echo('0.0.0.0', ECHO_IN)}\nEND")
    guest.shell("setsid python3 /tmp/echo.py </dev/null >/dev/null 2>&1 &")
    with datagrams(ONE, 0) as client:
        def answers():
            client.settimeout(0.5)
            client.sendto(b"there?", (ONE, ECHO_IN))
            with contextlib.suppress(OSError):
                return client.recv(16) == b"there?"

        until(answers, 20, "the guest's echo does not answer")
        client.settimeout(20)
        client.connect((ONE, ECHO_IN))
        for length in LENGTHS:
            client.send(pattern(length))
            answer = client.recv(65536)
            ensure(answer == pattern(length), f"of {length} bytes, {len(answer)} came back, or others")
    return f"{', '.join(map(str, LENGTHS))} bytes"


@SCENARIOS.add("unreachable", "a guest is told at once of a port, a host and a network that it cannot reach")
def unreachable(turn):
    guest = behind(turn)
    start_echo(guest)
    begin = time.monotonic()
    said = guest.shell(f"dig @{ONE} -p 7999 +tries=1 +time=20 example.org")
    seconds = time.monotonic() - begin
    ensure("connection refused" in said, f"dig at a closed port: {said}")
    errors = in_python(
        guest,
        f"""
def told(*place):
    s = socket(AF_INET, SOCK_DGRAM); s.settimeout(20)
    # IP_RECVERR: without it Linux tells programs of closed ports only.
    s.setsockopt(SOL_IP, 11, 1); s.connect(place)
    try: s.send(b"x"); s.recv(1)
    except OSError as error: return type(error).__name__, error.errno
print(told("{ONE}", 7999), told("198.51.100.1", 7), told("{GATEWAY}", 7999))
# The datagram behind one that was refused is not lost for it.
s = socket(AF_INET, SOCK_DGRAM); s.settimeout(20)
s.sendto(b"refused", ("{ONE}", 7999)); s.sendto(b"echoed", ("{ONE}", {ECHO_OUT}))
print(s.recv(64))
""",
    )
    # The loopback is refused by itself; the namespace has no way to other networks.
    expected = "('ConnectionRefusedError', 111) ('OSError', 101) ('OSError', 113)\nb'echoed'"
    ensure(errors == expected, f"the guest's errors: {errors}")
    return f"connection refused after {seconds * 1000:.0f} ms with the start of `dig`"


@SCENARIOS.add("traceroute", "`traceroute` finds the gateway and the host behind it")
def traceroute(turn):
    said = behind(turn).shell(f"traceroute -n -q 1 -w 5 {ONE}", 60)
    hops = re.findall(r"^ *(\d+) +(\S+)", said, re.MULTILINE)
    ensure(hops == [("1", GATEWAY), ("2", ONE)], f"traceroute: {said}")
    return " then ".join(address for _, address in hops)


@SCENARIOS.add("ping", "a guest pings the world, with long packets too, and traces the way by pings")
def ping(turn):
    guest = behind(turn)
    for length in (56, 20_000):
        said = guest.shell(f"/usr/bin/ping -c 3 -i 0.2 -W 5 -s {length} {ONE}", 60)
        ensure(" 3 received" in said, f"ping of {length} bytes: {said}")
    seen = re.search(r"rtt min/avg/max/mdev = [^/]*/([^/]*)", said)
    said = guest.shell(f"traceroute -I -n -q 1 -w 5 {ONE}", 60)
    hops = re.findall(r"^ *(\d+) +(\S+)", said, re.MULTILINE)
    ensure(hops == [("1", GATEWAY), ("2", ONE)], f"traceroute -I: {said}")
    return f"3 of 3 answers to 56 and to 20,000 bytes, {seen.group(1)} ms on average"


@SCENARIOS.add("client-refused", "a guest that refuses a client's datagram is told of by the gateway")
def client_refused(turn):
    guest = behind(turn)
    with datagrams(ONE, 0) as client:
        client.sendto(b"x", (ONE, ECHO_IN + 1))
        until(
            lambda: "nothing listens in the guest" in guest.said("gateway"),
            20,
            f"the gateway says nothing of a closed port in the guest: {guest.said('gateway')}",
        )
    return None


@SCENARIOS.add("late", f"an answer after {LATE_S} seconds arrives, and one port of the guest stays one")
def late(turn):
    guest = behind(turn)
    with datagrams(ONE, LATE) as server:
        def answer():
            question, sender = server.recvfrom(64)
            time.sleep(LATE_S)
            server.sendto(b"late " + question, sender)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        ask = f's.settimeout({LATE_S + 20}); s.sendto(b"x", ("{ONE}", {LATE})); print(s.recv(64))'
        begin = time.monotonic()
        heard = in_python(guest, f"s = socket(AF_INET, SOCK_DGRAM); {ask}", LATE_S + 40)
        ensure(heard == "b'late x'", f"after {LATE_S} s the guest heard: {heard}")
    return f"after {time.monotonic() - begin:.1f} s"


@SCENARIOS.add("names", "names over UDP and TCP when one resolver is closed and another never answers")
def names(turn):
    guest = behind(turn)
    text = ",".join("x" * 200 for _ in range(12))
    server = ["dnsmasq", "-k", "-C", "/dev/null", "-a", ONE, "-z", "-R", "-h", "-P", "4096", "--pid-file="]
    records = ["--address=/shop.example/192.0.2.77", f"--txt-record=long.example,{text}"]
    guest.start("dnsmasq", [*server, *records])
    until(lambda: answers_names(ONE), 20, f"dnsmasq does not answer: {guest.said('dnsmasq')}")
    seen = []
    with datagrams(SILENT, 53), socket.create_server((SILENT, 53)):
        # The first question waits for the resolver that never answers, which is asked last from then on.
        for transport in ("+tcp", "+notcp", "+tcp", "+notcp"):
            begin = time.monotonic()
            said = guest.shell(f"dig @{DNS} {transport} +tries=1 +time=10 +short shop.example A")
            ensure(said == "192.0.2.77", f"dig {transport}: {said}")
            seen.append(f"{transport[1:]} {time.monotonic() - begin:.1f} s")
    said = guest.shell(f"dig @{DNS} +tries=1 +time=10 +bufsize=1232 long.example TXT")
    ensure(said.count("x" * 200) == 12 and "Truncated" in said, f"a long answer: {said}")
    said = guest.shell(f"dig @{DNS} +tries=1 +time=10 +bufsize=4096 long.example TXT")
    ensure(said.count("x" * 200) == 12 and "Truncated" not in said, f"a long datagram: {said}")
    return f"{', '.join(seen)}; 2,400 bytes of text in one datagram, and over TCP after a short one"


def answers_names(address):
    """Whether a resolver is there."""
    with socket.socket() as connection, contextlib.suppress(OSError):
        connection.connect((address, 53))
        return True


def main():
    options = arguments(__doc__.split("\n\n")[0]).parse_args()
    if not options.list:
        missing = {package for program, package in PROGRAMS.items() if not shutil.which(program)}
        if missing:
            raise SystemExit(f"install Debian's {', '.join(sorted(missing))} first")
        # Packages are fetched while there is a network.
        if options.lockstep.exists():
            image(options.lockstep, PACKAGES)
            if streams:
                streams.image(options.lockstep)
        alone([ONE, TWO, SILENT])
    with SHARED:
        return play_all(SCENARIOS, options)


sys.exit(main())
