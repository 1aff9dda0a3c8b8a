"""golden.py noise.json OUT.h: the golden noise as C tables, for test-golden.c (which must build without a JSON library)."""
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    golden = json.load(file)
assert golden["version"] == 1, golden["version"]
lines = ["/* Made from proto/golden/noise.json by golden.py. */", "static const struct golden_normals golden_normals[] = {"]
for row in golden["normals"]:
    bits = ", ".join("0x" + b for b in row["bits"])
    n = 1048576 if "fnv1a64_1048576" in row else 4096
    lines.append(f"    {{0x{row['key']}u, 0x{row['counter']}u, {{{bits}}}, {n}, 0x{row[f'fnv1a64_{n}']}u}},")
lines += ["};", "static const struct golden_apply golden_apply[] = {"]
for row in golden["apply"]:
    fields = ", ".join(f"0x{row[name]}u" for name in ("x_t", "x_tn", "x0", "noise"))
    bits = ", ".join("0x" + b for b in row["x_t_bits"])
    level = "__builtin_inf()" if row["s"] == "inf" else repr(float(row["s"]))
    lines.append(f"    {{AMB_PROCESS_{row['process'].upper()}, {level}, {row['s_n']}, {int(row['flip'])}, "
                 f"{{{fields}}}, {{{bits}}}}},")
lines.append("};")
with open(sys.argv[2], "w", encoding="utf-8") as file:
    file.write("\n".join(lines) + "\n")
