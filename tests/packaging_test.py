"""The installed library: what an outside project gets from find_package(utp). UTP_BUILD names the build folder."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("UTP_BUILD", ROOT / "build" / "release"))

CMAKELISTS = """\
cmake_minimum_required(VERSION 3.25)
project(outside LANGUAGES C CXX)
find_package(utp 0.1 REQUIRED)
add_executable(outside main.cc)
target_link_libraries(outside PRIVATE utp::normalize)
file(GENERATE OUTPUT schemas_dir.txt CONTENT "${utp_SCHEMAS_DIR}")
"""

MAIN = """\
#include <cstdio>
#include <string>

#include "normalize/normalizer.h"
#include "schema/registry.h"

int main() {
  const auto registry = utp::Registry::builtin();
  if (!registry) return 1;
  utp::Normalizer normalizer({.source_id = "outside.us1", .realm = "test", .region = "here"});
  const auto route = normalizer.add_route(registry->by_event_type("trades/v2"));
  const utp::Plan& plan = normalizer.plan(route);
  utp::Row row(plan);
  row.set(*plan.column("price"), *utp::Decimal::parse("65083.670"));
  row.set(*plan.column("size"), *utp::Decimal::parse("0.00010000"));
  row.set(*plan.column("side"), std::string_view("buy"));
  utp::EventBatch batch;
  utp::Violation violation;
  const utp::EventHeader header{.symbol = "BTC-USD", .event_time = utp::Timestamp::from_seconds(1'700'000'000), .sequence = 7};
  if (!normalizer.normalize(route, header, row, utp::Timestamp::from_seconds(1'700'000'001), batch, violation)) return 2;
  const std::string_view envelope = batch.value(batch.entries()[0]);

  utp::EventReader reader(*registry);
  utp::Event event;
  if (!reader.read(envelope, event, violation)) return 3;
  std::string checksum(16, '0');
  utp::write_hex64(checksum.data(), utp::hash64(event.envelope.payload));
  std::printf("%s\\n%.*s\\n", checksum.c_str(), static_cast<int>(envelope.size()), envelope.data());

  row.set(*plan.column("size"), *utp::Decimal::parse("-1"));
  if (normalizer.normalize(route, header, row, header.event_time, batch, violation)) return 4;
  std::printf("%s %s\\n", violation.code.c_str(), violation.path.c_str());
}
"""


def cached(name):
    """A variable of the build's CMake cache, "" when it is not there."""
    found = re.search(rf"^{name}:[^=]*=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.M)
    return found.group(1) if found else ""


class Packaging(unittest.TestCase):
    def setUp(self):
        if not (BUILD / "CMakeCache.txt").exists():
            self.skipTest(f"{BUILD} is no build folder; name one in UTP_BUILD")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="utp_packaging_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def run_ok(self, *command):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout

    def test_an_outside_project_normalizes_with_the_installed_library(self):
        prefix, source, build = (self.folder / name for name in ("prefix", "source", "build"))
        self.run_ok("cmake", "--install", BUILD, "--prefix", prefix, "--component", "utp_dev")
        source.mkdir()
        (source / "CMakeLists.txt").write_text(CMAKELISTS)
        (source / "main.cc").write_text(MAIN)
        flags = f"-fsanitize={cached('UTP_SANITIZE')}" if cached("UTP_SANITIZE") else ""
        self.run_ok("cmake", "-S", source, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}",
                    f"-DCMAKE_CXX_COMPILER={cached('CMAKE_CXX_COMPILER')}", f"-DCMAKE_CXX_FLAGS={flags}",
                    "-DCMAKE_CXX_STANDARD=20")
        self.run_ok("cmake", "--build", build)
        checksum, envelope, refused = self.run_ok(build / "outside").splitlines()
        event = json.loads(envelope)
        self.assertEqual(event["checksum"], checksum)
        self.assertEqual(event["payload"], {"price": 65083.67, "size": 0.0001, "side": "buy"})
        self.assertTrue(envelope.endswith('"payload":{"price":65083.67,"size":0.0001,"side":"buy"}}'), envelope)
        self.assertEqual((event["source_id"], event["realm"], event["region"], event["symbol"], event["sequence"]),
                         ("outside.us1", "test", "here", "BTC-USD", 7))
        self.assertEqual(event["event_time"], "2023-11-14T22:13:20.000000000Z")
        self.assertEqual(refused, "minimum /payload/size")
        schemas = pathlib.Path((build / "schemas_dir.txt").read_text())
        self.assertTrue((schemas / "envelope" / "1.0.0.json").is_file(), schemas)
        self.assertTrue((schemas / "schemas.lock").is_file(), schemas)

    def test_the_program_in_the_documentation_builds_and_runs(self):
        prefix, source, build = (self.folder / name for name in ("prefix", "source", "build"))
        self.run_ok("cmake", "--install", BUILD, "--prefix", prefix, "--component", "utp_dev")
        source.mkdir()
        text = (ROOT / "docs" / "library.md").read_text()
        for file, language in (("CMakeLists.txt", "cmake"), ("main.cc", "cpp")):
            (source / file).write_text(re.search(rf"```{language}\n(.*?)```", text, re.S).group(1))
        flags = f"-fsanitize={cached('UTP_SANITIZE')}" if cached("UTP_SANITIZE") else ""
        self.run_ok("cmake", "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}",
                    f"-DCMAKE_CXX_COMPILER={cached('CMAKE_CXX_COMPILER')}", f"-DCMAKE_CXX_FLAGS={flags}")
        self.run_ok("cmake", "--build", build)
        event = json.loads(self.run_ok(build / "first"))
        self.assertEqual((event["symbol"], event["payload"]), ("BTC-USD", {"price": 65083.67, "size": 0.5}))

    def test_public_headers_do_not_show_what_the_library_is_built_with(self):
        prefix = self.folder / "prefix"
        self.run_ok("cmake", "--install", BUILD, "--prefix", prefix, "--component", "utp_dev")
        headers = list((prefix / "include" / "utp").rglob("*.h"))
        self.assertGreater(len(headers), 20)
        libraries = re.compile(r"#include\s*<(simdjson|re2|fmt|spdlog|yaml-cpp|xxhash|lmdb|sqlite3)")
        for header in headers:
            self.assertIsNone(libraries.search(header.read_text()), header)


if __name__ == "__main__":
    unittest.main()
