#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What no formatter checks: licence line, line ends, stubs, guards, words."""

import re

import tidy

SPDX = "SPDX-License-Identifier: LGPL-2.1-or-later"
C_FIRST = "/* %s */" % SPDX
HASH_FIRST = "# %s" % SPDX
MAN_FIRST = '.\\" %s' % SPDX
WIDTH = 80

# Comments that promise or stand in for something. Put together here, so that
# this file passes its own check.
STUB = re.compile(r"\b(%s)\b" % "|".join(["TO" + "DO", "FIX" + "ME",
                                          "XX" + "X", "T" + "BD"]))

# Names of the place where the code is written mean nothing to its readers.
WORKPLACE = re.compile("|".join([
    "far" + "m-", r"/?\." + "library", r"\bshared/" + "(?:design|hooks|"
    "reference|seed|tools)", r"(?<![\w.])/wo" + "rk/", r"\.\./sha" + "red/"]))


def first_line(path):
    """What the first line must be (after #!), or None if it is free."""
    if path.startswith("tests/fuzz/corpus/"):
        return None
    if tidy.is_c(path):
        return C_FIRST
    if path.endswith((".py", ".sh", ".bash", ".map", ".ini", ".supp",
                      ".service", ".socket")):
        return HASH_FIRST
    if path.rsplit("/", 1)[-1] in ("meson.build", "meson_options.txt"):
        return HASH_FIRST
    if path.startswith(".ci/"):
        return HASH_FIRST
    if re.search(r"\.[1-8]$", path):
        return MAN_FIRST
    return None


def check_first(path, text):
    want = first_line(path)
    lines = text.split("\n")
    if lines[0].startswith("#!"):
        lines.pop(0)
    # A map may use C's comments only.
    if path.endswith(".map"):
        want = C_FIRST
    if want and (not lines or lines[0] != want):
        yield "%s:1: the first line is not `%s`" % (path, want)
    if text.count("SPDX-" + "License-Identifier") > 1 and tidy.is_c(path):
        yield "%s: more than one licence line" % path
    if tidy.is_c(path) and "General Public " + "License" in text:
        yield "%s: licence text beside the SPDX line" % path


def check_lines(path, text):
    for i, line in enumerate(text.split("\n"), 1):
        if tidy.is_c(path) and len(line.expandtabs(8)) > WIDTH:
            yield "%s:%d: over %d columns" % (path, i, WIDTH)
        if line != line.rstrip() and not path.endswith(".md"):
            yield "%s:%d: white space at the end" % (path, i)
        if STUB.search(line):
            yield "%s:%d: a stub: %s" % (path, i, STUB.search(line).group(0))
        if WORKPLACE.search(line):
            yield "%s:%d: names a workplace: %s" % (
                path, i, WORKPLACE.search(line).group(0))
    if text and not text.endswith("\n"):
        yield "%s: no newline at the end" % path
    if text.endswith("\n\n"):
        yield "%s: empty lines at the end" % path


def check_header(path, text):
    public = path.startswith("include/")
    if not path.endswith(".h"):
        return
    if not public and "\n#pragma once\n" not in text:
        yield "%s: no #pragma once" % path
    if public and "#pragma once" in text:
        yield "%s: a public header has include guards, no pragma" % path


def check(root):
    for path in tidy.tracked(root):
        if path == "LICENSE" or path.startswith("tests/fuzz/corpus/"):
            continue
        text = tidy.read(root, path)
        if "\0" in text:
            continue
        yield from check_first(path, text)
        yield from check_lines(path, text)
        yield from check_header(path, text)


PLANTS = [
    tidy.Plant("core/base/planted.c", tidy.append("int x;\n"),
               "the first line is not"),
    tidy.Plant("tests/planted.py", tidy.append("#!/usr/bin/env python3\nx = 1\n"),
               "the first line is not"),
    tidy.Plant("core/base/meson.build", lambda t: "\n" + t,
               "the first line is not"),
    tidy.Plant("core/base/err.c", tidy.append("/* " + SPDX + " */\n"),
               "more than one licence line"),
    tidy.Plant("core/base/err.c",
               tidy.append("/* GNU Lesser General Public " + "License */\n"),
               "licence text"),
    tidy.Plant("core/base/err.c", tidy.append("\t" * 9 + "/* 345678 */\n"),
               "over 80 columns"),
    tidy.Plant("core/base/err.c", tidy.append("int x; \n"),
               "white space at the end"),
    tidy.Plant("core/base/err.c", tidy.append("/* TO" "DO: think */\n"),
               "a stub"),
    tidy.Plant("core/base/err.h", tidy.append("/* XX" "X */\n"), "a stub"),
    tidy.Plant("core/base/err.c", tidy.append("int x;"),
               "no newline at the end"),
    tidy.Plant("core/base/err.c", tidy.append("\n\n"),
               "empty lines at the end"),
    tidy.Plant("core/base/err.h", tidy.replace("#pragma once\n", ""),
               "no #pragma once"),
    tidy.Plant("PLANTED.md", tidy.append("see ../sha" "red/design.md\n"),
               "names a workplace"),
    tidy.Plant("PLANTED.md", tidy.append("the far" "m-thing\n"),
               "names a workplace"),
]

if __name__ == "__main__":
    tidy.main(check, PLANTS)
