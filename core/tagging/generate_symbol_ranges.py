"""Writes symbol_ranges.inc: the code points of general category P* or S* above ASCII, as inclusive ranges.

    python3 core/tagging/generate_symbol_ranges.py > core/tagging/symbol_ranges.inc
"""
import unicodedata

ranges = []
for code_point in range(0x80, 0x110000):
    if unicodedata.category(chr(code_point))[0] in "PS":
        if ranges and ranges[-1][1] == code_point - 1:
            ranges[-1][1] = code_point
        else:
            ranges.append([code_point, code_point])
print(f"// Unicode {unicodedata.unidata_version}; made by generate_symbol_ranges.py.")
line = ""
for first, last in ranges:
    item = f"{{0x{first:X}, 0x{last:X}}}, "
    if len(line) + len(item) > 119:
        print(line.rstrip())
        line = ""
    line += item
print(line.rstrip())
