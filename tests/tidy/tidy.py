# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the checks of this folder share.

A check is a script with check(root), which yields one line for each problem,
and PLANTS, violations that it must catch. `NAME.py ROOT` runs the check;
`NAME.py ROOT --self-test` plants each violation in a copy of the tree and
fails unless the check reports it, and reports it only because of the plant.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile


def tracked(root):
    """Every file of the project, as sorted paths from its root.

    New files that git does not ignore count, so that they are checked before
    they are committed. Without git (a tarball, the copies that the self-tests
    make) it is every file outside hidden and build folders.
    """
    try:
        out = subprocess.run(
            ["git", "-C", root, "ls-files", "-z", "--cached", "--others",
             "--exclude-standard"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        names = out.stdout.decode("utf-8", "surrogateescape").split("\0")
        if not os.path.exists(os.path.join(root, ".git")):
            names = []
    except (OSError, subprocess.CalledProcessError):
        names = []
    names = [n for n in names if n] or list(walk(root))
    return sorted(n for n in names if os.path.isfile(os.path.join(root, n)))


def walk(root):
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if f != ".git"
                      and not f.startswith("build") and f != "__pycache__"]
        for name in files:
            yield os.path.relpath(os.path.join(folder, name), root)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8",
              errors="surrogateescape") as f:
        return f.read()


def is_c(path):
    return path.endswith((".c", ".h"))


def without_comments(text):
    """Comments and the insides of literals become blanks; lines stay."""
    pattern = re.compile(
        r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)

    def blank(match):
        s = match.group(0)
        if s[0] in "\"'":
            return s[0] + " " * (len(s) - 2) + s[-1]
        return re.sub(r"[^\n]", " ", s)

    return pattern.sub(blank, text)


class Plant:
    """One violation: what @edit makes of @path must be reported with @expect.

    @edit gets the file's text ("" if there is no such file).
    """

    def __init__(self, path, edit, expect):
        self.path, self.edit, self.expect = path, edit, expect


def append(text):
    return lambda old: old + text


def replace(old, new):
    def edit(text):
        if old not in text:
            sys.exit("self-test: %r is not there to be replaced" % old)
        return text.replace(old, new, 1)
    return edit


def copy_tree(root, target):
    for path in tracked(root):
        to = os.path.join(target, path)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copyfile(os.path.join(root, path), to)


def self_test(root, check, plants):
    failed = 0
    with tempfile.TemporaryDirectory(prefix="glk-tidy.") as target:
        copy_tree(root, target)
        before = set(check(target))
        for plant in plants:
            name = os.path.join(target, plant.path)
            old = read(target, plant.path) if os.path.exists(name) else None
            os.makedirs(os.path.dirname(name), exist_ok=True)
            with open(name, "w", encoding="utf-8",
                      errors="surrogateescape") as f:
                f.write(plant.edit(old or ""))
            new = [p for p in check(target) if p not in before]
            if not any(plant.expect in p for p in new):
                failed += 1
                print("not caught in %s: %s" % (plant.path, plant.expect))
            if old is None:
                os.unlink(name)
            else:
                with open(name, "w", encoding="utf-8",
                          errors="surrogateescape") as f:
                    f.write(old)
        if set(check(target)) != before:
            failed += 1
            print("the copy is not as it was")
    print("%d of %d plants caught" % (len(plants) - failed, len(plants)))
    return 1 if failed or not plants else 0


def main(check, plants):
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: %s ROOT [--self-test]" % sys.argv[0])
    root = os.path.abspath(sys.argv[1])
    if sys.argv[2:] == ["--self-test"]:
        sys.exit(self_test(root, check, plants))
    problems = list(check(root))
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)
