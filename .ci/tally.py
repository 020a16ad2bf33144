#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Count what meson's test logs say, and let no skip go unexplained.

tally.py RUN TESTLOG.json SKIPS: prints `PASSED FAILED SKIPPED` on stdout, and
on stderr each test that did not pass. A test that was skipped counts as failed
unless SKIPS allows it, and so does one that has skipped some of its cases, of
which meson knows nothing: they are TEST:CASE in SKIPS. A log without any test
counts as one failure.
tally.py --self-test
"""

import fnmatch
import json
import os
import re
import subprocess
import sys
import tempfile


def allowed_skips(path):
    """[(pattern of the run, pattern of the test)]; each has a reason."""
    rules = []
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            if len(words) < 4:
                sys.exit("%s:%d: a rule is RUN TEST REASON..., and a reason "
                         "has at least two words" % (path, number))
            rules.append((words[0], words[1]))
    return rules


def may_skip(run, test, rules):
    return any(fnmatch.fnmatchcase(run, r) and fnmatch.fnmatchcase(test, t)
               for r, t in rules)


# As cmocka and unittest print them, the one at once and once more at the end.
# The second line of a case is its docstring's first.
CASE = re.compile(r"^\[  SKIPPED \] (\w+)$|"
                  r"^(\w+) \([^)]*\)(?:\n.*)? \.\.\. skipped", re.M)


def skipped_cases(result):
    text = "%s\n%s" % (result.get("stdout"), result.get("stderr"))
    return sorted({m[1] or m[2] for m in CASE.finditer(text.replace("\r", ""))})


def count_passed(run, name, result, rules):
    """(1, 0) or (0, 1): what an OK of meson's counts."""
    bad = 0
    for case in skipped_cases(result):
        allowed = may_skip(run, "%s:%s" % (name, case), rules)
        bad |= not allowed
        print("%s: %s: %s:%s" % ("skipped" if allowed else "FAILED, for a case "
                                 "was skipped and no rule allows that",
                                 run, name, case), file=sys.stderr)
    return (0, 1) if bad else (1, 0)


def count(run, log, rules):
    passed = failed = skipped = 0
    with open(log, encoding="utf-8") as f:
        results = [json.loads(line) for line in f if line.strip()]
    for r in results:
        name = r["name"].rsplit("/", 1)[-1].strip()
        if r["result"] in ("OK", "EXPECTEDFAIL"):
            p, f = count_passed(run, name, r, rules)
            passed += p
            failed += f
        elif r["result"] == "SKIP" and may_skip(run, name, rules):
            skipped += 1
            print("skipped: %s: %s" % (run, name), file=sys.stderr)
        elif r["result"] == "SKIP":
            failed += 1
            print("FAILED: %s: %s was skipped, and no rule allows that: %s" % (
                run, name, (r.get("stdout") or "").strip()[-200:]),
                file=sys.stderr)
        else:
            failed += 1
            print("FAILED: %s: %s: %s" % (run, name, r["result"]),
                  file=sys.stderr)
    if not results:
        failed += 1
        print("FAILED: %s: no test was run" % run, file=sys.stderr)
    return passed, failed, skipped


def self_test():
    def tally(results, rules):
        with tempfile.TemporaryDirectory() as folder:
            log = os.path.join(folder, "log")
            skips = os.path.join(folder, "skips")
            with open(log, "w") as f:
                for name, result, *said in results:
                    f.write(json.dumps({"name": "guestlock:unit / " + name,
                                        "result": result,
                                        "stdout": "".join(said)}) + "\n")
            with open(skips, "w") as f:
                f.write(rules)
            return subprocess.run(
                [sys.executable, __file__, "a-run", log, skips],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True).stdout.strip()

    assert tally([("a", "OK"), ("b", "OK")], "") == "2 0 0"
    assert tally([("a", "OK"), ("b", "FAIL"), ("c", "TIMEOUT"),
                  ("d", "INTERRUPT"), ("e", "UNEXPECTEDPASS"),
                  ("f", "ERROR")], "") == "1 5 0"
    assert tally([("a", "SKIP")], "") == "0 1 0"
    assert tally([("a", "SKIP")], "a-run a no such thing\n") == "0 0 1"
    assert tally([("a", "SKIP")], "other a no such thing\n") == "0 1 0"
    assert tally([("a", "SKIP")], "* b no such thing\n") == "0 1 0"
    assert tally([("a", "SKIP")], "# a-run a no such thing\n") == "0 1 0"
    assert tally([("a", "SKIP")], "a-run a because\n") == ""
    assert tally([], "") == "0 1 0"
    cmocka = "[ RUN      ] x\n[  SKIPPED ] x\n[  PASSED  ] 1 test(s).\n"
    python = ("test_x (__main__.Y.test_x) ... ok\n"
              "test_y (__main__.Y.test_y)\nIt is so. ... skipped 'why'\n")
    assert tally([("a", "OK", cmocka)], "") == "0 1 0"
    assert tally([("a", "OK", cmocka)], "* a no such thing\n") == "0 1 0"
    assert tally([("a", "OK", cmocka)], "* a:x no such thing\n") == "1 0 0"
    assert tally([("a", "OK", python)], "* a:x no such thing\n") == "0 1 0"
    assert tally([("a", "OK", python)], "* a:test_? no thing\n") == "1 0 0"


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    else:
        print("%d %d %d" % count(sys.argv[1], sys.argv[2],
                                 allowed_skips(sys.argv[3])))
