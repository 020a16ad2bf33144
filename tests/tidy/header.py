#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The public header is the manual, and the symbol map exports just that.

Every prototype has a comment of its own with `Since:`, or shares the one of
the prototype right above it. Every prototype is in the map and every symbol
of the map is in the header. tests/api calls every one of them.
"""

import os
import re

import tidy

HEADER = "include/guestlock.h"
HEADERS = [HEADER, "include/guestlock/manager.h", "include/guestlock/driver.h"]
MAP = "core/lib/libguestlock.map"
API_TEST = "tests/api/test_api.c"
API_TESTS = [API_TEST, "tests/api/test_api_manager.c"]

# A comment, a prototype, or an empty line; all else is skipped.
TOKEN = re.compile(
    r"(?P<comment>/\*.*?\*/)"
    r"|(?P<proto>^(?!typedef|static)[A-Za-z_][\w \t\n*]*?\b(?P<name>glk_\w+)"
    r"\s*\([^;{]*?\)\s*(?:__attribute__\s*\(\(.*?\)\)\s*)?;)"
    r"|(?P<blank>\n[ \t]*\n)"
    r"|(?P<directive>^#[^\n]*(?:\\\n[^\n]*)*)"
    r"|(?P<block>\{.*?\n\})", re.S | re.M)


def prototypes(text):
    """(name, comment that goes with it or None) of each, in order."""
    comment = None
    for match in TOKEN.finditer(text):
        if match.lastgroup == "comment" or match.group("comment"):
            comment = match.group("comment")
        elif match.group("proto"):
            yield match.group("name"), comment
        elif match.group("blank") or match.group("block"):
            comment = None


def exported(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    for name in re.findall(r"^\s*([\w*]+)\s*;", text, re.M):
        yield name


def check(root):
    names = []
    for header in HEADERS:
        for name, comment in prototypes(tidy.read(root, header)):
            names.append(name)
            if comment is None:
                yield "%s: %s() has no comment" % (header, name)
            elif "Since:" not in comment:
                yield "%s: %s() does not say since when" % (header, name)
    if len(set(names)) != len(names):
        yield "%s: a call is declared twice" % HEADER
    if len(names) < 10:
        yield "%s: only %d prototypes were understood" % (HEADER, len(names))

    calls = "".join(tidy.without_comments(tidy.read(root, path))
                    for path in API_TESTS if path in tidy.tracked(root))
    for name in names:
        if not re.search(r"\b%s\(" % name, calls):
            yield "%s: does not call %s()" % (API_TEST, name)

    if not os.path.exists(os.path.join(root, MAP)):
        yield "%s: is missing" % MAP
        return
    symbols = [s for s in exported(tidy.read(root, MAP)) if s != "*"]
    for name in names:
        if name not in symbols:
            yield "%s: %s is not exported" % (MAP, name)
    for name in symbols:
        if name not in names:
            yield "%s: %s is not in the header" % (MAP, name)
        if symbols.count(name) > 1:
            yield "%s: %s is exported twice" % (MAP, name)
    if "local:" not in tidy.read(root, MAP):
        yield "%s: does not hide the rest" % MAP


PLANTS = [
    tidy.Plant(HEADER, tidy.append("\nint glk_planted(void);\n"),
               "glk_planted() has no comment"),
    tidy.Plant(HEADER, tidy.append("\n/* Plants. */\nstruct glk_guest *\n"
                                   "glk_planted(int (*f)(int),\n\tint x);\n"),
               "glk_planted() does not say since when"),
    tidy.Plant(HEADER, tidy.append("\n/* Since: 0.1 */\nint glk_a(void);\n\n"
                                   "int glk_planted(void);\n"),
               "glk_planted() has no comment"),
    tidy.Plant(HEADERS[1], tidy.append("\nint glk_planted(void);\n"),
               "glk_planted() has no comment"),
    tidy.Plant(API_TEST, lambda t: t.replace("glk_version(", "/* gone */ ("),
               "does not call glk_version()"),
]


def map_plants(root):
    if not os.path.exists(os.path.join(root, MAP)):
        return []
    first = next(s for s in exported(tidy.read(root, MAP)) if s != "*")
    return [
        tidy.Plant(HEADER, tidy.append(
            "\n/* Since: 0.1 */\nint glk_planted(void);\n"),
            "glk_planted is not exported"),
        tidy.Plant(MAP, tidy.replace(first + ";", "glk_planted;"),
                   "glk_planted is not in the header"),
        tidy.Plant(MAP, tidy.replace(first + ";", ""),
                   "%s is not exported" % first),
        tidy.Plant(MAP, tidy.replace("local:", "global:"),
                   "does not hide the rest"),
    ]


if __name__ == "__main__":
    import sys
    tidy.main(check, PLANTS + map_plants(sys.argv[1]))
