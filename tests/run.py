"""make test: builds everything, runs everything, and counts.

    python run.py [--only WORD]

Three builds (gcc, gcc with ASan and UBSan, clang without a warning), then every test program of the
first two, the fuzz corpora, the simulation, tidy, the end-to-end tests, the cloud side, and two
campaigns: of rotations and kills, and of clients of sockets and kills (tests/torture). The last line is
the count.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PLAIN, SANITISED, CLANG = (ROOT / "build" / name for name in ("", "san", "clang"))
E2E_AT_ONCE = 4  # they mostly wait
SIM_SEEDS, SIM_SEEDS_SANITISED = 2000, 150
TORTURE_SECONDS, PUSH_SECONDS = 60, 40
PROGRAM_SECONDS_MAX, E2E_SECONDS_MAX, SETUP_SECONDS_MAX = 300, 900, 1200

# With either of the two pytest prints lists of any length, in full.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER")}

SANITISER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


FAILURE = re.compile(r"(?m)^(?:FAILED|ERROR) .*|^\[  FAILED  \] [^:\n]+$|^E   (?:  [-+] *)?[^ ].*|^==\d+==ERROR.*|.*runtime error:.*")


def short(output):
    """What failed and why first, a line each, then the end of it all: a log may be cut anywhere."""
    told = dict.fromkeys(line[:200] for line in FAILURE.findall(output))
    named = [line for line in told if not line.startswith("E ")]
    why = [line for line in told if line.startswith("E ")]
    end = "\n".join(line[:300] for line in output.splitlines())[-8000:]
    return "\n".join([*(f"     {line}" for line in (named + why)[:60]), end])


class Count:
    def __init__(self):
        self.passed = self.failed = 0

    def add(self, what, passed, failed, seconds, output=""):
        self.passed += passed
        self.failed += failed
        print(f"{'FAIL' if failed else 'ok  '} {what}: {passed} passed, {failed} failed ({seconds:.1f} s)", flush=True)
        if failed:
            print(short(output), flush=True)


def run(command, seconds, env=None):
    """Exit code, and everything it printed. A command that takes too long has failed."""
    started = time.monotonic()
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=ROOT,
            env={**ENVIRONMENT, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
        )
        code, output = done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as e:
        code, output = 124, (e.stdout or b"").decode(errors="replace") + f"\ntook more than {seconds} s"
    return code, output, time.monotonic() - started


def build(count, what, folder, *variables):
    command = ["make", "-s", f"-j{os.cpu_count()}", f"BUILD={folder.relative_to(ROOT)}", *variables, "programs-for-tests"]
    code, output, seconds = run(command, 1200)
    clean = code == 0 and "warning:" not in output
    count.add(f"build with {what}, no warning", int(clean), int(not clean), seconds, output)
    return code == 0


def counted(output, code, pattern_passed, pattern_failed):
    passed = sum(int(n) for n in re.findall(pattern_passed, output))
    failed = sum(int(n) for n in re.findall(pattern_failed, output))
    if code != 0 and failed == 0:
        failed = 1  # it crashed, or a sanitiser spoke, after its tests
    if passed + failed == 0:
        failed = 1  # a program that tests nothing is no test
    return passed, failed


def run_program(count, folder, program, arguments=(), env=None):
    code, output, seconds = run([program, *arguments], PROGRAM_SECONDS_MAX, env)
    passed, failed = counted(output, code, r"\[  PASSED  \] (\d+) test", r"\[  FAILED  \] (\d+) test")
    count.add(f"{folder.name or 'build'} {program.parent.name}/{program.name}", passed, failed, seconds, output)


def run_tests(count, folder, seeds, env=None):
    for source in sorted((ROOT / "tests").glob("unit/test_*.c")) + sorted((ROOT / "tests").glob("uv/test_*.c")):
        run_program(count, folder, folder / "tests" / source.parent.name / source.stem, env=env)
    for source in sorted((ROOT / "tests").glob("fuzz/fuzz_*.c")):
        corpus = ROOT / "tests/fuzz/corpus" / source.stem.removeprefix("fuzz_")
        code, output, seconds = run([folder / "tests/fuzz" / source.stem, corpus], PROGRAM_SECONDS_MAX, env)
        count.add(f"{folder.name or 'build'} replay {source.stem}", int(code == 0), int(code != 0), seconds, output)
    code, output, seconds = run([folder / "tests/sim/sim", 1, seeds], PROGRAM_SECONDS_MAX, env)
    passed, failed = counted(output, code, r"(?m)^(\d+) passed", r"(?m)^\d+ passed, (\d+) failed")
    count.add(f"{folder.name or 'build'} sim, {seeds} seeds", passed, failed, seconds, output)


def run_tidy(count):
    code, output, seconds = run([sys.executable, "tests/tidy/tidy.py", PLAIN], PROGRAM_SECONDS_MAX)
    passed, failed = counted(output, code, r"tidy: (\d+) passed", r"tidy: \d+ passed, (\d+) failed")
    count.add("tidy", passed, failed, seconds, output)


def run_e2e(count, what, folder, arguments=(), env=None):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(E2E_AT_ONCE),
               "tests/e2e", *arguments]
    code, output, seconds = run(command, E2E_SECONDS_MAX, {"TAILRACE_BUILD": str(folder), **(env or {})})
    passed, failed = counted(output, code, r"(\d+) passed", r"(\d+) (?:failed|errors?)\b")
    skipped = re.findall(r"SKIPPED.*", output)
    count.add(f"end to end, {what}", passed, failed, seconds, output)
    for line in skipped:
        print(f"     {line}")


def run_pipeline(count, folder):
    """From a file and a socket to SQL, with the function from the zips that AWS would get."""
    code, output, seconds = run(["make", "-s", f"BUILD={folder.relative_to(ROOT)}", "lambda"], PROGRAM_SECONDS_MAX)
    if code != 0:
        count.add("the function's zips", 0, 1, seconds, output)
        return
    command = [sys.executable, "-m", "pytest", "-q", "-c", "tests/pipeline/pytest.ini", "tests/pipeline"]
    code, output, seconds = run(command, PROGRAM_SECONDS_MAX, {"TAILRACE_BUILD": str(folder)})
    passed, failed = counted(output, code, r"(\d+) passed", r"(\d+) (?:failed|errors?)\b")
    count.add("pipeline: function, S3, Parquet, SQL", passed, failed, seconds, output)


def run_torture(count, folder):
    for program, name, seconds, what in (
        ("tail.py", "torture-tail", TORTURE_SECONDS, "rotations, kills and a bad endpoint"),
        ("push.py", "torture-socket", PUSH_SECONDS, "clients of sockets, kills and a bad endpoint"),
    ):
        command = [sys.executable, f"tests/torture/{program}", "--seconds", seconds]
        code, output, took = run(command, PROGRAM_SECONDS_MAX, {"TAILRACE_BUILD": str(folder)})
        passed, failed = counted(output, code, rf"{name}: .* (\d+) passed", rf"{name}: .* (\d+) failed")
        count.add(what, passed, failed, took, output)


def run_cloud(count):
    """Its own environment, because Spark is large; installed here and not by a plain setup."""
    code, output, seconds = run(["tests/setup.sh", "cloud"], SETUP_SECONDS_MAX)
    if code != 0:
        count.add("setup for the cloud side", 0, 1, seconds, output)
        return
    python = ROOT / "tests/.venv-cloud/bin/python"
    command = [python, "-m", "pytest", "-q", "-c", "tests/cloud/pytest.ini", "tests/cloud"]
    code, output, seconds = run(command, PROGRAM_SECONDS_MAX)
    passed, failed = counted(output, code, r"(\d+) passed", r"(\d+) (?:failed|errors?)\b")
    count.add("cloud side: template, emulated stack, Spark", passed, failed, seconds, output)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=["plain", "san", "clang", "tidy", "e2e", "pipeline", "torture", "cloud"])
    only = parser.parse_args().only
    count = Count()
    if only in (None, "plain", "tidy", "e2e", "pipeline", "torture") and build(count, "gcc", PLAIN):
        if only in (None, "plain"):
            run_tests(count, PLAIN, SIM_SEEDS)
        if only in (None, "tidy"):
            run_tidy(count)
        if only in (None, "e2e"):
            run_e2e(count, "the programs as shipped", PLAIN)
        if only in (None, "pipeline"):
            run_pipeline(count, PLAIN)
        if only in (None, "torture"):  # another seed each time, which it prints
            run_torture(count, PLAIN)
    if only in (None, "cloud"):
        run_cloud(count)
    if only in (None, "san") and build(count, "ASan and UBSan", SANITISED, "SAN=1"):
        run_tests(count, SANITISED, SIM_SEEDS_SANITISED, SANITISER_ENV)
        run_e2e(count, "with ASan and UBSan", SANITISED, env=SANITISER_ENV)
    if only in (None, "clang") and shutil.which("clang"):
        build(count, "clang", CLANG, "CC=clang")
    print(f"{count.passed} passed, {count.failed} failed")
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
