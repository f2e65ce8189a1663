"""The house rules hold, and the checker finds a breach of each."""
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import tidy  # noqa: E402


class Tidy(unittest.TestCase):
    def test_TreeHasNoFindings(self):
        self.assertEqual(tidy.check(ROOT), [])

    def test_FindsEachBreach(self):
        with tempfile.TemporaryDirectory() as folder:
            core = pathlib.Path(folder, "src/core")
            core.mkdir(parents=True)
            bus = pathlib.Path(folder, "src/bus")
            bus.mkdir(parents=True)
            (bus / "bus.h").write_text("#pragma once\n")
            (core / "bad.h").write_text('#include "bus/bus.h"\n// the coin' 'base way\n// an LM' 'DB file\n' + "x\n" * 600)
            (core / "key.cc").write_text('-----BEGIN ' 'PRIVATE KEY-----\n// /ho' 'me/someone\n')
            rules = {finding.split(": ")[1] for finding in tidy.check(folder)}
        self.assertEqual(rules, {"include", "venue", "technology", "length", "header", "secret", "path"})


if __name__ == "__main__":
    unittest.main()
