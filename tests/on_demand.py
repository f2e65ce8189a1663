"""Packages that some tests use as independent peers, installed once into a cache folder. Where a registry cannot be
reached the test is skipped with the reason, never failed."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

INSTALL_TIMEOUT_S = 300


def _folder(kind, packages):
    name = hashlib.sha256(" ".join([kind, sys.version.split()[0], *packages]).encode()).hexdigest()[:16]
    root = os.environ.get("UTP_TEST_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "utp-tests"
    return pathlib.Path(root) / f"{kind}-{name}"


def _install(kind, packages, commands):
    """The folder with the packages; `commands(folder)` makes it, first under another name."""
    folder = _folder(kind, packages)
    done = folder / ".complete"
    if done.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        for command in commands(folder):
            result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
            if result.returncode != 0:
                raise RuntimeError((result.stderr or result.stdout).strip().splitlines()[-1:] or "no output")
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise unittest.SkipTest(f"{' '.join(packages)} cannot be installed ({kind}): {error}") from None
    done.touch()
    return folder


def python_with(*packages):
    """A Python program that has the packages ("name==version")."""
    def commands(folder):
        yield [sys.executable, "-m", "venv", str(folder)]
        yield [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    return str(_install("pypi", packages, commands) / "bin" / "python")


def node_with(*packages):
    """A folder whose node_modules has the packages ("name@version")."""
    if not shutil.which("npm"):
        raise unittest.SkipTest("npm is not here")
    return _install("npm", packages, lambda folder: [
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), *packages]])


POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>utp</groupId><artifactId>tests</artifactId><version>1</version>
  <dependencies>
{}
  </dependencies>
</project>
"""


def maven_with(*packages):
    """A folder with the jars of the packages ("group:artifact:version") and of all that they need to run."""
    if not shutil.which("mvn"):
        raise unittest.SkipTest("mvn is not here (Debian: apt-get install maven)")

    def commands(folder):
        lines = ["    <dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>".format(
            *package.split(":")) for package in packages]
        (folder / "pom.xml").write_text(POM.format("\n".join(lines)))
        yield ["mvn", "-q", "-B", "-f", str(folder / "pom.xml"), "dependency:copy-dependencies", "-DincludeScope=runtime",
               f"-DoutputDirectory={folder / 'jars'}"]
    return str(_install("maven", packages, commands) / "jars")


def kafka():
    """A broker's jars; its log goes where its log4j settings say."""
    return maven_with("org.apache.kafka:kafka_2.13:3.9.1", "org.slf4j:slf4j-reload4j:1.7.36")


def go_with(package):
    """A program built from a Go package ("module/path@version"); its name is the module's."""
    if not shutil.which("go"):
        raise unittest.SkipTest("go is not here")
    name = package.split("@")[0].split("/")[2]
    return str(_install("go", [package], lambda folder: [
        ["env", f"GOBIN={folder}", "GOFLAGS=-modcacherw", "go", "install", package]]) / name)


def nats_current():
    """A nats-server newer than the distribution's."""
    return go_with("github.com/nats-io/nats-server/v2@v2.15.2")


def built(name):
    """A program of the build that is being tested."""
    build = os.environ.get("UTP_BUILD", str(pathlib.Path(__file__).resolve().parent.parent / "build" / "release"))
    path = pathlib.Path(build) / "bin" / name
    if not path.exists():
        raise unittest.SkipTest(f"{path} is not built")
    return str(path)


if __name__ == "__main__":  # on_demand.py kafka: prints where it is, for tests that are not Python's; "nats" likewise
    try:
        print({"kafka": kafka, "nats": nats_current}[sys.argv[1]]())
    except unittest.SkipTest as reason:
        sys.exit(str(reason))
