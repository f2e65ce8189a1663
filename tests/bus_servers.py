"""Private bus and store servers for tests: own port on loopback, own folder, stopped by process id."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import on_demand  # noqa: E402

START_TIMEOUT_S = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """One process; start(), kill(), pause(), go_on(). `missing` says why it cannot be had here, None when it can."""
    name = ""

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None
        folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def missing(cls):
        return None if cls.program() else f"{cls.package} is not installed"

    @classmethod
    def program(cls):
        return shutil.which(cls.package) or shutil.which(cls.package, path="/usr/sbin:/usr/local/sbin")

    @property
    def url(self):
        return f"{self.name}://127.0.0.1:{self.port}"

    def start(self):
        with open(self.folder / "output", "ab") as output:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as s:
                    if self.answers(s):
                        return
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"{self.package} does not answer: {(self.folder / 'output').read_text(errors='replace')[-2000:]}")

    def seen_at(self, port):
        """Clients reach it through this port (a proxy); before start(). For servers that tell clients where they are."""

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)


class Redis(Server):
    name, package = "redis", "redis-server"
    sync = "always"

    def command(self):
        # Without rewrites: 7.0 that is killed while it begins one may refuse to start ("the truncated file is not the last file").
        return [self.program(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--appendonly", "yes",
                "--appendfsync", self.sync, "--auto-aof-rewrite-percentage", "0", "--save", "", "--daemonize", "no", "--loglevel", "warning"]

    def answers(self, s):
        s.sendall(b"PING\r\n")
        return s.recv(64).startswith(b"+PONG")


class Nats(Server):
    name, package = "nats", "nats-server"

    def command(self):
        return [self.program(), "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self.folder)]

    def answers(self, s):
        return s.recv(16).startswith(b"INFO")


class Kafka(Server):
    """One process that is broker and controller, from the jars that on_demand finds."""
    name, package = "kafka", "java"

    def __init__(self, folder):
        super().__init__(folder)
        self.controller, self.seen = free_port(), self.port

    @classmethod
    def missing(cls):
        if not cls.program():
            return "java is not installed (Debian: apt-get install default-jre-headless)"
        try:
            on_demand.kafka()
        except unittest.SkipTest as reason:
            return str(reason)
        return None

    def seen_at(self, port):
        self.seen = port

    def java(self, *main):
        log = self.folder / "log4j.properties"
        log.write_text("log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n"
                       "log4j.appender.out.layout=org.apache.log4j.PatternLayout\nlog4j.appender.out.layout.ConversionPattern=%d %p %c{1}: %m%n\n")
        return [self.program(), "-Xms64m", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-Dlog4j.configuration=file:{log}",
                "-cp", f"{on_demand.kafka()}/*", *main]

    def command(self):
        settings = self.folder / "server.properties"
        settings.write_text(f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{self.controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{self.seen}
log.dirs={self.folder}/data
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
auto.create.topics.enable=false
controlled.shutdown.enable=false
log.cleaner.dedupe.buffer.size=2097152
num.network.threads=1
num.io.threads=2
background.threads=2
""")
        if not (self.folder / "data" / "meta.properties").exists():
            subprocess.run(self.java("kafka.tools.StorageTool", "format", "-t", "dXRwLXRlc3RzLWthZmthAA", "-c", str(settings)), check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=START_TIMEOUT_S)
        return self.java("kafka.Kafka", str(settings))

    def answers(self, s):
        s.settimeout(5)
        s.sendall(bytes.fromhex("0000000a" "0012" "0000" "00000001" "ffff"))  # which versions of the protocol it knows
        return len(s.recv(4)) == 4


class Postgres(Server):
    """A cluster of its own. As root it runs as the user postgres, since the server refuses root."""
    name, package = "postgres", "postgres"

    @classmethod
    def missing(cls):
        return None if cls.program("initdb") else "the PostgreSQL server is not installed (Debian: apt-get install postgresql-15)"

    @classmethod
    def program(cls, name="postgres"):
        folders = [f"/usr/lib/postgresql/{version}/bin" for version in (15, 16, 17)]
        return next((p for p in (shutil.which(name, path=f) for f in folders) if p), None)

    @property
    def url(self):
        return f"postgres://utp@127.0.0.1:{self.port}/postgres"

    @staticmethod
    def as_user(words):
        """As an ordinary user; the server ends with the test, also with one that is killed."""
        user = ["--reuid", "postgres", "--regid", "postgres", "--init-groups"] if os.geteuid() == 0 else []
        return ["setpriv", "--pdeathsig", "QUIT", *user, *words]

    def command(self):
        data = self.folder / "data"
        if not data.exists():
            if os.geteuid() == 0:
                shutil.chown(self.folder, "postgres", "postgres")
                self.folder.parent.chmod(0o711)  # a way to its own folder for the other user
            subprocess.run(self.as_user([self.program("initdb"), "-D", str(data), "-U", "utp", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]),
                           check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=START_TIMEOUT_S)
        return self.as_user([self.program(), "-D", str(data), "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
                             "-c", f"unix_socket_directories={self.folder}"])

    def answers(self, s):
        return subprocess.run([self.program("pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)], stdout=subprocess.DEVNULL).returncode == 0

    def sql(self, text):
        """Rows as lists of texts."""
        done = subprocess.run([self.program("psql"), self.url, "-qAtX", "-F", "\t", "-c", text], capture_output=True, text=True, timeout=START_TIMEOUT_S)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return [line.split("\t") for line in done.stdout.splitlines()]

    def processes(self):
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return [int(child) for child in children.read().split()] + [pid]

    def signal_all(self, what):
        for pid in self.processes():
            try:
                os.kill(pid, what)
            except ProcessLookupError:
                pass

    def kill(self):
        """The death of all of its processes, as when its machine dies."""
        if self.process and self.process.poll() is None:
            pids = self.processes()
            self.signal_all(signal.SIGKILL)
            self.process.wait()
            deadline = time.monotonic() + START_TIMEOUT_S
            while any(self.alive(pid) for pid in pids):
                if time.monotonic() > deadline:
                    raise RuntimeError("the server's processes do not end")
                time.sleep(0.01)

    @staticmethod
    def alive(pid):
        try:
            return ") Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False

    def pause(self):
        self.signal_all(signal.SIGSTOP)

    def go_on(self):
        self.signal_all(signal.SIGCONT)


class Timescale(Postgres):
    """A schema for one test on the server that UTP_TEST_TIMESCALE_DSN names (a URL whose user may make extensions and schemas): others
    use it too, so that nobody stops it."""
    name = "timescale"
    dsn = os.environ.get("UTP_TEST_TIMESCALE_DSN", "")

    def __init__(self, folder):
        super().__init__(folder)
        self.schema = f"utp_{folder.parent.name.lower()}"

    @classmethod
    def missing(cls):
        if not cls.dsn:
            return "UTP_TEST_TIMESCALE_DSN names no server with TimescaleDB (a URL: postgres://user:password@host:port/database)"
        return super().missing()

    @property
    def url(self):
        return f"{self.dsn}{'&' if '?' in self.dsn else '?'}options=-csearch_path%3D{self.schema}%2Cpublic"

    def start(self):
        self.sql(f"SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS timescaledb; CREATE SCHEMA {self.schema}")

    def kill(self):
        self.sql(f"SET client_min_messages = error; DROP SCHEMA IF EXISTS {self.schema} CASCADE")


def environment():
    """Without what would lead a command elsewhere."""
    return {k: v for k, v in os.environ.items() if k not in ("UTP_BUS", "UTP_STORE")}
