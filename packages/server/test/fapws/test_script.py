"""Errors of a failing start script, and the environment of a working one."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

RUN = "import sys; from fapws.paceline_script import run_script; run_script(sys.argv[1])"
# Replaces the instance, so that nothing is served.
PRETEND = "from paceline import instance; instance.serve = lambda application: print('served')\n"


def run(script, before="", **files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {"start.py": script, **{f"{name}.py": text for name, text in files.items()}}.items():
            Path(folder, name).write_text(text)
        command = [sys.executable, "-c", before + RUN, os.path.join(folder, "start.py")]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=30)
        return done.stdout.replace(folder, "FOLDER"), done.stderr.replace(folder, "FOLDER").strip().split("\n")[-1]


class Scripts(unittest.TestCase):
    def test_what_is_said_of_one_that_does_not_start(self):
        for script, why in (
            ("import fapws._evwsgi as evwsgi\nevwsgi.start('0.0.0.0', '8080')\n", "ended without a call of _evwsgi.run()"),
            ("print 'hello'\n", "FOLDER/start.py, line 1: Missing parentheses"),
            ("print 'hello'\n", "if it is written for Python 2"),
            ("raise KeyError('db')\n", "failed before it served: KeyError: 'db'"),
            ("import sys\nsys.exit('no config')\n", "exited with 'no config' before it called _evwsgi.run()"),
            ("from fapws._evwsgi import wsgi_cb\nwsgi_cb(('/x', None))\n", "takes a pair of an address and a callback"),
            ("import fapws._evwsgi as evwsgi\nevwsgi.run()\n", "InstanceError: no supervisor started this process"),
        ):
            self.assertIn(why, run(script)[1])

    def test_what_it_finds(self):
        script = """
import sys, fapws._evwsgi as evwsgi, beside
sys.setcheckinterval(100000)
if __name__ == "__main__":
    evwsgi.run()
    print(sys.argv, beside.name)
"""
        output, _ = run(script, PRETEND, beside="name = 'a module beside it'\n")
        self.assertEqual(output, "served\n['FOLDER/start.py'] a module beside it\n")

    def test_its_own_end_after_it_has_served(self):
        for last, error in (("sys.exit(3)", ""), ("raise KeyError('late')", "KeyError: 'late'")):
            script = f"import sys, fapws._evwsgi as evwsgi\nevwsgi.run()\n{last}\n"
            self.assertEqual(run(script, PRETEND), ("served\n", error))

    def test_processes_of_multiprocessing_load_it_again_and_serve_nothing(self):
        script = """
import sys, multiprocessing, fapws._evwsgi as evwsgi
sys.setcheckinterval(100000)
def double(number):
    return number * 2
evwsgi.run()
if __name__ == '__main__':
    for method in ("spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(pool.map(double, [21]))
"""
        self.assertEqual(run(script, PRETEND)[0], "served\n[42]\n[42]\n")


if __name__ == "__main__":
    unittest.main()
