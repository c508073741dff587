"""Holds the includes of core/, server/ and client/ against the order of layers and rooms in cmake/EngramLayer.cmake. The linker cannot do this
alone: a header without code links with anything.

    include_check.py [ROOT]     prints each violation as FILE:LINE: TEXT and exits 1 if there is one; ROOT: the checkout (default: this one)

Rules:
  * a layer of core/ includes only itself and layers before it in ENGRAM_LAYER_ORDER, and only those that it links to (DEPS of its
    CMakeLists.txt, and theirs); what it names in DEPS it includes;
  * a room of server/ includes only itself, rooms before it in ENGRAM_ROOM_ORDER, core/, and those headers directly in server/ that
    themselves include no room;
  * core/ knows neither server/ nor the API (engram/); client/ knows neither core/ nor server/; nothing of them includes tests/ or bench/.
"""
import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]')
# What the files of a part may not include at all.
FORBIDDEN = {"core": ("server", "client", "engram", "tests", "bench"), "server": ("client", "tests", "bench"),
             "client": ("core", "server", "tests", "bench")}


def order(root: pathlib.Path, variable: str) -> list[str]:
    found = re.search(rf"set\({variable} ([^)]*)\)", (root / "cmake/EngramLayer.cmake").read_text())
    if found is None:
        sys.exit(f"cmake/EngramLayer.cmake sets no {variable}")
    return found.group(1).split()


def includes(path: pathlib.Path) -> list[tuple[int, pathlib.PurePosixPath]]:
    lines = path.read_text().splitlines()
    return [(number, pathlib.PurePosixPath(m.group(1))) for number, line in enumerate(lines, 1) if (m := INCLUDE.match(line))]


def sources(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in (".cc", ".h", ".cu"))


def linked(root: pathlib.Path, layer: str) -> list[str]:
    """The layers that `layer` names in DEPS."""
    text = (root / "core" / layer / "CMakeLists.txt").read_text()
    call = re.search(rf"engram_layer\({layer}\b([^)]*)\)", text)
    return re.findall(r"\bengram_(\w+)", call.group(1)) if call else []


class Check:
    def __init__(self, root: pathlib.Path):
        self.root, self.findings = root, []
        self.layers, self.rooms = order(root, "ENGRAM_LAYER_ORDER"), order(root, "ENGRAM_ROOM_ORDER")

    def say(self, path: pathlib.Path, line: int, text: str) -> None:
        self.findings.append(f"{path.relative_to(self.root)}:{line}: {text}")

    def reachable(self, layer: str) -> set[str]:
        direct = linked(self.root, layer)
        return set(direct).union(*(self.reachable(name) for name in direct if name != layer))

    def layer(self, name: str) -> None:
        allowed, used = self.reachable(name), set()
        for path in sources(self.root / "core" / name):
            for line, target in includes(path):
                if target.parts[0] != "core" or target.parts[1] == name:
                    continue
                other = target.parts[1]
                used.add(other)
                if other not in self.layers or self.layers.index(other) > self.layers.index(name):
                    self.say(path, line, f"core/{name} lies below core/{other}: it must not include {target}")
                elif other not in allowed:
                    self.say(path, line, f"core/{name} does not link to core/{other} (DEPS of its CMakeLists.txt)")
        for other in linked(self.root, name):
            if other not in used:
                self.say(self.root / "core" / name / "CMakeLists.txt", 1, f"links to core/{other}, which no file of core/{name} includes")

    def includes_no_room(self, header: pathlib.Path) -> bool:
        return header.is_file() and all(target.parts[0] != "server" or len(target.parts) < 3 for _, target in includes(header))

    def room(self, name: str) -> None:
        for path in sources(self.root / "server" / name):
            for line, target in includes(path):
                if target.parts[0] != "server":
                    continue
                if len(target.parts) < 3:
                    if not self.includes_no_room(self.root / target):
                        self.say(path, line, f"{target} stands above server/{name}: it includes rooms itself")
                elif (other := target.parts[1]) != name and (
                        other not in self.rooms or self.rooms.index(other) > self.rooms.index(name)):
                    self.say(path, line, f"server/{name} lies below server/{other}: it must not include {target}")

    def run(self) -> list[str]:
        for part, forbidden in FORBIDDEN.items():
            for path in sources(self.root / part):
                for line, target in includes(path):
                    if target.parts[0] in forbidden:
                        self.say(path, line, f"{part}/ must not include {target}")
        for part, names, check in (("core", self.layers, self.layer), ("server", self.rooms, self.room)):
            for folder in sorted(path for path in (self.root / part).iterdir() if path.is_dir()):
                if folder.name in names:
                    check(folder.name)
                elif sources(folder):
                    self.say(folder, 1, "has no place in cmake/EngramLayer.cmake's order")
        return self.findings


if __name__ == "__main__":
    found = Check(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)).run()
    print("\n".join(found) if found else "every include follows the order of layers and rooms")
    sys.exit(1 if found else 0)
