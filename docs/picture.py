"""Draws docs/pipeline.svg: the way from a file or a socket to a table, on AWS and on one machine.

    python3 docs/picture.py           writes it
    python3 docs/picture.py --check   exit status 1 when it is not what this program draws

The picture is this file: PLACES, BOXES and ARROWS. Colours follow the reader's light or dark scheme,
and where that is not known, text still stands on a ground of its own.
"""

import pathlib
import sys
from html import escape

PATH = pathlib.Path(__file__).resolve().parent / "pipeline.svg"
WIDTH, HEIGHT = 1180, 560
LINE_HEIGHT = 17

# name: left, top, width, height, title
PLACES = {
    "server": (12, 12, 318, 322, "Your server"),
    "aws": (342, 12, 826, 322, "AWS: conf/aws/pipeline.yaml"),
    "local": (12, 350, 1156, 198, "The same on one machine: make pipeline"),
}

# name: left, top, width, height, kind, title, lines. Kinds: own (this project), other, store (S3).
BOXES = {
    "files": (28, 64, 132, 76, "other", "Files", ["CSV, logs,", "rotated or not"]),
    "apps": (28, 200, 132, 76, "other", "Applications", ["events, a socket,", "“ok N” is safe"]),
    "tailraced": (190, 104, 124, 132, "own", "tailraced", ["shapes, spool,", "retries,", "checkpoint:", "at least once"]),
    "kinesis": (358, 130, 122, 80, "other", "Kinesis", ["data streams:", "crimes, events"]),
    "firehose": (512, 130, 134, 80, "other", "Firehose", ["batches, retries,", "layout by day"]),
    "lambda": (512, 248, 134, 70, "own", "Lambda", ["bootstrap, in C:", "typed, flat JSON"]),
    "raw": (694, 48, 136, 58, "store", "S3: raw backup", ["as they came"]),
    "json": (694, 141, 136, 58, "store", "S3: JSON", ["…/crime_day=02/"]),
    "errors": (694, 248, 136, 58, "store", "S3: errors/", ["failed, and why"]),
    "glue": (862, 130, 136, 80, "own", "Glue", ["Spark job,", "same schema"]),
    "parquet": (862, 248, 136, 58, "store", "S3: Parquet", ["…/crime_day=02/"]),
    "athena": (1030, 237, 122, 80, "other", "Athena", ["SQL,", "the top 10"]),
    "l_in": (28, 404, 132, 92, "other", "The crime list", ["a file that grows;", "10,000 events,", "pushed"]),
    "l_tailraced": (190, 404, 124, 92, "own", "tailraced", ["the same"]),
    "l_kinesis": (358, 404, 122, 92, "other", "kinesalite", ["a Kinesis made", "by others"]),
    "l_firehose": (512, 404, 134, 92, "own", "delivery.py", ["for Firehose; runs", "the function from", "its zip"]),
    "l_s3": (694, 404, 136, 92, "store", "s3rver", ["an S3 made", "by others"]),
    "l_glue": (862, 404, 136, 92, "other", "DuckDB", ["JSON to Parquet"]),
    "l_athena": (1030, 404, 122, 92, "other", "DuckDB", ["the same query"]),
}

SWATCHES = [(978, 26, "own"), (1094, 26, "store")]

# Points of a line that ends in an arrow; "both": at its beginning, too.
ARROWS = [
    ([(160, 102), (175, 102), (175, 140), (190, 140)], ""),
    ([(160, 238), (175, 238), (175, 200), (190, 200)], ""),
    ([(314, 170), (358, 170)], ""),
    ([(480, 170), (512, 170)], ""),
    ([(579, 210), (579, 248)], "both"),
    ([(646, 150), (670, 150), (670, 77), (694, 77)], ""),
    ([(646, 170), (694, 170)], ""),
    ([(646, 190), (670, 190), (670, 277), (694, 277)], ""),
    ([(830, 170), (862, 170)], ""),
    ([(930, 210), (930, 248)], ""),
    ([(998, 277), (1030, 277)], ""),
    ([(160, 450), (190, 450)], ""),
    ([(314, 450), (358, 450)], ""),
    ([(480, 450), (512, 450)], ""),
    ([(646, 450), (694, 450)], ""),
    ([(830, 450), (862, 450)], "both"),
    ([(998, 450), (1030, 450)], ""),
]

