"""What the annotation job found out, by what was done to the pictures: sigma_min by kind and strength of the flaw.

    python annotation_table.py ADDRESS SHARDS_FOLDER
"""

import json
import pathlib
import sys
import tarfile

import numpy

import ambientd

BANDS = {"clean": [(0, 1)], "blur": [(0.8, 1.3), (1.3, 1.9), (1.9, 2.6)], "noise": [(0.08, 0.17), (0.17, 0.26), (0.26, 0.36)]}


def flaws(folder):
    """{key: (kind, strength)} as make_images.py wrote it beside each picture."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith(".json"):
                    facts = json.load(archive.extractfile(member))
                    found[member.name[:-5]] = facts["flaw"], facts["strength"]
    return found


def main():
    address, folder = sys.argv[1:3]
    table = ambientd.Client(address).annotations()
    known = flaws(folder)
    done = table.state == 1
    print(f"  {'flaw':6}  {'strength':>14}  {'pictures':>8}   sigma_min: quartiles")
    for kind, bands in BANDS.items():
        for lo, hi in bands:
            rows = [i for i, key in enumerate(table.keys) if done[i] and known[key][0] == kind and lo <= known[key][1] < hi]
            values = table.sigma_min[rows]
            strength = "" if kind == "clean" else f"{lo:g} to {hi:g}"
            if len(rows):
                quartiles = "  ".join(f"{q:6.3f}" for q in numpy.quantile(values, [0.25, 0.5, 0.75]))
                print(f"  {kind:6}  {strength:>14}  {len(rows):8}   {quartiles}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
