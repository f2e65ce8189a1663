"""A store server whose disk is really full, for its tables, its log or its temporary files: the persister waits, the bus keeps what
comes, and once there is room everything is stored, once. The disk is a small one in memory, in a mount namespace of its own."""
import errno
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bus_servers  # noqa: E402
from chamber_case import ChamberCase  # noqa: E402

DISK_MB = 96
LAG = 500  # messages that wait on the bus


class SmallDisk:
    """A file system of DISK_MB that only processes started with within() see; fill() and free() work from outside."""

    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.path = folder
        # Who is no superuser is one in a namespace of users of his own.
        users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", *users, "--mount", "sh", "-c",
                                         'mount -t tmpfs -o "size=$1m,mode=1777" tmpfs "$2" && echo ready && exec sleep 3600', "sh", str(DISK_MB), str(folder)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            why = self.process.communicate()[1].strip()
            raise unittest.SkipTest(f"no small disk can be made here (unshare --mount, mount -t tmpfs): {why}")
        self.seen = pathlib.Path(f"/proc/{self.process.pid}/root{folder}")

    def within(self, words):
        target = ["nsenter", "--target", str(self.process.pid), "--mount"]
        if os.geteuid() == 0:
            return [*target, *words]
        # As himself again: the server refuses a superuser.
        return [*target, "--user", "--preserve-credentials", "unshare", "--user", f"--map-user={os.getuid()}", f"--map-group={os.getgid()}", *words]

    def fill(self):
        with open(self.seen / "ballast", "wb", buffering=0) as ballast:
            size = 1 << 20
            while size:
                try:
                    ballast.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2

    def free(self):
        (self.seen / "ballast").unlink()

    def end(self):
        self.process.kill()
        self.process.communicate()


class SmallPostgres(bus_servers.Postgres):
    """`small`: what of it stands on the small disk: "data", "wal" or "temp"."""
    small = ""

    def __init__(self, folder):
        super().__init__(folder)
        self.disk, self.made = SmallDisk(folder / "small"), False

    def as_user(self, words):
        return self.disk.within(super().as_user(words))

    def command(self):
        data = self.disk.path / "data" if self.small == "data" else self.folder / "data"
        wal = self.disk.path / "wal" if self.small == "wal" else self.folder / "wal"
        if not self.made:
            if os.geteuid() == 0:
                bus_servers.shutil.chown(self.folder, "postgres", "postgres")
                self.folder.parent.chmod(0o711)
            subprocess.run(self.as_user([self.program("initdb"), "-D", str(data), "-X", str(wal), "-U", "utp", "-A", "trust", "-E", "UTF8", "--locale=C",
                                         "--no-sync", "--wal-segsize=1"]), check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=60)
            self.made = True
        # Segments of the log are made anew, so that a full disk is noticed soon.
        return self.as_user([self.program(), "-D", str(data), "-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "wal_recycle=off",
                             "-c", "max_wal_size=8MB", "-c", "min_wal_size=2MB", "-c", f"unix_socket_directories={self.folder}"])

    def kill(self):
        super().kill()
        self.disk.end()


class DataDisk(SmallPostgres):
    small = "data"


class WalDisk(SmallPostgres):
    small = "wal"


class TempDisk(SmallPostgres):
    small = "temp"


class FullDisk(ChamberCase):
    def start_server(self, kind):
        server = self.server(kind)
        self.write_chamber("embedded:bus", settings="{speed: 5}", more=f"store: {server.url}\n")
        return server

    def wait_for_lag(self, process, path, words):
        """Until the disk has refused something, which stands in this file, and events wait on the bus."""
        deadline = time.monotonic() + 60
        while words not in path.read_text(errors="replace"):
            self.assertIsNone(process.poll(), self.errors())
            self.assertLess(time.monotonic(), deadline, f"{path.name} has no {words}\n{self.errors()}")
            time.sleep(0.1)
        health = self.health(lambda h: h["lag"] > LAG, process)
        self.assertEqual(health["dlq"], 0)
        return health["stored"]

    def finish_now(self, process):
        process.send_signal(signal.SIGTERM)
        return self.finish(process)

    def check_goes_on(self, process, before):
        self.health(lambda h: h["stored"] > before + LAG, process)
        stored = self.check_all_stored(self.finish_now(process))
        self.assertGreater(stored, LAG)

    def stored(self):
        keys = set()
        for table, exploded in self.server_.sql("SELECT table_name, exploded FROM utp_tables"):
            row = ", row_no" if exploded == "t" else ""
            self.assertEqual(self.server_.sql(f'SELECT count(*) - count(DISTINCT (key{row})) FROM "{table}"')[0][0], "0", f"{table}: keys that stand twice")
            keys.update(key.replace("-", "") for key, in self.server_.sql(f'SELECT DISTINCT key FROM "{table}"'))
        return keys

    def test_NoRoomForTheTables(self):
        self.server_ = self.start_server(DataDisk)
        process = self.start(120)
        self.server_.disk.fill()
        before = self.wait_for_lag(process, self.folder / "chamber.err", "SQLSTATE 53100")
        self.server_.disk.free()
        self.check_goes_on(process, before)

    def test_NoRoomForTheLog(self):
        """The server ends itself, and may not come up again while there is no room."""
        self.server_ = self.start_server(WalDisk)
        process = self.start(120)
        self.server_.disk.fill()
        before = self.wait_for_lag(process, self.server_.folder / "output", "PANIC")
        self.server_.disk.free()
        deadline = time.monotonic() + 10
        while self.server_.process.poll() is None and time.monotonic() < deadline:
            try:
                self.server_.sql("SELECT 1")
                break
            except RuntimeError:
                time.sleep(0.1)
        if self.server_.process.poll() is not None:
            self.server_.start()
        self.check_goes_on(process, before)

    def test_NoRoomForTemporaryFiles(self):
        """Batches that go through a temporary table, as they do on each new connection."""
        self.server_ = self.start_server(TempDisk)
        self.utp("store", "migrate", "--chamber", "chamber.yaml")
        subprocess.run(self.server_.as_user(["mkdir", str(self.server_.disk.path / "temp")]), check=True)
        self.server_.sql(f"CREATE TABLESPACE small LOCATION '{self.server_.disk.path}/temp'")
        self.server_.sql("ALTER ROLE utp SET temp_tablespaces = small")
        self.server_.disk.fill()
        process = self.start_only(120)
        before = self.wait_for_lag(process, self.folder / "chamber.err", "SQLSTATE 53100")
        self.assertEqual(before, 0)
        self.server_.disk.free()
        self.check_goes_on(process, before)


if __name__ == "__main__":
    unittest.main()
