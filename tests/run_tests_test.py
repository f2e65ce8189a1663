"""./utp test itself: which tests a regex picks, and what it says about a wrong one."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("UTP_BUILD", ROOT / "build" / "release"))


class RunTests(unittest.TestCase):
    def run_tests(self, *args, programs=""):
        """Over a build of the named programs; those of the real one."""
        with tempfile.TemporaryDirectory(prefix="utp_run_tests_") as folder:
            (pathlib.Path(folder) / "tests.list").write_text(programs)
            (pathlib.Path(folder) / "bin").symlink_to(BUILD / "bin")
            return subprocess.run([sys.executable, ROOT / "tools" / "run_tests.py", "--build", folder, *args],
                                  capture_output=True, text=True, timeout=300)

    def test_ARegexThatIsNoneIsSaidSo(self):
        done = self.run_tests("(")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("'(' is no regular expression", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_TheNameOfAScriptPicksItsTests(self):
        listed = self.run_tests("--list", "run_tests_test").stdout.split()
        self.assertEqual(sorted(listed), sorted(f"RunTests.{name}" for name in dir(self) if name.startswith("test_")))

    def test_ExcludedTestsAreLeftOut(self):
        listed = self.run_tests("--list", "--exclude", "Excluded|Program", "run_tests_test").stdout.split()
        self.assertIn("RunTests.test_TheNameOfAScriptPicksItsTests", listed)
        self.assertNotIn("RunTests.test_ExcludedTestsAreLeftOut", listed)

    def test_TheNameOfAProgramPicksItsTests(self):
        if not (BUILD / "bin" / "cli_unit_test").exists():
            self.skipTest(f"{BUILD} has no cli_unit_test; name a build folder in UTP_BUILD")
        listed = self.run_tests("--list", "^cli_unit_test$", programs="cli_unit_test\n").stdout.split()
        self.assertIn("LiveView", " ".join(listed))

    def test_ContractsOfSeveralDriversAreShownAsATable(self):
        sys.path.insert(0, str(ROOT / "tools"))
        import run_tests
        lines = list(run_tests.contract_table([("A/BusContract.Works/A", "passed"), ("B/BusContract.Works/B", "skipped"), ("B/BusContract.Stops/B", "failed"),
                                               ("A/StoreContract.Works/A", "passed"), ("Other.Test", "passed")]))
        self.assertEqual([line.split() for line in lines], [["BusContract", "A", "B"], ["Works", "ok", "skipped"], ["Stops", "-", "FAILED"]])


if __name__ == "__main__":
    unittest.main()
