#!/usr/bin/python3
"""Prints the layout of all public structs, and the value of all public numbers, as tests/unit/sdk_layout.h.

That file is frozen by hand: the test fails where a header no longer agrees with it. Run this, and keep what it
prints, only when the ABI changes on purpose, together with its number in plugin.h:

    sdk/check/layout.py > tests/unit/sdk_layout.h
"""

import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADERS = ("error types host options plugin template catalog filter cache cache_store change_stream statement_stats metrics alert_sink collector events jobs nodes commands loop replay http health").split()
HEAD = """/*
 * The layout of ABI {abi}, frozen. Printed by sdk/check/layout.py; what the macros check stands in
 * test_sdk_headers.c.
 */
/* clang-format off */
"""


def text_of(header):
    text = (ROOT / "sdk/include/howdah" / f"{header}.h").read_text()
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S).replace("\\\n", " ")


def members(body):
    """(name, type) of each member; "a, b" gives two."""
    for decl in re.split(r";\s*", re.sub(r"\s+", " ", body)):
        decl = decl.strip()
        if not decl:
            continue
        function = re.match(r"(.*?)\(\*(\w+)\)\s*(\(.*\))$", decl)
        if function:
            yield function[2], f"{function[1].strip()} (*){function[3]}"
            continue
        base = re.match(r"((?:const )?(?:struct )?\w+(?: const\b)?) ?(.*)$", decl)
        for declarator in base[2].split(","):
            one = re.match(r"\s*((?:\*|const\b| )*)(\w+)(\[.*\])?$", declarator)
            yield one[2], (base[1] + " " + one[1].strip()).strip() + (one[3] or "")


def structs(header):
    for found in re.finditer(r"struct (\w+) \{(.*?)\n\};", text_of(header), flags=re.S):
        yield found[1], list(members(found[2]))


def numbers(header):
    for found in re.finditer(r"#define (HD_\w+)[ \t]+([^\"\s{][^\"{\n]*)$", text_of(header), flags=re.M):
        if not re.search(r"__|INIT|HEAD|\.magic", found[0]):
            yield found[1]


def measure(lines):
    """Runs a C program that prints `lines`, each a pair of format and arguments."""
    body = "\n".join(f'printf("{form}\\n", {args});' if args else f'puts("{form}");' for form, args in lines)
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "layout.c"
        source.write_text(f"#include <howdah/howdah.h>\n#include <stdio.h>\nint main(void) {{{body}}}\n")
        program = str(source.with_suffix(""))
        subprocess.run(["cc", f"-I{ROOT}/sdk/include", str(source), "-o", program], check=True)
        return subprocess.run([program], check=True, capture_output=True, text=True).stdout


def main():
    lines = []
    for header in HEADERS:
        lines.append((f"\\n/* {header}.h */", ""))
        for name in numbers(header):
            lines.append((f"VALUE({name}, %lldLL)", f"(long long)({name})"))
        for name, fields in structs(header):
            lines.append((f"\\nSIZE({name}, %zu)", f"sizeof(struct {name})"))
            for field, kind in fields:
                lines.append((f"AT({name}, {field}, %zu, {kind})", f"offsetof(struct {name}, {field})"))
    abi = "%d.%d"
    sys.stdout.write(measure([(HEAD.format(abi=abi).replace("\n", "\\n"), "HD_ABI_MAJOR, HD_ABI_MINOR")] + lines))


if __name__ == "__main__":
    main()
