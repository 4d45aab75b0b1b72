"""A Lambda function's zip: bootstrap and mapping.yaml at its root.

    python3 package.py BOOTSTRAP MAPPING ZIP

The program goes in without its symbols. The same input gives the same bytes, whenever it is made, so
that a deployment sees a change only where there is one.
"""

import pathlib
import subprocess
import sys
import tempfile
import zipfile

DATE = (1980, 1, 1, 0, 0, 0)  # the oldest that a zip can hold


def add(archive, name, data, mode):
    entry = zipfile.ZipInfo(name, DATE)
    entry.create_system = 3  # Unix: the mode counts
    entry.external_attr = (0o100000 | mode) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data, compresslevel=9)


def main():
    program, mapping, path = map(pathlib.Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        stripped = pathlib.Path(folder) / "bootstrap"
        subprocess.run(["strip", "-o", stripped, program], check=True)
        data = stripped.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        add(archive, "bootstrap", data, 0o755)
        add(archive, "mapping.yaml", mapping.read_bytes(), 0o644)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {len(data) / 1e6:.1f} MB unpacked")


if __name__ == "__main__":
    main()
