"""make tidy: the walls and the house style, judged by a program.

    python3 tests/tidy/tidy.py BUILD

Each check prints the places that break it. Function and file lengths are reported, not judged.
"""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLUMNS_MAX = 100
# Long tables and literal text read better in one piece.
BANNED = re.compile(
    r"\b(strcpy|strcat|sprintf|vsprintf|strtok|gets|alloca|strncpy|atoi|atol|system|popen|tmpnam"
    r"|localtime|gmtime|ctime|asctime)\s*\("
)
# Words that promise work nobody has done.
LEFT_OVER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
# What lib/ may ask of the C library: memory, strings, sorting, formatting into memory.
PURE = set(
    "malloc calloc realloc free memcpy memmove memset memcmp memchr memrchr memmem strlen strnlen strcmp"
    " strncmp strcasecmp strncasecmp strchr strrchr strstr strcspn strspn strdup strndup snprintf"
    " vsnprintf qsort bsearch strtoul strtoull abort __assert_fail __stack_chk_fail __memcpy_chk"
    " __memmove_chk __memset_chk __snprintf_chk __vsnprintf_chk __cpu_model __cpu_indicator_init"
    " _GLOBAL_OFFSET_TABLE_ __isoc99_sscanf explicit_bzero bcmp fnmatch".split()
)
PURE_PREFIXES = ("yaml_", "pcre2_", "EVP_", "HMAC", "OPENSSL_", "SHA256", "CRYPTO_", "OSSL_", "__asan_", "__ubsan_")


def sources(*folders):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".c", ".h"):
                yield path


def relative(path):
    return path.relative_to(ROOT).as_posix()


def check_wall(build):
    """lib/ thinks: its undefined symbols are on the list of what only computes."""
    out = subprocess.run(["nm", "-u", str(build / "libtailrace.a")], capture_output=True, text=True, check=True)
    defined = subprocess.run(
        ["nm", "--defined-only", str(build / "libtailrace.a")], capture_output=True, text=True, check=True
    )
    own = {line.split()[-1] for line in defined.stdout.splitlines() if len(line.split()) == 3}
    for line in out.stdout.splitlines():
        name = line.split()[-1] if " U " in line else None
        if name and name not in own and name not in PURE and not name.startswith(PURE_PREFIXES):
            yield f"lib/ uses {name}"


def read_floors():
    rank = {}
    for number, line in enumerate((ROOT / "tests/tidy/floors.txt").read_text().splitlines()):
        if not line.startswith("#"):
            for name in line.split():
                rank[name] = number
    return rank


def check_floors(_build):
    """A file includes only what stands above it, and lib/ never includes daemon/."""
    rank = read_floors()
    for path in sources("lib", "daemon"):
        name = relative(path)
        if path.suffix == ".h" and name not in rank:
            yield f"{name}: not in tests/tidy/floors.txt"
        own = rank.get(name) if path.suffix == ".h" else None
        for included in re.findall(r'^#include "([^"]+)"', path.read_text(), re.M):
            if not included.startswith(("lib/", "daemon/")):
                yield f"{name}: includes {included}, not written from the root"
            elif name.startswith("lib/") and included.startswith("daemon/"):
                yield f"{name}: includes {included}"
            elif own is not None and rank.get(included, 1000) >= own:
                yield f"{name}: includes {included}, which does not stand above it"
    for name in rank:
        if not (ROOT / name).exists():
            yield f"tests/tidy/floors.txt: {name} does not exist"


def check_headers_alone(_build):
    """Every header compiles alone."""
    flags = subprocess.run(
        ["pkg-config", "--cflags", "libuv", "libcurl", "jansson", "yaml-0.1"], capture_output=True, text=True
    ).stdout.split()
    for path in sources("lib", "daemon"):
        if path.suffix == ".h":
            command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-I.", *flags, "-fsyntax-only", "-x", "c", relative(path)]
            if subprocess.run(command, cwd=ROOT, capture_output=True).returncode != 0:
                yield f"{relative(path)}: does not compile alone"


def without_comments(text):
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


