#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""No function over 70 lines, no file over 800; the rest is reported.

Functions are found by the tree's own style: a body opens with a brace in
column 0 and ends with one. Lines are counted from the function's name, as
ctags does.
"""

import re
import sys

import tidy

FUNCTION_MAX = 70
FILE_MAX = 800
PARAMETERS_MAX = 6

NAME = re.compile(r"([A-Za-z_]\w*)[ \t]*\(")


def functions(text):
    """(name, first line, number of lines, number of parameters) of each."""
    lines = tidy.without_comments(text).split("\n")
    start = None
    for i, line in enumerate(lines):
        if line.rstrip() == "{":
            start = i
        elif line.startswith("}") and start is not None:
            head = start
            while head > 0 and lines[head - 1].strip() and \
                    not lines[head - 1].startswith(("#", "}")) and \
                    not lines[head - 1].rstrip().endswith(";"):
                head -= 1
            signature = "\n".join(lines[head:start])
            name = NAME.search(signature)
            if name:
                at = head + signature[:name.start()].count("\n")
                yield (name.group(1), at + 1, i - at + 1,
                       parameters(signature[name.end():]))
            start = None


def parameters(rest):
    """How many stand before the parenthesis that closes @rest's list."""
    depth, commas, empty = 1, 0, True
    for c in rest:
        depth += (c == "(") - (c == ")")
        if depth == 0:
            break
        commas += c == "," and depth == 1
        empty = empty and c.isspace()
    return 0 if empty else commas + 1


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def is_product(path):
    return not path.startswith(("tests/", "bench/"))


def check(root):
    for path in filter(tidy.is_c, tidy.tracked(root)):
        text = tidy.read(root, path)
        n = text.count("\n")
        if n > FILE_MAX:
            yield "%s: %d lines, %d are too many" % (path, n, FILE_MAX + 1)
        for name, line, lines, params in functions(text):
            where = "%s:%d: %s()" % (path, line, name)
            if lines > FUNCTION_MAX:
                yield "%s has %d lines, %d are too many" % (
                    where, lines, FUNCTION_MAX + 1)
            if params > PARAMETERS_MAX:
                yield "%s has %d parameters, %d are too many" % (
                    where, params, PARAMETERS_MAX + 1)


def report(root):
    for title, wanted in (("product", is_product),
                          ("tests and bench",
                           lambda p: not is_product(p))):
        sizes, files = [], []
        for path in tidy.tracked(root):
            if path.endswith(".c") and wanted(path):
                text = tidy.read(root, path)
                files.append(text.count("\n"))
                sizes += [f[2] for f in functions(text)]
        if sizes:
            print("%s: %d files (median %d, p95 %d, most %d lines), "
                  "%d functions (median %d, p95 %d, most %d)" % (
                      title, len(files), percentile(files, .5),
                      percentile(files, .95), max(files), len(sizes),
                      percentile(sizes, .5), percentile(sizes, .95),
                      max(sizes)))


def body(lines):
    return "{\n" + "\tx++;\n" * lines + "}\n"


PLANTS = [
    tidy.Plant("core/base/planted.c",
               tidy.append("static int planted(int x)\n" + body(68)),
               "planted() has 71 lines"),
    tidy.Plant("core/base/planted.c",
               tidy.append("static struct planted *\nplanted_long(int x,\n"
                           "\t\tint (*f)(int, int))\n" + body(67)),
               "planted_long() has 71 lines"),
    tidy.Plant("core/base/planted.c",
               tidy.append("\n" * 801), "801 lines"),
    tidy.Plant("core/base/planted.c",
               tidy.append("int planted(int a, int b, int c, int d, int e,\n"
                           "\t    int (*f)(int, int), int g)\n" + body(1)),
               "planted() has 7 parameters"),
]

if __name__ == "__main__":
    if len(sys.argv) == 2:
        report(sys.argv[1])
    tidy.main(check, PLANTS)
