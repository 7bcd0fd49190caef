#!/usr/bin/env python3
"""The services of docs/recipes, each from the one command of its page, through the death of its primary.

tests/e2e/recipes.py [NAME..]. Needs a release build of lockstep and Debian's curl, etcd-client,
mosquitto-clients, bind9-dnsutils, knot-dnsutils, postgresql-client and postgresql-contrib. The command of a
page is taken out of the page, so what people copy is what is tested. Each guest runs as a pair behind a
gateway; a real client on the host talks to the service, the primary gets SIGKILL in the middle, and then what
must hold is:

  * the same connection or session of the client goes on: nobody connects a second time;
  * all that the service acknowledged is there afterwards.

A line for each service; the exit code is 1 if one of them fails.
"""

import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
from machines import LOCKSTEP, ROOT, Console, Failed, Site, copy_of, image_of, postgres  # noqa: E402
from machines import start, vm_flags, wait_for_postgres  # noqa: E402

RECIPES = ROOT / "docs/recipes"
# How long a service may take to answer after its pair was started.
PATIENCE_S = 180
# How long a client may take for its whole conversation.
CONVERSATION_S = 240


def ensure(fact, sentence):
    """Ends the service's test unless the fact holds."""
    if not fact:
        raise Failed(sentence)


def command_of(name):
    """The words of the command that makes the image: the first indented block of the recipe's page."""
    lines = (RECIPES / f"{name}.md").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("    lockstep image "))
    last = next(number for number in range(first, len(lines)) if not lines[number].endswith("\\"))
    words = shlex.split("\n".join(lines[first : last + 1]))
    return words[1:]