NOTES = [
    (1080, 37, "end", "written here"),
    (1152, 37, "end", "in S3"),
    (28, 528, "start", "Every record is compared at the end. No account is needed, and nothing is left behind."),
]

DESCRIPTION = (
    "Files and applications, tailraced, Kinesis, Firehose with Lambda, S3, Glue, Athena;"
    " and below each what stands for it on one machine."
)

HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
    ' orient="auto-start-reverse"><path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>'
)

STYLE = """
  .ground { fill: #ffffff; }
  .place { fill: #f6f8fa; stroke: #d0d7de; }
  .own { fill: #ddf4ff; stroke: #0969da; }
  .other { fill: #ffffff; stroke: #6e7781; }
  .store { fill: #fff8e5; stroke: #9a6700; }
  .arrow { fill: none; stroke: #57606a; stroke-width: 1.6; }
  .head { fill: #57606a; }
  text { fill: #1f2328; font-size: 13px; }
  text { font-family: -apple-system, "Segoe UI", "DejaVu Sans", Helvetica, Arial, sans-serif; }
  .title { font-weight: 600; font-size: 15px; }
  .place-title, .quiet { fill: #57606a; }
  .place-title { font-weight: 600; font-size: 14px; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; }
    .place { fill: #161b22; stroke: #30363d; }
    .own { fill: #0c2d4d; stroke: #58a6ff; }
    .other { fill: #21262d; stroke: #8b949e; }
    .store { fill: #32280f; stroke: #d4a72c; }
    .arrow { stroke: #9ea7b3; }
    .head { fill: #9ea7b3; }
    text { fill: #e6edf3; }
    .place-title, .quiet { fill: #9ea7b3; }
  }
"""


def text(x, y, words, kind="", anchor="start"):
    kinds = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{kinds}>{escape(words)}</text>'


def place(left, top, width, height, title):
    yield f'<rect class="place" x="{left}" y="{top}" width="{width}" height="{height}" rx="10"/>'
    yield text(left + 16, top + 25, title, "place-title")


def box(left, top, width, height, kind, title, lines):
    yield f'<rect class="{kind}" x="{left}" y="{top}" width="{width}" height="{height}" rx="6" stroke-width="1.4"/>'
    middle = left + width / 2
    y = top + (height - (len(lines) + 1) * LINE_HEIGHT) / 2 + 13.5
    yield text(middle, y, title, "title", "middle")
    for n, words in enumerate(lines, 1):
        if words:
            yield text(middle, y + n * LINE_HEIGHT + 1, words, "quiet", "middle")


def arrow(points, kind):
    way = " L".join(f"{x} {y}" for x, y in points)
    start = ' marker-start="url(#head)"' if kind == "both" else ""
    yield f'<path class="arrow" d="M{way}" marker-end="url(#head)"{start}/>'


def draw():
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="t d">'
    yield '<title id="t">From a file or a socket to a table</title>'
    yield f'<desc id="d">{escape(DESCRIPTION)}</desc>'
    yield f"<style>{STYLE}</style>"
    yield HEAD
    yield f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>'
    for one in PLACES.values():
        yield from place(*one)
    for one in ARROWS:
        yield from arrow(*one)
    for one in BOXES.values():
        yield from box(*one)
    for x, y, kind in SWATCHES:
        yield f'<rect class="{kind}" x="{x}" y="{y}" width="14" height="14" rx="3"/>'
    for x, y, anchor, words in NOTES:
        yield text(x, y, words, "quiet", anchor)
    yield "</svg>"


def main():
    drawn = "\n".join(draw()) + "\n"
    if "--check" in sys.argv[1:]:
        return 0 if PATH.exists() and PATH.read_text() == drawn else 1
    PATH.write_text(drawn)
    return 0


if __name__ == "__main__":
    sys.exit(main())
