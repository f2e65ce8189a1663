"""Private bus servers for tests: own port on loopback, own folder, stopped by process id."""
import os
import shutil
import signal
import socket
import subprocess
import time

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


def environment():
    """Without what would lead a command elsewhere."""
    return {k: v for k, v in os.environ.items() if k not in ("UTP_BUS", "UTP_STORE")}
