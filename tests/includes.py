"""The include rule: includes point left; uv.h stays in daemon/; clients see proto/ and base/ only.

Order: base < proto < shard < codec < noise < annotate < sampler < batch < daemon; noise and sampler never meet.
Prints each offence as file:line and exits with their number (at most 99).
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ORDER = ["base", "proto", "shard", "codec", "noise", "annotate", "sampler", "batch", "daemon"]
APART = {("noise", "sampler"), ("sampler", "noise")}
CLIENT = {"base", "proto", "clients"}
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def stage(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[1] if parts[0] == "lib" else parts[0]


def offences(path: pathlib.Path, text: str) -> list[str]:
    here, found = stage(path), []
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        name = match.group(2)
        there = name.split("/")[0]
        where = f"{path.relative_to(ROOT)}:{number}"
        if (name == "uv.h" or name.startswith("uv/")) and here != "daemon":
            found.append(f"{where}: {name} outside daemon/")
        if match.group(1) == "<" or there not in ORDER:
            continue
        if here == "clients" and there not in CLIENT:
            found.append(f"{where}: clients/ includes {name}, allowed: proto/ and base/")
        elif here in ORDER and ORDER.index(there) > ORDER.index(here):
            found.append(f"{where}: {here}/ includes {name}, which lies to its right")
        elif (here, there) in APART:
            found.append(f"{where}: {here}/ and {there}/ never include each other")
    return found


def check_rule() -> None:
    """The rule itself, on made lines: a checker that finds nothing must be shown to find something."""
    bad = {
        "lib/base/a.c": '#include "shard/catalog.h"',
        "lib/noise/a.c": '#include "sampler/state.h"',
        "lib/shard/a.c": "#include <uv.h>",
        "clients/c/a.c": '#include "batch/slab.h"',
    }
    good = {"lib/batch/a.c": '#include "noise/apply.h"', "daemon/a.c": "#include <uv.h>", "clients/c/a.c": '#include "proto/wire.h"'}
    assert all(offences(ROOT / name, text) for name, text in bad.items())
    assert not any(offences(ROOT / name, text) for name, text in good.items())


def main() -> int:
    check_rule()
    files = [p for top in ("lib", "proto", "daemon", "clients") for p in (ROOT / top).rglob("*.[ch]")]
    found = [line for path in sorted(files) for line in offences(path, path.read_text())]
    print("\n".join(found) if found else f"{len(files)} files follow the include rule")
    return min(len(found), 99)


if __name__ == "__main__":
    sys.exit(main())
