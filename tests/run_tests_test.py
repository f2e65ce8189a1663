"""./utp test itself: which tests a regex picks, and what it says about a wrong one."""
import os
import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("UTP_BUILD", ROOT / "build" / "release"))


class RunTests(unittest.TestCase):
    def run_tests(self, *args):
        return subprocess.run([sys.executable, ROOT / "tools" / "run_tests.py", "--build", BUILD, *args],
                              capture_output=True, text=True, timeout=300)

    def test_ARegexThatIsNoneIsSaidSo(self):
        done = self.run_tests("(")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("'(' is no regular expression", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_TheNameOfAScriptPicksItsTests(self):
        if not (BUILD / "tests.list").exists():
            self.skipTest(f"{BUILD} is no build folder; name one in UTP_BUILD")
        listed = self.run_tests("--list", "run_tests_test").stdout.split()
        self.assertEqual(sorted(listed), sorted(f"RunTests.{name}" for name in dir(self) if name.startswith("test_")))


if __name__ == "__main__":
    unittest.main()