class Guest:
    """The pair of a recipe with the ports of this host that lead to it."""

    def __init__(self, site, name, memory):
        self.site, self.name = site, name
        files = image_of([*command_of(name), "--json"])
        disk = files.get("disk")
        if disk:
            disk = copy_of(disk, site.directory / "disk.raw")
        self.halves = site.pair(vm_flags(files, memory, disk=disk), serial=True)
        # Read to the end, for the words of a guest that ends when it should not.
        self.console = Console.at(site.stack, site.directory / "primary")

    def port(self, inner):
        """The port of this host that leads to a port of the guest."""
        return self.site.ports[inner]

    def wait_until(self, ask, what):
        """Asks again and again until there is an answer; ends the test if the guest does."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if answer := ask():
                return answer
            self.console.read(0.2)
            if self.halves["primary"].poll() is not None:
                break
        raise Failed(f"{what}; the console's last words: {self.console.text[-600:]}")

    def kill_primary(self):
        """SIGKILL, as a host that loses its power."""
        ensure(self.halves["backup"].poll() is None, "the backup has ended before the kill")
        os.kill(self.halves["primary"].pid, signal.SIGKILL)

    def client(self, *words, **options):
        """Starts a client whose output can be read; it ends with the test."""
        return start(self.site.stack, words, text=True, stdout=subprocess.PIPE, **options)


def succeeds(*words):
    """What a client says, or nothing if it fails."""
    try:
        done = subprocess.run(words, text=True, capture_output=True, timeout=20)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""


def lines_of(client):
    """The lines of a client until it ends, which it must in time."""
    overdue = threading.Timer(CONVERSATION_S, client.kill)
    overdue.start()
    # Not `communicate`, which would forget what `read_lines` has left behind.
    lines = client.stdout.read().splitlines()
    overdue.cancel()
    client.wait()
    return lines


def read_lines(client, count):
    """So many lines of a client, while it goes on."""
    return [client.stdout.readline().rstrip("\n") for _ in range(count)]


def nginx(guest):
    """One connection of curl, on which every request is answered."""
    url, count = f"http://127.0.0.1:{guest.port(80)}/", 400
    page = guest.wait_until(lambda: succeeds("curl", "-sf", url), "nginx does not answer")
    ensure("Welcome to nginx" in page, f"it is not Debian's default site: {page[:200]}")
    # A line per answer: status, connections opened for it, seconds.
    form = "%{http_code} %{num_connects} %{time_total}\\n"
    urls = [word for number in range(count) for word in ["-o", "/dev/null", f"{url}?{number}"]]
    client = guest.client("curl", "-s", "--rate", "50/s", "-w", form, *urls)
    seen = read_lines(client, count // 3)
    guest.kill_primary()
    seen += lines_of(client)
    answers = [line.split() for line in seen]
    ensure(client.returncode == 0, f"curl ended with {client.returncode}")
    good = sum(answer[0] == "200" for answer in answers)
    opened = sum(int(answer[1]) for answer in answers)
    ensure(good == count, f"{good} of {count} requests were answered with 200")
    ensure(opened == 1, f"{opened} connections were opened")
    longest = max(float(answer[2]) for answer in answers) * 1000
    return f"{good} requests on {opened} connection, the longest took {longest:.0f} ms"


def etcd(guest):
    """A watch that misses nothing, and puts that are all there."""
    etcdctl = ["etcdctl", "--endpoints", f"http://127.0.0.1:{guest.port(2379)}", "--command-timeout", "30s"]
    guest.wait_until(lambda: succeeds(*etcdctl, "endpoint", "status"), "etcd does not answer")
    count, longest = 60, 0
    # From the first revision on, so that nothing depends on when the watch begins.
    watch = guest.client(*etcdctl, "watch", "--prefix", "key", "--rev", "1", stderr=subprocess.STDOUT)
    guest.wait_until(lambda: succeeds(*etcdctl, "put", "key", "first"), "etcd takes no put")
    ensure(read_lines(watch, 3) == ["PUT", "key", "first"], "the watch does not see the first put")
    for number in range(1, count + 1):
        if number == count // 3:
            guest.kill_primary()
        begin = time.monotonic()
        put = subprocess.run([*etcdctl, "put", f"key{number}", str(number)], text=True, capture_output=True)
        ensure(put.returncode == 0 and put.stdout == "OK\n", f"put {number} failed: {put.stderr}")
        longest = max(longest, time.monotonic() - begin)
    seen = read_lines(watch, 3 * count)
    expected = [line for number in range(1, count + 1) for line in ["PUT", f"key{number}", str(number)]]
    ensure(seen == expected, f"the watch saw {seen}")
    there = succeeds(*etcdctl, "get", "--prefix", "key", "--print-value-only").split()
    ensure(sorted(there) == sorted(["first", *map(str, range(1, count + 1))]), f"{len(there)} keys are there")
    return f"{count} puts, all there and all seen by one watch, the longest took {longest * 1000:.0f} ms"


def mosquitto(guest):
    """One publisher and one subscriber, each with one connection, and every message once in order."""
    where, count = ["-h", "127.0.0.1", "-p", str(guest.port(1883))], 600
    # With -d a client says what it sends and receives.
    probe = ["mosquitto_pub", *where, "-d", "-t", "probe", "-q", "1", "-m", "x"]
    guest.wait_until(lambda: succeeds(*probe), "mosquitto does not answer")
    options = [*where, "-d", "-q", "1", "-t", "news"]
    subscriber = guest.client("stdbuf", "-oL", "mosquitto_sub", *options, "-c", "-i", "sub", "-F", "got %p")
    heard = []

    def hear(until):
        while not heard or not until(heard[-1]):
            line = subscriber.stdout.readline()
            ensure(line, "the subscriber has ended")
            heard.append(line.rstrip("\n"))

    hear(lambda line: "Subscribed" in line)
    publisher = guest.client(
        "stdbuf", "-oL", "mosquitto_pub", *options, "-i", "pub", "-l", stdin=subprocess.PIPE
    )
    for number in range(count):
        if number == count // 3:
            hear(lambda line: line == f"got {number // 2}")
            guest.kill_primary()
        publisher.stdin.write(f"{number}\n")
        publisher.stdin.flush()
        time.sleep(0.01)
    publisher.stdin.close()
    told = lines_of(publisher)
    ensure(publisher.returncode == 0, f"the publisher ended with {publisher.returncode}")
    hear(lambda line: line == f"got {count - 1}")
    got = [int(line.split()[1]) for line in heard if line.startswith("got ")]
    ensure(got == list(range(count)), f"the subscriber got {len(got)} messages, not each of {count} once")
    connects = [sum("sending CONNECT" in line for line in lines) for lines in [told, heard]]
    ensure(connects == [1, 1], f"publisher and subscriber connected {connects} times")
    acknowledged = sum("received PUBACK" in line for line in told)
    ensure(acknowledged == count, f"{acknowledged} of {count} messages were acknowledged")
    return f"{count} messages of QoS 1, each received once and in order, one connection on either side"


def dnsmasq(guest):
    """Questions over UDP, and questions over one TCP connection, all with the right answer."""
    # dnsmasq closes a TCP connection after its hundredth question.
    udp, tcp, count, streamed = guest.port("udp:53"), guest.port(53), 200, 90
    ask = ["kdig", "@127.0.0.1", "-p", str(udp), "+short", "+time=1", "+retry=5"]
    guest.wait_until(lambda: succeeds(*ask, "shop.example") == "192.0.2.10\n", "dnsmasq does not answer")
    ensure(succeeds(*ask, "TXT", "shop.example") == '"open"\n', "the TXT record is not there")
    over_tcp = guest.client(
        *["stdbuf", "-oL", "dig", "@127.0.0.1", "-p", str(tcp), "+tcp", "+keepopen", "+short", "-f", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    answers, pauses = [], []
    for number in range(count):
        if number == count // 3:
            guest.kill_primary()
        if number < streamed:
            over_tcp.stdin.write(f"n{number}.shop.example A\n")
            over_tcp.stdin.flush()
        begin = time.monotonic()
        answers.append(succeeds(*ask, f"u{number}.shop.example").strip())
        pauses.append(time.monotonic() - begin)
    over_tcp.stdin.close()
    stream = lines_of(over_tcp)
    good = answers.count("192.0.2.10")
    ensure(good == len(answers), f"{good} of {len(answers)} questions over UDP were answered")
    ensure(stream == ["192.0.2.10"] * streamed, f"over TCP {len(stream)} of {streamed}: {stream[-3:]}")
    longest = f"the longest after {max(pauses) * 1000:.0f} ms"
    return f"{good} answers over UDP, {longest}, and {streamed} over one TCP connection"


def postgresql(guest):
    """pgbench without an error, and every transaction that it counts."""
    port, seconds = guest.port(5432), 20
    wait_for_postgres(port)
    filled = postgres(port, "pgbench", "-i", "-q", "-s", "1")
    ensure(filled.returncode == 0, f"pgbench does not fill its tables: {filled.stderr}")
    begin = time.monotonic()
    words = ["pgbench", "-h", "127.0.0.1", "-p", port, "-U", "bench", "-n", "-c", "4", "-T", seconds, "-l"]
    directory = guest.site.directory
    client = guest.client(*map(str, words), "bench", cwd=directory, stderr=subprocess.STDOUT)
    while time.monotonic() - begin < seconds / 3:
        guest.console.read(0.2)
    guest.kill_primary()
    output = "\n".join(lines_of(client))
    ensure(client.returncode == 0 and "error" not in output, f"pgbench: {output}")
    ensure("failed transactions: 0 " in output, f"pgbench: {output}")
    files = directory.glob("pgbench_log.*")
    logs = [line.split() for file in files for line in file.read_text().splitlines()]
    history = postgres(port, "psql", "-At", "-c", "select count(*) from pgbench_history").stdout.strip()
    ensure(history == str(len(logs)), f"{len(logs)} transactions by pgbench's log, {history} in the table")
    longest = max(int(line[2]) for line in logs) / 1000
    return f"{history} transactions on 4 connections, none failed, the longest took {longest:.0f} ms"


# What plays each recipe, the ports of the guest that are forwarded, and the guest's memory.
SERVICES = {
    "nginx": (nginx, [80], "256M"),
    "etcd": (etcd, [2379], "1G"),
    "mosquitto": (mosquitto, [1883], "256M"),
    "dnsmasq": (dnsmasq, [53, "udp:53"], "256M"),
    "postgresql": (postgresql, [5432], "1G"),
}


def play(name):
    """Runs one recipe; True if all held."""
    service, ports, memory = SERVICES[name]
    begin = time.monotonic()
    try:
        with Site(ports, prefix="lockstep-recipe-") as site:
            guest = Guest(site, name, memory)
            seen, word = service(guest), "ok  "
            ensure(guest.halves["backup"].poll() is None, "the survivor has ended")
    except Failed as failure:
        seen, word = str(failure), "FAIL"
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        traceback.print_exc()
        seen, word = f"the test itself broke: {error!r}", "FAIL"
    print(f"{word} {name}: {seen} ({time.monotonic() - begin:.0f} s)", flush=True)
    return word == "ok  "


def main():
    names = sys.argv[1:] or list(SERVICES)
    unknown = [name for name in names if name not in SERVICES]
    if unknown:
        raise SystemExit(f"there is no recipe {', '.join(unknown)}; there are {', '.join(SERVICES)}")
    tools = ["curl", "etcdctl", "mosquitto_pub", "dig", "kdig", "pgbench"]
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        raise SystemExit(f"these programs are missing: {', '.join(missing)}")
    if not LOCKSTEP.exists():
        raise SystemExit(f"{LOCKSTEP} is missing; build it with `cargo build --release`")
    results = [play(name) for name in names]
    print(f"{sum(results)} of {len(results)} recipes work through a failover", flush=True)
    sys.exit(not all(results))


main()
