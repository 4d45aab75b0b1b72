#!/bin/sh
# Holds docs/tailrace.yaml.5 and conf/tailrace.yaml against the schema: each option must have its item
# in the section of its scope, with its type, its default, its bounds and whether it is live; and its
# line in the annotated example. The examples, the manual's own too, must be good configurations.
# Run from the root; $1 is the build directory, with libtailrace.a and tailrace in it.
set -eu

build=${1:-build}
manual=docs/tailrace.yaml.5
example=conf/tailrace.yaml
mkdir -p "$build/tests/tidy"
# shellcheck disable=SC2086 # flags are several words
${CC:-cc} -std=c11 -I. ${SAN:+-fsanitize=address,undefined} -o "$build/tests/tidy/print_options" \
    tests/tidy/print_options.c "$build/libtailrace.a" \
    $(pkg-config --libs yaml-0.1 jansson libcrypto libpcre2-8)

sed -n '/^\.Bd -literal/,/^\.Ed/p' "$manual" | grep -v '^\.' >"$build/tests/tidy/manual.yaml"
for config in conf/*.yaml "$build/tests/tidy/manual.yaml"; do
    "$build/tailrace" check "$config" >/dev/null
done

if command -v mandoc >/dev/null; then
    for page in docs/*.[158]; do
        mandoc -T lint -W warning "$page" || { echo "$page: mandoc complains" >&2; exit 1; }
    done
fi

"$build/tests/tidy/print_options" | awk -F '\t' -v manual="$manual" -v example="$example" '
# The manual: item[section, option] is the type that its .It line names; said[...] the last sentence.
BEGIN {
    section["global"] = "GLOBAL OPTIONS"
    section["stream"] = "STREAM OPTIONS"
    section["source"] = "SOURCE OPTIONS"
    section["field"] = "RECORD TEMPLATE"
    section["multiline"] = "MULTILINE"
    section["socket"] = "SOCKET OPTIONS"
    section["allow"] = "WHO MAY WRITE"
    while ((getline line < manual) > 0) {
        if (line ~ /^\.Sh /) {
            here = substr(line, 5)
            name = ""
        } else if (line ~ /^\.It Ic /) {
            type = line
            sub(/^\.It Ic [a-z_]+ : (Ar|Cm) /, "", type)
            gsub(/ |\\&/, "", type)
            name = line
            sub(/^\.It Ic /, "", name)
            sub(/ .*/, "", name)
            item[here, name] = type
            items++
        } else if (name != "") {
            gsub(/\\&/, "", line)
            if (line ~ /; (live|restart)\.$/)
                said[here, name] = line
        }
    }
    while ((getline line < example) > 0)
        whole = whole "\n" line
}
function wrong(text) {
    print manual ": " $1 " option " $2 ": " text
    failed = 1
}
{
    rows++
    s = section[$1]
    want = $4 ($5 != "" ? "; " $5 : "") "; " $6 "."
    if (!((s, $2) in item))
        wrong("is not there")
    else if (item[s, $2] != $3)
        wrong("has type " item[s, $2] ", in the schema it is " $3)
    else if (said[s, $2] != want)
        wrong("ends in \"" said[s, $2] "\", not in \"" want "\"")
    if (whole !~ ("(\n|[{, #])" $2 ": ?") )
        { print example ": lacks " $1 " option " $2; failed = 1 }
}
END {
    if (rows < 30 || items != rows) {
        print manual ": has " items " options, the schema " rows
        failed = 1
    }
    exit failed
}'