def check_words(_build):
    """No banned calls, no left-overs, no tabs, no long lines, every header opens with its manual."""
    for path in sources("lib", "daemon", "tests"):
        if "node_modules" in path.parts or any(p.startswith(".venv") for p in path.parts):
            continue
        text = path.read_text()
        for number, line in enumerate(without_comments(text).splitlines(), 1):
            if m := BANNED.search(line):
                yield f"{relative(path)}:{number}: {m.group(1)} is banned"
        for number, line in enumerate(text.splitlines(), 1):
            if LEFT_OVER.search(line):
                yield f"{relative(path)}:{number}: a left-over"
            if "\t" in line or len(line) > COLUMNS_MAX or line != line.rstrip():
                yield f"{relative(path)}:{number}: tab, blank at the end, or over {COLUMNS_MAX} columns"
        if path.suffix == ".h" and not text.startswith(f"/* {path.name} - "):
            yield f"{relative(path)}: a header opens with /* {path.name} - what it is"


def check_manual(build):
    """Every option of the schema is in the manual and in the annotated example."""
    yield from script("tests/tidy/check_manual.sh", build)


def check_unit(build):
    """systemd accepts the unit."""
    yield from script("tests/tidy/check_unit.sh", build)


def script(name, build):
    done = subprocess.run(["sh", name, str(build)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        yield from (done.stdout + done.stderr).splitlines() or [f"{name}: failed"]


def known_tests():
    """The names of all tests: of Python's functions, and of the functions that cmocka calls."""
    for pattern, definition in (
        ("e2e/test_*.py", r"^def (test_\w+)\("),
        ("unit/test_*.c", r"^static void (\w+)\(void \*\*"),
        ("uv/test_*.c", r"^static void (\w+)\(void \*\*"),
    ):
        for path in (ROOT / "tests").glob(pattern):
            yield from re.findall(definition, path.read_text(), re.M)


def check_tailing(_build):
    """Every test, program and target that docs/tailing.md points to exists."""
    tests, targets = set(known_tests()), (ROOT / "Makefile").read_text()
    for number, line in enumerate((ROOT / "docs/tailing.md").read_text().splitlines(), 1):
        if not line.startswith("|") or "`" not in line:
            continue
        for name in re.findall(r"`([^`]+)`", line.rstrip(" |").rpartition(" | ")[2]):
            target = name.removeprefix("make ")
            if target != name:
                exists = re.search(rf"^{re.escape(target)}:", targets, re.M)
            else:
                exists = (ROOT / name).exists() if "/" in name else name in tests
            if not exists:
                yield f"docs/tailing.md:{number}: {name} does not exist"


def check_picture(_build):
    """docs/pipeline.svg is what docs/picture.py draws."""
    command = [sys.executable, "docs/picture.py", "--check"]
    if subprocess.run(command, cwd=ROOT, capture_output=True).returncode != 0:
        yield "docs/pipeline.svg: another picture; `make picture` draws it anew"


def check_top(_build):
    """The top level holds the rooms of the house and nothing else."""
    allowed = {"daemon", "lib", "conf", "systemd", "tests", "docs", "Makefile", "README.md", "LICENSE", "build"}
    for path in ROOT.iterdir():
        if path.name not in allowed and not path.name.startswith(".") and path.name != "compile_commands.json":
            yield f"{path.name}: does not belong at the top"


def report_lengths():
    lengths = []
    for path in sources("lib", "daemon"):
        lines = path.read_text().splitlines()
        start = None
        for number, line in enumerate(lines):
            if line == "{":
                start = number
            elif line == "}" and start is not None:
                lengths.append((number - start + 1, f"{relative(path)}:{start + 1}"))
                start = None
    lengths.sort(reverse=True)
    ordered = sorted(n for n, _ in lengths)
    print(f"     {len(lengths)} functions, median {ordered[len(ordered) // 2]} lines; the longest:")
    for n, place in lengths[:3]:
        print(f"     {n:4} {place}")


def main():
    build = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build").absolute()
    os.chdir(ROOT)
    checks = [v for k, v in globals().items() if k.startswith("check_")]
    failed = 0
    for check in checks:
        problems = list(check(build))
        print(f"{'FAIL' if problems else 'ok  '} {check.__doc__.strip()}")
        for problem in problems[:40]:
            print(f"     {problem}")
        failed += bool(problems)
    report_lengths()
    print(f"tidy: {len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
