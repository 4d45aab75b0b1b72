#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/buf.h"
#include "lib/config.h"
#include "lib/yaml.h"

/* Failing the n-th allocation: the program's own malloc family stands before the C library's. With
 * a sanitizer, which brings its own, that test is left out. */
#if defined(__SANITIZE_ADDRESS__)
#define OWN_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OWN_MALLOC 0
#endif
#endif
#ifndef OWN_MALLOC
#define OWN_MALLOC 1
#endif

static long fail_at = -1; /* which allocation from now on fails; -1: none */
#if OWN_MALLOC
#define EXPORTED __attribute__((visibility("default")))
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);
static volatile long
    alive; /* blocks allocated and not freed; compilers think malloc touches no globals */

static bool fails(void)
{
    return fail_at >= 0 && fail_at-- == 0;
}

static void *counted(void *p, bool more)
{
    alive += p != NULL && more;
    return p;
}

EXPORTED void *malloc(size_t n)
{
    return fails() ? NULL : counted(__libc_malloc(n), true);
}

EXPORTED void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(n, size), true);
}

EXPORTED void *realloc(void *p, size_t n)
{
    return fails() ? NULL : counted(__libc_realloc(p, n), p == NULL);
}

EXPORTED void free(void *p)
{
    alive -= p != NULL;
    __libc_free(p);
}

/* Valgrind puts its own in place of ours. */
static void need_own_malloc(void)
{
    long before = alive;
    void *volatile p = malloc(1);
    bool ours = alive > before;
    free(p);
    if (!ours)
        skip();
}
#endif

static const char sample[] =
    "region: us-east-1\n"
    "endpoint: http://127.0.0.1:4567      # only for local parts\n"
    "state_dir: /var/lib/tailrace\n"
    "streams:\n"
    "  crimes:\n"
    "    kinesis: crimes                  # the data stream's name or ARN\n"
    "    linger: 100ms\n"
    "    buffer: 64MiB\n"
    "    in_flight: 4\n"
    "  weblogs:\n"
    "    kinesis: weblogs\n"
    "sources:\n"
    "  crimes-csv:\n"
    "    file: /srv/crimes/*.csv\n"
    "    stream: crimes\n"
    "    start_at: beginning\n"
    "    format: csv\n"
    "    key: \"{district}\"\n"
    "    record:\n"
    "      crime_time:  {from: cdatetime, parse: \"%m/%d/%y %H:%M\", print: \"%Y/%m/%d "
    "%H:%M:%S\"}\n"
    "      address:     {from: address}\n"
    "      district:    {from: district, type: int}\n"
    "      beat:        {from: beat, trim: true}\n"
    "      grid:        {from: grid, type: int}\n"
    "      description: {from: crimedescr}\n"
    "      crime_id:    {from: ucr_ncic_code, type: int}\n"
    "      latitude:    {from: latitude, type: double}\n"
    "      longitude:   {from: longitude, type: double}\n"
    "      location:\n"
    "        lat: {from: latitude, type: double}\n"
    "        lon: {from: longitude, type: double}\n"
    "      crime_year:  {from: cdatetime, parse: \"%m/%d/%y %H:%M\", print: \"%Y\"}\n"
    "      crime_month: {from: cdatetime, parse: \"%m/%d/%y %H:%M\", print: \"%m\"}\n"
    "      crime_day:   {from: cdatetime, parse: \"%m/%d/%y %H:%M\", print: \"%d\"}\n"
    "  access-log:\n"
    "    file: /var/log/nginx/access*.log\n"
    "    stream: weblogs\n"
    "    format: line\n";

#define HEAD   "region: us-east-1\nstreams: {a: {kinesis: a}}\n"
#define SOURCE HEAD "sources:\n  s:\n    file: /x\n    stream: a\n" /* 6 lines */
#define CSV    SOURCE "    format: csv\n"                           /* 7 lines */
#define FORMATS                                                                                    \
    "line, json, csv, regex, common_log, combined_log, apache_error, syslog, syslog_rfc5424, "     \
    "logfmt"

/* What was told, all lines of it. */
static struct buf told;
static unsigned lines;

static void hear(void *ctx, const char *line)
{
    assert_ptr_equal(ctx, &told);
    if (told.max == 0)
        buf_init(&told, 4 * MIB);
    buf_puts(&told, line);
    buf_putc(&told, '\n');
    lines++;
}

static int forget(void **state)
{
    (void)state;
    fail_at = -1;
    buf_release(&told);
    lines = 0;
    return 0;
}

static const char *heard(void)
{
    if (told.max == 0)
        buf_init(&told, 4 * MIB);
    return buf_cstr(&told);
}

static struct config *build_str(struct str text)
{
    forget(NULL);
    return config_build("f.yaml", text, hear, &told);
}

static struct config *build(const char *text)
{
    struct config *c = build_str(str_of(text));
    if (c == NULL)
        fail_msg("%s", heard());
    assert_int_equal(lines, 0);
    return c;
}

/* Exactly these lines, or, when words ends in "...", a start. */
static void assert_told(const char *text, const char *words)
{
    struct config *c = build_str(str_of(text));
    if (c != NULL)
        fail_msg("accepted, but expected: %s", words);
    size_t n = strlen(words);
    bool start = n > 3 && strcmp(words + n - 3, "...") == 0;
    if (start ? strncmp(heard(), words, n - 3) != 0 : strcmp(heard(), words) != 0)
        fail_msg("told:\n%s\nexpected:\n%s", heard(), words);
}

static void the_sample_works_as_written(void **state)
{
    (void)state;
    struct config *c = build(sample);
    assert_string_equal(c->region, "us-east-1");
    assert_string_equal(c->endpoint, "http://127.0.0.1:4567");
    assert_int_equal(c->streams_n, 2);
    assert_string_equal(c->streams[0].name, "crimes");
    assert_int_equal(c->streams[0].linger_ms, 100);
    assert_int_equal(c->streams[0].buffer_bytes, 64 * MIB);
    assert_int_equal(c->streams[0].in_flight, 4);
    assert_string_equal(c->streams[1].kinesis, "weblogs");
    assert_int_equal(c->sources_n, 2);
    const struct config_source *csv = &c->sources[0], *line = &c->sources[1];
    assert_string_equal(csv->name, "crimes-csv");
    assert_string_equal(csv->file, "/srv/crimes/*.csv");
    assert_int_equal(csv->stream, 0);
    assert_int_equal(csv->start_at, START_AT_BEGINNING);
    assert_int_equal(csv->shape.format, FORMAT_CSV);
    assert_string_equal(csv->shape.key, "{district}");
    assert_int_equal(csv->shape.fields_n, 13);
    static const char *const order[] = {"crime_time", "address",     "district",   "beat",
                                        "grid",       "description", "crime_id",   "latitude",
                                        "longitude",  "location",    "crime_year", "crime_month",
                                        "crime_day"};
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        assert_string_equal(csv->shape.fields[i].name, order[i]);
    assert_string_equal(csv->shape.fields[0].print, "%Y/%m/%d %H:%M:%S");
    assert_int_equal(csv->shape.fields[2].type, TYPE_INT);
    assert_true(csv->shape.fields[3].trim);
    assert_false(csv->shape.fields[2].trim);
    assert_int_equal(csv->shape.fields[9].kind, FIELD_OBJECT);
    assert_int_equal(csv->shape.fields[9].children_n, 2);
    assert_string_equal(csv->shape.fields[9].children[1].from, "longitude");
    assert_int_equal(line->stream, 1);
    assert_int_equal(line->start_at, START_AT_END);
    assert_int_equal(line->shape.format, FORMAT_LINE);
    config_free(c);
}

static void what_is_not_written_has_its_default(void **state)
{
    (void)state;
    struct config *c = build(SOURCE);
    assert_null(c->endpoint);
    assert_null(c->profile);
    assert_null(c->ca_bundle);
    assert_null(c->control);
    assert_string_equal(c->state_dir, "/var/lib/tailrace");
    assert_int_equal(c->log_level, LOG_INFO);
    assert_int_equal(c->stop_timeout_ms, 10000);
    assert_int_equal(c->dead_letter_max_bytes, 256 * MIB);
    assert_int_equal(c->connect_timeout_ms, 5000);
    assert_int_equal(c->request_timeout_ms, 30000);
    assert_int_equal(c->streams[0].linger_ms, 1000);
    assert_int_equal(c->streams[0].buffer_bytes, 64 * MIB);
    assert_int_equal(c->streams[0].in_flight, 4);
    const struct config_source *s = &c->sources[0];
    assert_int_equal(s->start_at, START_AT_END);
    assert_int_equal(s->shape.format, FORMAT_LINE);
    assert_int_equal(s->shape.delimiter, ',');
    assert_string_equal(s->shape.key, "random");
    assert_false(s->shape.bad_value_dead);
    assert_int_equal(s->shape.max_record, MIB);
    assert_int_equal(s->shape.columns_n, 0);
    assert_int_equal(s->shape.fields_n, 0);
    config_free(c);
    config_free(NULL);
}

static void all_errors_are_told_in_the_order_of_the_document(void **state)
{
    (void)state;
    assert_told(
        "sources:\n"
        "  s:\n"
        "    file: logs\n"
        "    stream: b\n"
        "    format: cvs\n"
        "streams:\n"
        "  a: {kinesis: a, linger: 5}\n"
        "log_level: loud\n",
        "f.yaml:1:1: region: is required and missing\n"
        "f.yaml:3:11: sources.s.file: \"logs\" is not an absolute path: it must start with /\n"
        "f.yaml:4:13: sources.s.stream: there is no stream \"b\" under streams; the nearest "
        "is a\n"
        "f.yaml:5:13: sources.s.format: \"cvs\" is not one of: " FORMATS "\n"
        "f.yaml:7:27: streams.a.linger: 5 has no unit: ms, s, m or h, like 100ms\n"
        "f.yaml:8:12: log_level: \"loud\" is not one of: error, warn, info, debug\n");
}

static void an_unknown_key_names_the_nearest_known_one(void **state)
{
    (void)state;
    assert_told(SOURCE "lgo_level: info\n",
                "f.yaml:7:1: lgo_level: unknown option; the nearest known one is log_level\n");
    assert_told(SOURCE "    fromat: csv\n",
                "f.yaml:7:5: sources.s.fromat: unknown option; the nearest known one is format\n");
    assert_told(SOURCE "    linger: 5s\n",
                "f.yaml:7:5: sources.s.linger: unknown here; this option belongs to a stream\n");
    assert_told(CSV "    record: {x: {from: a, tpye: int}}\n",
                "f.yaml:8:27: sources.s.record.x.tpye: unknown option; the nearest known one is "
                "type\n");
}

static void text_that_is_not_yaml_is_told_once(void **state)
{
    (void)state;
    assert_told("a: [\n", "f.yaml:2:1: ...");
    assert_int_equal(lines, 1);
    assert_told("region: a\nregion: b\n",
                "f.yaml:2:1: \"region\" is here a second time; first in line 1\n");
    assert_told("- a\n", "f.yaml:1:1: the configuration is a mapping of options, not a sequence\n");
    assert_told("hello\n",
                "f.yaml:1:1: the configuration is a mapping of options, not a single value\n");
    assert_told("", "f.yaml:1:1: region: is required and missing\n"
                    "f.yaml:1:1: streams: is required and missing\n"
                    "f.yaml:1:1: sources: is required and missing\n");
}

static void wrong_kinds_of_values_are_told(void **state)
{
    (void)state;
    assert_told(
        "region: [a]\nstreams: {a: {kinesis: a}}\nsources: {s: {file: /x, stream: a}}\n",
        "f.yaml:1:9: region: expected a value (text), not a sequence (quote text that starts "
        "with { or [)\n");
    assert_told("region:\nstreams: {a: {kinesis: a}}\nsources: {s: {file: /x, stream: a}}\n",
                "f.yaml:1:8: region: expected a value (text), not nothing\n");
    assert_told("region: ''\nstreams: {a: {kinesis: a}}\nsources: {s: {file: /x, stream: a}}\n",
                "f.yaml:1:9: region: the value is empty\n");
    assert_told(CSV "    key: {district}\n",
                "f.yaml:8:10: sources.s.key: expected a value (text), not a mapping...");
    assert_told("region: r\nstreams: [a]\nsources: 5\n",
                "f.yaml:2:10: streams: expected a mapping by name, not a sequence\n"
                "f.yaml:3:10: sources: expected a mapping by name, not a single value\n");
    assert_told("region: r\nstreams: {a: b}\nsources: {s: [c]}\n",
                "f.yaml:2:14: streams.a: expected a mapping, not a single value\n"
                "f.yaml:3:14: sources.s: expected a mapping, not a sequence\n");
    assert_told("region: r\nstreams: {}\nsources:\n",
                "f.yaml:2:10: streams: at least one is needed\n"
                "f.yaml:3:9: sources: expected a mapping by "
                "name, not nothing\n");
    assert_told("region: r\nstreams: {a: {}}\nsources: {s: {}}\n",
                "f.yaml:2:11: streams.a.kinesis: is required and missing\n"
                "f.yaml:3:11: sources.s.stream: is required and missing\n"
                "f.yaml:3:11: sources.s.file: is required and missing, or socket\n");
}

static void names_are_checked(void **state)
{
    (void)state;
    assert_told("region: r\nstreams: {a b: {kinesis: a}}\nsources: {'': {file: /x, stream: a b}}\n",
                "f.yaml:2:11: \"a b\" cannot be the name of a stream: 1 to 64 letters, digits and "
                "_.-\n"
                "f.yaml:3:11: \"\" cannot be the name of a source: 1 to 64 letters, digits and "
                "_.-\n");
    char text[512], name[66];
    memset(name, 'n', 65);
    name[65] = '\0';
    snprintf(text, sizeof text, HEAD "sources: {%s: {file: /x, stream: a}}\n", name + 1);
    config_free(build(text));
    snprintf(text, sizeof text, HEAD "sources: {%s: {file: /x, stream: a}}\n", name);
    assert_told(text, "f.yaml:3:11: ...");
}

static void a_hostile_document_cannot_forge_a_line(void **state)
{
    (void)state;
    assert_told(SOURCE "\"a\\nb\\e[31m\\u009b\\x7f\": 1\n",
                "f.yaml:7:1: a?b?[31m??: unknown option; the nearest known one is "
                "ca_bundle\n");
    assert_int_equal(lines, 1);
    forget(NULL);
    assert_null(config_build("a\nb", STR("region: r\n"), hear, &told));
    assert_int_equal(lines, 2);
    assert_true(strncmp(heard(), "a?b:1:1: ", 9) == 0);
    forget(NULL);
    assert_null(config_build("a\nb", STR("["), hear, &told));
    assert_int_equal(lines, 1);
    assert_true(strncmp(heard(), "a?b:2:1: ", 9) == 0);
}

static void a_stream_arn_is_in_the_region(void **state)
{
    (void)state;
#define ARN(region)                                                                                \
    "region: " region "\nstreams:\n  a:\n    kinesis: "                                            \
    "arn:aws:kinesis:eu-west-1:123456789012:stream/a\nsources: {s: {file: /x, stream: a}}\n"
    config_free(build(ARN("eu-west-1")));
    assert_told(
        ARN("eu-west-2"),
        "f.yaml:4:14: streams.a.kinesis: the ARN is in eu-west-1, but region is eu-west-2\n");
#undef ARN
}

static void csv_options_go_only_with_csv(void **state)
{
    (void)state;
    const char *rest = "    delimiter: ';'\n    columns: [a]\n    record: {x: {from: a}}\n";
    const char *refused = "f.yaml:8:5: sources.s.delimiter: goes only with format: csv\n"
                          "f.yaml:9:5: sources.s.columns: goes only with format: csv\n"
                          "f.yaml:10:5: sources.s.record: goes only with format: json, csv, regex, "
                          "logfmt, or one of the logs by name\n";
    char text[512];
    snprintf(text, sizeof text, SOURCE "    format: line\n%s", rest);
    assert_told(text, refused);
    snprintf(text, sizeof text, SOURCE "    format: scv\n%s", rest);
    assert_told(text, "f.yaml:7:13: sources.s.format: \"scv\" is not one of: " FORMATS "\n");
    snprintf(text, sizeof text, CSV "%s", strchr(rest, 'd') - 4);
    struct config *c = build(text);
    assert_int_equal(c->sources[0].shape.delimiter, ';');
    assert_int_equal(c->sources[0].shape.columns_n, 1);
    config_free(c);
}

static void every_format_has_its_options(void **state)
{
    (void)state;
    struct config *c = build(SOURCE "    format: regex\n    pattern: '(?<a>x+) (?<b>.*)'\n"
                                    "    on_no_match: drop\n    encoding: latin1\n"
                                    "    key: '{a}'\n    record: {n: {from: b, type: int}}\n"
                                    "    add: {path: '{@file.path}', n2: '{b}', note: ''}\n");
    const struct shape_spec *spec = &c->sources[0].shape;
    assert_int_equal(spec->format, FORMAT_REGEX);
    assert_string_equal(spec->pattern, "(?<a>x+) (?<b>.*)");
    assert_int_equal(spec->on_no_match, NO_MATCH_DROP);
    assert_int_equal(spec->encoding, ENCODING_LATIN1);
    assert_int_equal(spec->fields_n, 1);
    assert_int_equal(spec->add_n, 3);
    assert_string_equal(spec->add[1].name, "n2");
    assert_string_equal(spec->add[0].text, "{@file.path}");
    config_free(c);
    static const char *const names[] = {"common_log", "combined_log",   "apache_error",
                                        "syslog",     "syslog_rfc5424", "logfmt"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char text[512];
        snprintf(text, sizeof text,
                 SOURCE "    format: %s\n    on_no_match: dead_letter\n    encoding: utf-16be\n",
                 names[i]);
        c = build(text);
        assert_int_equal(c->sources[0].shape.format, FORMAT_COMMON_LOG + i);
        assert_int_equal(c->sources[0].shape.on_no_match, NO_MATCH_DEAD_LETTER);
        assert_int_equal(c->sources[0].shape.encoding, ENCODING_UTF16BE);
        config_free(c);
    }
}

static void options_of_another_format_are_refused(void **state)
{
    (void)state;
    assert_told(SOURCE "    pattern: x\n    on_no_match: raw\n    add: {a: b}\n",
                "f.yaml:7:5: sources.s.pattern: goes only with format: regex\n"
                "f.yaml:8:5: sources.s.on_no_match: goes only with format: regex, logfmt, or one "
                "of the logs by name\n"
                "f.yaml:9:5: sources.s.add: goes only with format: json, csv, regex, logfmt, or "
                "one of the logs by name\n");
    assert_told(SOURCE "    format: regex\n",
                "f.yaml:4:3: sources.s.pattern: is required with format: regex\n");
    assert_told(CSV "    encoding: utf-16le\n",
                "f.yaml:8:5: sources.s.encoding: csv is read as utf-8 or latin1 only\n");
    assert_told(CSV "    encoding: utf8\n", "f.yaml:8:15: sources.s.encoding: \"utf8\" is not one "
                                           "of: utf-8, latin1, utf-16le, utf-16be\n");
    assert_told(SOURCE "    format: regex\n    pattern: '(x'\n",
                "f.yaml:8:14: sources.s.pattern: at byte 2: missing closing parenthesis\n");
    assert_told(SOURCE "    format: regex\n    pattern: 'x'\n",
                "f.yaml:8:14: sources.s.pattern: has no named groups, like (?<host>\\S+)\n");
}

static void a_name_the_format_does_not_have_is_told_at_its_place(void **state)
{
    (void)state;
    assert_told(SOURCE "    format: syslog\n    key: '{host}'\n",
                "f.yaml:8:10: sources.s.key: there is no field 'host': there are timestamp, "
                "hostname, program, processid, message, pri\n");
    assert_told(SOURCE "    format: syslog\n    record: {x: {from: host}}\n",
                "f.yaml:8:13: sources.s.record: there is no field 'host': there are timestamp, "
                "hostname, program, processid, message, pri\n");
    assert_told(SOURCE "    format: syslog\n    add: {x: '{host}'}\n",
                "f.yaml:8:10: sources.s.add: x: there is no field 'host': there are timestamp, "
                "hostname, program, processid, message, pri\n");
}

static void what_is_added_is_checked_at_its_place(void **state)
{
    (void)state;
    assert_told(CSV "    add: [a]\n",
                "f.yaml:8:10: sources.s.add: expected a mapping of 1 to 32 names to text or "
                "fields\n");
    assert_told(CSV "    add: {}\n",
                "f.yaml:8:10: sources.s.add: expected a mapping of 1 to 32 names to text or "
                "fields\n");
    assert_told(CSV "    add: {x: {userId}, '': b, y: }\n",
                "f.yaml:8:14: sources.s.add.x: expected text, like \"{@file.path}\" in quotes, or "
                "a field, not a mapping\n"
                "f.yaml:8:24: sources.s.add.: a member needs a name\n"
                "f.yaml:8:34: sources.s.add.y: expected text, like \"{@file.path}\" in quotes, or "
                "a field, not nothing\n");
    assert_told(CSV "    add: {x: {from: '@no', parse: '%Y'}, y: {z: a}, w: {from: a, tpye: "
                    "int}}\n",
                "f.yaml:8:21: sources.s.add.x.from: there is no metadata \"@no\"; there are "
                "@file.path, @file.offset, @host, @peer.pid, @peer.uid, @peer.gid, "
                "@ec2.instance_id and @ec2.availability_zone\n"
                "f.yaml:8:28: sources.s.add.x.parse: needs print beside it\n"
                "f.yaml:8:49: sources.s.add.y.z: expected {from: column}, {const: value} or a "
                "mapping of fields, not a single value\n"
                "f.yaml:8:66: sources.s.add.w.tpye: unknown option; the nearest known one is "
                "type\n");
    assert_told(CSV "    record: {x: {from: a}}\n    add: {x: y}\n",
                "f.yaml:9:11: sources.s.add.x: record has this name too\n");
    assert_told(CSV "    add: {x: '{@ec2.id}'}\n",
                "f.yaml:8:10: sources.s.add: x: unknown metadata '@ec2.id': there are "
                "@file.path, @file.offset, @host, @peer.pid, @peer.uid, @peer.gid, "
                "@ec2.instance_id and @ec2.availability_zone\n");
}

static void how_bytes_are_cut_can_be_said(void **state)
{
    (void)state;
    struct config *c = build(SOURCE);
    const struct shape_spec *s = &c->sources[0].shape;
    assert_int_equal(s->on_oversize, OVERSIZE_TRUNCATE);
    assert_int_equal(s->skip_lines, 0);
    assert_int_equal(s->flush_after_ms, 0);
    assert_null(s->multiline.start);
    assert_null(s->multiline.continues);
    config_free(c);
    c = build(SOURCE "    on_oversize: split\n    skip_lines: 3\n    flush_partial_after: 1m\n"
                     "    multiline: {start: '\\d{4}-'}\n");
    s = &c->sources[0].shape;
    assert_int_equal(s->on_oversize, OVERSIZE_SPLIT);
    assert_int_equal(s->skip_lines, 3);
    assert_int_equal(s->flush_after_ms, 60000);
    assert_string_equal(s->multiline.start, "\\d{4}-");
    assert_null(s->multiline.continues);
    assert_int_equal(s->multiline.timeout_ms, 5000);
    assert_int_equal(s->multiline.max_lines, 500);
    config_free(c);
    c = build(SOURCE "    format: json\n    on_oversize: truncate\n"
                     "    multiline: {continue: '\\s', timeout: 100ms, max_lines: 1}\n");
    assert_string_equal(c->sources[0].shape.multiline.continues, "\\s");
    assert_int_equal(c->sources[0].shape.multiline.timeout_ms, 100);
    config_free(c);
}

static void what_cannot_be_cut_so_is_told(void **state)
{
    (void)state;
    assert_told(SOURCE "    multiline: {timeout: 1s}\n",
                "f.yaml:7:5: sources.s.multiline: needs start or continue\n");
    assert_told(SOURCE "    multiline: {start: a, continue: b}\n",
                "f.yaml:7:27: sources.s.multiline.continue: goes only without start\n");
    assert_told(SOURCE "    multiline: {start: 'a(b', max_lines: 0}\n",
                "f.yaml:7:24: sources.s.multiline.start: at byte 3: missing closing parenthesis\n"
                "f.yaml:7:42: sources.s.multiline.max_lines: 0 is out of bounds: 1 to 100000\n");
    assert_told(SOURCE "    multiline: a\n",
                "f.yaml:7:16: sources.s.multiline: expected a mapping, not a single value\n");
    assert_told(SOURCE "    multiline: {strat: a}\n",
                "f.yaml:7:5: sources.s.multiline: needs start or continue\n"
                "f.yaml:7:17: sources.s.multiline.strat: unknown option; the nearest known one is "
                "start\n");
    assert_told(SOURCE "    timeout: 5s\n",
                "f.yaml:7:5: sources.s.timeout: unknown here; this option belongs to multiline\n");
    assert_told(CSV "    multiline: {start: a}\n",
                "f.yaml:8:5: sources.s.multiline: goes not with format: csv, whose rows have ends "
                "of their own\n");
    assert_told(CSV "    on_oversize: split\n",
                "f.yaml:8:18: sources.s.on_oversize: split goes only with format: line\n");
    assert_told(SOURCE "    skip_lines: 1001\n",
                "f.yaml:7:17: sources.s.skip_lines: 1001 is out of bounds: 0 to 1000\n");
    assert_told(SOURCE "    flush_partial_after: 5ms\n",
                "f.yaml:7:26: sources.s.flush_partial_after: 5ms is out of bounds: 100ms to 1h\n");
}

static void what_json_becomes_can_be_said(void **state)
{
    (void)state;
    struct config *c = build(SOURCE "    format: json\n"
                                    "    flatten: '.'\n"
                                    "    split_arrays: true\n"
                                    "    add:\n"
                                    "      event_year: {from: timestamp, parse: '%Y', print: '%y', "
                                    "type: int}\n"
                                    "      from: {host: {from: '@host'}, n: {const: 1}}\n"
                                    "      uid: '{@peer.uid}'\n");
    const struct shape_spec *spec = &c->sources[0].shape;
    assert_string_equal(spec->flatten, ".");
    assert_true(spec->split_arrays);
    assert_int_equal(spec->add_n, 3);
    assert_null(spec->add[0].text);
    assert_int_equal(spec->add[0].field->type, TYPE_INT);
    assert_string_equal(spec->add[0].field->name, "event_year");
    assert_int_equal(spec->add[1].field->children_n, 2);
    assert_null(spec->add[2].field);
    config_free(c);
    c = build(SOURCE "    format: json\n    record: {ip: {from: eventContext.ip}}\n");
    assert_int_equal(c->sources[0].shape.fields[0].type, TYPE_ANY);
    assert_null(c->sources[0].shape.flatten);
    assert_false(c->sources[0].shape.split_arrays);
    config_free(c);
}

static void what_json_cannot_become_is_told(void **state)
{
    (void)state;
    assert_told(SOURCE "    flatten: '.'\n    split_arrays: false\n",
                "f.yaml:7:5: sources.s.flatten: goes only with format: json\n"
                "f.yaml:8:5: sources.s.split_arrays: goes only with format: json\n");
    assert_told(SOURCE "    format: json\n    flatten: ''\n",
                "f.yaml:8:14: sources.s.flatten: the value is empty\n");
    assert_told(SOURCE "    format: json\n    flatten: '.........'\n",
                "f.yaml:8:14: sources.s.flatten: 9 bytes are too long; at most 8 are allowed\n");
    assert_told(SOURCE "    format: json\n    flatten: _\n    record: {x: {from: a}}\n",
                "f.yaml:8:5: sources.s.flatten: goes not with record, whose template decides\n");
    assert_told(SOURCE "    format: json\n    split_arrays: true\n    encoding: latin1\n",
                "f.yaml:8:19: sources.s.split_arrays: goes only with encoding: utf-8\n");
    assert_told(SOURCE "    format: json\n    key: '{a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a."
                       "a.a.a.a.a.a.a.a.a.a.a}'\n",
                "f.yaml:8:10: sources.s.key: 'a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a."
                "a.a.a.a.a.a.a' has more than 32 names\n");
}

static void quotes_can_be_plain_characters(void **state)
{
    (void)state;
    struct config *c = build(CSV "    quote: none\n    delimiter: '|'\n    columns: [a, b]\n");
    assert_true(c->sources[0].shape.no_quotes);
    config_free(c);
    c = build(CSV "    quote: '\"'\n");
    assert_false(c->sources[0].shape.no_quotes);
    config_free(c);
    assert_told(CSV "    quote: \"'\"\n",
                "f.yaml:8:12: sources.s.quote: \"'\" is not one of: \", none\n");
    assert_told(SOURCE "    quote: none\n",
                "f.yaml:7:5: sources.s.quote: goes only with format: csv\n");
}

static void a_tab_can_be_the_delimiter(void **state)
{
    (void)state;
    struct config *c = build(CSV "    delimiter: \"\\t\"\n");
    assert_int_equal(c->sources[0].shape.delimiter, '\t');
    config_free(c);
    assert_told(CSV "    delimiter: '\\t'\n",
                "f.yaml:8:16: sources.s.delimiter: \"\\t\" is not one "
                "ASCII character...");
}

static void columns_are_unique_names(void **state)
{
    (void)state;
    struct config *c = build(CSV "    columns: [id, \"a b\", 5, null]\n");
    const struct shape_spec *spec = &c->sources[0].shape;
    assert_int_equal(spec->columns_n, 4);
    assert_string_equal(spec->columns[1], "a b");
    assert_string_equal(spec->columns[3], "null");
    config_free(c);
    assert_told(CSV "    columns: [a, b, a, '', [c]]\n",
                "f.yaml:8:21: sources.s.columns: \"a\" is here a second time\n"
                "f.yaml:8:24: sources.s.columns: entry 4 has no name\n"
                "f.yaml:8:28: sources.s.columns: entry 5 has no name\n");
    assert_told(CSV "    columns: []\n",
                "f.yaml:8:14: sources.s.columns: expected a sequence of 1 to 1024 names\n");
    assert_told(CSV "    columns: a\n", "f.yaml:8:14: ...");
    assert_told(CSV "    columns: {a: b}\n", "f.yaml:8:14: ...");
}

static void constants_keep_the_type_they_are_written_in(void **state)
{
    (void)state;
    static const struct {
        const char *written, *json;
    } rows[] = {
        {"5", "5"},
        {"-1.5", "-1.5"},
        {"1.5e300000", "1.5e300000"},
        {"123456789012345678901234567890", "123456789012345678901234567890"},
        {"true", "true"},
        {"FALSE", "false"},
        {"null", "null"},
        {"~", "null"},
        {"", "null"},
        {"'5'", "\"5\""},
        {"\"true\"", "\"true\""},
        {"''", "\"\""},
        {"007", "\"007\""},
        {"+5", "\"+5\""},
        {".5", "\".5\""},
        {"0x10", "\"0x10\""},
        {"yes", "\"yes\""},
        {"1_000", "\"1_000\""},
        {"a b", "\"a b\""},
        {"\"a\\\"b\\n\\u00e9\"", "\"a\\\"b\\n\xc3\xa9\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[256];
        snprintf(text, sizeof text, CSV "    record: {x: {const: %s}}\n", rows[i].written);
        struct config *c = build(text);
        assert_int_equal(c->sources[0].shape.fields[0].kind, FIELD_CONST);
        assert_string_equal(c->sources[0].shape.fields[0].constant, rows[i].json);
        config_free(c);
    }
}

static void a_nested_field_may_be_called_from_or_const(void **state)
{
    (void)state;
    struct config *c = build(CSV "    record:\n"
                                 "      trip:\n"
                                 "        from: {from: start_station}\n"
                                 "        to: {from: end_station}\n"
                                 "      const:\n"
                                 "        const: {const: 5}\n"
                                 "      from: {from: x}\n"
                                 "      none: {}\n");
    const struct shape_spec *spec = &c->sources[0].shape;
    assert_int_equal(spec->fields_n, 4);
    assert_int_equal(spec->fields[0].kind, FIELD_OBJECT);
    assert_string_equal(spec->fields[0].children[0].name, "from");
    assert_string_equal(spec->fields[0].children[0].from, "start_station");
    assert_int_equal(spec->fields[1].kind, FIELD_OBJECT);
    assert_int_equal(spec->fields[1].children[0].kind, FIELD_CONST);
    assert_int_equal(spec->fields[2].kind, FIELD_FROM);
    assert_int_equal(spec->fields[3].kind, FIELD_OBJECT);
    assert_int_equal(spec->fields[3].children_n, 0);
    config_free(c);
}

static void what_is_no_field_is_told_at_its_place(void **state)
{
    (void)state;
    assert_told(CSV "    record: [a]\n",
                "f.yaml:8:13: sources.s.record: expected a mapping, not a sequence\n");
    assert_told(CSV "    record: {}\n", "f.yaml:8:13: sources.s.record: has no fields\n");
    assert_told(CSV "    record:\n", "f.yaml:8:12: sources.s.record: expected a mapping, not "
                                     "nothing\n");
    assert_told(CSV "    record: {x: y}\n",
                "f.yaml:8:17: sources.s.record.x: expected {from: column}, {const: value} or a "
                "mapping of fields...");
    assert_told(
        CSV "    record: {x: {form: a}}\n",
        "f.yaml:8:24: sources.s.record.x.form: expected {from: column}, {const: value} or a "
        "mapping of fields; the nearest known option is from\n");
    assert_told(
        CSV "    record: {x: {type: int}}\n",
        "f.yaml:8:24: sources.s.record.x.type: expected {from: column}, {const: value} or a "
        "mapping of fields; as an option of a field, it needs from beside it\n");
    assert_told(CSV "    record: {x: {const: [1]}}\n",
                "f.yaml:8:25: sources.s.record.x.const: ...");
    assert_told(CSV "    record: {x: {const: 1, type: int}}\n",
                "f.yaml:8:25: sources.s.record.x.const: ...");
    assert_int_equal(lines, 2);
    assert_told(CSV "    record: {x: {from: [a]}}\n",
                "f.yaml:8:24: sources.s.record.x.from: expected the name of a column, not a "
                "sequence\n");
    assert_told(CSV "    record: {x: {from: a, const: 1}}\n",
                "f.yaml:8:27: sources.s.record.x.const: a constant stands alone...");
    assert_told(CSV "    record: {x: {from: }}\n",
                "f.yaml:8:24: sources.s.record.x.from: expected a "
                "value (text), not nothing\n");
    assert_told(CSV "    record: {'': {from: a}}\n",
                "f.yaml:8:14: sources.s.record.: a field needs a name\n");
}

static void parse_and_print_go_together(void **state)
{
    (void)state;
    assert_told(CSV
                "    record:\n      x: {from: a, parse: '%Y'}\n      y: {from: a, print: '%Y'}\n",
                "f.yaml:9:20: sources.s.record.x.parse: needs print beside it\n"
                "f.yaml:10:20: sources.s.record.y.print: needs parse beside it\n");
    assert_told(CSV "    record:\n      x: {from: a, parse: '%Y', print: '%q'}\n",
                "f.yaml:9:40: sources.s.record.x.print: ...");
}

static void a_key_template_is_checked_at_its_place(void **state)
{
    (void)state;
    config_free(build(CSV "    key: '{a}-{@host}'\n"));
    config_free(build(SOURCE "    key: hash\n"));
    config_free(build(SOURCE "    format: json\n    key: '{a.b}'\n"));
    assert_told(CSV "    key: '{a'\n    max_record: 1\n", "f.yaml:8:10: sources.s.key: '{'...");
    assert_int_equal(lines, 2);
    assert_told(SOURCE "    key: '{a}'\n", "f.yaml:7:10: sources.s.key: format line ...");
    assert_told(CSV "    key: '{@nope}'\n", "f.yaml:8:10: sources.s.key: ...");
    assert_int_equal(lines, 1);
}

/* A template of `depth` nested objects around one field. */
static void write_nested(struct buf *b, unsigned depth)
{
    buf_puts(b, CSV "    record: ");
    for (unsigned i = 0; i < depth; i++)
        buf_puts(b, "{x: ");
    buf_puts(b, "{y: {from: a}}");
    for (unsigned i = 0; i < depth; i++)
        buf_puts(b, "}");
    buf_puts(b, "\n");
}

static void templates_are_bounded(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, MIB);
    write_nested(&b, SHAPE_DEPTH_MAX - 1);
    config_free(build(buf_cstr(&b)));
    buf_reset(&b);
    write_nested(&b, SHAPE_DEPTH_MAX);
    assert_told(buf_cstr(&b), "f.yaml:8:45: sources.s.record.x.x.x.x.x.x.x.x: nested deeper than 8 "
                              "objects\n");
    buf_reset(&b);
    buf_puts(&b, CSV "    record:\n");
    for (int i = 0; i < SHAPE_FIELDS_MAX; i++)
        buf_printf(&b, "      f%d: {from: a}\n", i);
    config_free(build(buf_cstr(&b)));
    buf_puts(&b, "      more: {from: a}\n      and: {from: a}\n");
    assert_told(buf_cstr(&b),
                "f.yaml:521:7: sources.s.record.more: more than 512 fields in one record\n");
    buf_release(&b);
}

static void streams_and_sources_are_bounded(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, MIB);
    buf_puts(&b, "region: r\nsources: {s: {file: /x, stream: n0}}\nstreams:\n");
    for (int i = 0; i < CONFIG_STREAMS_MAX; i++)
        buf_printf(&b, "  n%d: {kinesis: a}\n", i);
    config_free(build(buf_cstr(&b)));
    buf_puts(&b, "  more: {kinesis: a}\n");
    assert_told(buf_cstr(&b), "f.yaml:4:3: streams: 257 are too many; at most 256\n");
    buf_release(&b);
}

static void the_complaints_told_are_bounded(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, MIB);
    buf_puts(&b, "region: r\nstreams: {a: {kinesis: a}}\nsources:\n");
    for (int i = 0; i < 600; i++)
        buf_printf(&b, "  s%d: {fil: /x, stream: a}\n", i);
    assert_null(build_str(buf_str(&b)));
    assert_int_equal(lines, 1001);
    assert_non_null(strstr(heard(), "\nand 200 more\n"));
    buf_release(&b);
}

static unsigned diff(const char *before, const char *after)
{
    struct config *a = build(before), *b = build(after);
    forget(NULL);
    unsigned restarts = config_diff(a, b, hear, &told);
    config_free(a);
    config_free(b);
    return restarts;
}

static void equal_configurations_have_no_difference(void **state)
{
    (void)state;
    assert_int_equal(diff(sample, sample), 0);
    assert_int_equal(lines, 0);
    assert_int_equal(diff(SOURCE, SOURCE "log_level: info\nstop_timeout: 10000ms\n"), 0);
    assert_string_equal(heard(), "");
    assert_int_equal(diff("region: r\nstreams: {a: {kinesis: a}, b: {kinesis: b}}\n"
                          "sources: {s: {file: /x, stream: a}, t: {file: /y, stream: b}}\n",
                          "region: r\nstreams: {b: {kinesis: b}, a: {kinesis: a}}\n"
                          "sources: {t: {file: /y, stream: b}, s: {file: /x, stream: a}}\n"),
                     0);
    assert_string_equal(heard(), "");
}

static void the_control_socket_is_a_path_or_off(void **state)
{
    (void)state;
    struct config *c = build(SOURCE "control: off\n");
    assert_string_equal(c->control, "off");
    config_free(c);
    c = build(SOURCE "control: /run/tailrace/control.sock\n");
    assert_string_equal(c->control, "/run/tailrace/control.sock");
    config_free(c);
    assert_told(SOURCE "control: on\n",
                "f.yaml:7:10: control: \"on\" is neither off nor the absolute path of a socket\n");
    assert_told(SOURCE "control: /run/tailrace/\n", "f.yaml:7:10: control: ...");
    assert_int_equal(diff(SOURCE, SOURCE "control: off\n"), 1);
    assert_string_equal(heard(), "control: (not set) -> off (needs a restart)\n");
}

static void differences_are_told_with_what_needs_a_restart(void **state)
{
    (void)state;
    unsigned n = diff("region: r\nendpoint: http://h:1\nstreams:\n"
                      "  a: {kinesis: a, buffer: 64MiB, linger: 1s}\n"
                      "  gone: {kinesis: g}\n"
                      "sources:\n  s: {file: /x, stream: a, format: csv}\n"
                      "  old: {file: /y, stream: gone}\n",
                      "region: r\nprofile: p\nstate_dir: /s\nstreams:\n"
                      "  a: {kinesis: a, buffer: 128MiB, linger: 50ms}\n"
                      "  fresh: {kinesis: f}\n"
                      "sources:\n  s: {file: /x, stream: fresh, format: csv, delimiter: \"\\t\","
                      " columns: [a], on_bad_value: dead_letter}\n"
                      "  new: {file: /y, stream: a}\n");
    assert_int_equal(n, 2);
    assert_string_equal(heard(), "endpoint: http://h:1 -> (not set)\n"
                                 "state_dir: /var/lib/tailrace -> /s (needs a restart)\n"
                                 "profile: (not set) -> p\n"
                                 "streams.a.linger: 1s -> 50ms\n"
                                 "streams.a.buffer: 64MiB -> 128MiB (needs a restart)\n"
                                 "streams.gone: removed\n"
                                 "streams.fresh: added\n"
                                 "sources.s.stream: a -> fresh\n"
                                 "sources.s.delimiter: \",\" -> \"\\t\"\n"
                                 "sources.s.columns: changed\n"
                                 "sources.s.on_bad_value: set_null -> dead_letter\n"
                                 "sources.old: removed\n"
                                 "sources.new: added\n");
}

static void a_change_of_multiline_is_a_difference(void **state)
{
    (void)state;
    assert_int_equal(diff(SOURCE, SOURCE "    multiline: {start: a}\n"), 0);
    assert_string_equal(heard(), "sources.s.multiline: added\n");
    assert_int_equal(diff(SOURCE "    multiline: {start: a}\n", SOURCE), 0);
    assert_string_equal(heard(), "sources.s.multiline: removed\n");
    assert_int_equal(diff(SOURCE "    multiline: {start: a, timeout: 1s}\n",
                          SOURCE "    multiline: {continue: a}\n    flush_partial_after: 5s\n"),
                     0);
    assert_string_equal(heard(), "sources.s.flush_partial_after: (not set) -> 5s\n"
                                 "sources.s.multiline.start: a -> (not set)\n"
                                 "sources.s.multiline.continue: (not set) -> a\n"
                                 "sources.s.multiline.timeout: 1s -> 5s\n");
}

static void every_change_of_a_template_is_a_difference(void **state)
{
    (void)state;
#define T(fields) CSV "    record: {" fields "}\n"
    const char *base = T("x: {from: a}, o: {y: {from: b, type: int}}, c: {const: 5}");
    static const char *const others[] = {
        T("x: {from: a}, o: {y: {from: b, type: int}}"),
        T("x: {from: z}, o: {y: {from: b, type: int}}, c: {const: 5}"),
        T("z: {from: a}, o: {y: {from: b, type: int}}, c: {const: 5}"),
        T("x: {from: a}, o: {y: {from: b, type: double}}, c: {const: 5}"),
        T("x: {from: a}, o: {y: {from: b, type: int, trim: true}}, c: {const: 5}"),
        T("x: {from: a}, o: {y: {from: b, type: int}}, c: {const: '5'}"),
        T("x: {from: a}, o: {y: {from: b, type: int}}, c: {from: a}"),
        T("x: {from: a, parse: '%Y', print: '%Y'}, o: {y: {from: b, type: int}}, c: {const: 5}"),
        T("o: {y: {from: b, type: int}}, x: {from: a}, c: {const: 5}"),
        CSV,
    };
#undef T
    assert_int_equal(diff(base, base), 0);
    assert_string_equal(heard(), "");
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_int_equal(diff(base, others[i]), 0);
        assert_string_equal(heard(), "sources.s.record: changed\n");
        diff(others[i], base);
        assert_string_equal(heard(), "sources.s.record: changed\n");
    }
    diff(CSV "    columns: [a, b]\n", CSV "    columns: [b, a]\n");
    assert_string_equal(heard(), "sources.s.columns: changed\n");
    static const char *const adds[] = {CSV, CSV "    add: {a: b}\n", CSV "    add: {a: c}\n",
                                       CSV "    add: {b: b}\n", CSV "    add: {a: b, c: d}\n",
                                       CSV "    add: {a: {from: b}}\n",
                                       CSV "    add: {a: {from: b, type: int}}\n",
                                       CSV "    add: {a: {b: {from: b}}}\n"};
    for (size_t i = 0; i < ARRAY_LEN(adds); i++) {
        for (size_t k = 0; k < ARRAY_LEN(adds); k++) {
            diff(adds[i], adds[k]);
            assert_string_equal(heard(), i == k ? "" : "sources.s.add: changed\n");
        }
    }
}

static void long_and_strange_values_are_told_as_one_line(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, MIB);
    buf_puts(&b, HEAD "sources: {s: {stream: a, file: \"/\\n");
    for (int i = 0; i < 4000; i++)
        buf_putc(&b, 'x');
    buf_puts(&b, "\"}}\n");
    diff(HEAD "sources: {s: {stream: a, file: /x}}\n", buf_cstr(&b));
    assert_int_equal(lines, 1);
    assert_true(strncmp(heard(), "sources.s.file: /x -> /?xxx", 27) == 0);
    assert_true(told.n > 4000);
    buf_release(&b);
}

#if OWN_MALLOC
static void no_tell(void *ctx, const char *line)
{
    (void)line;
    ++*(unsigned *)ctx;
}

static void running_out_of_memory_is_an_error_and_no_more(void **state)
{
    (void)state;
    need_own_malloc();
    struct config *whole = build(sample);
    long n = 0, before = alive;
    for (bool failed = true; failed; n++) {
        unsigned heard_n = 0;
        fail_at = n;
        struct config *c = config_build("f.yaml", STR(sample), no_tell, &heard_n);
        failed = fail_at < 0;
        fail_at = -1;
        assert_int_equal(c != NULL, heard_n == 0);
        if (c != NULL) { /* a failure that was survived must not have changed anything */
            config_diff(whole, c, no_tell, &heard_n);
            assert_int_equal(heard_n, 0);
        }
        assert_true(failed || c != NULL);
        config_free(c);
        assert_int_equal(alive, before);
    }
    assert_in_range(n, 100, 100000);
    config_free(whole);
}

static void a_difference_is_told_even_without_memory(void **state)
{
    (void)state;
    struct config *a = build(SOURCE), *b = build(SOURCE "state_dir: /s\n");
    for (long n = 0; n < 4; n++) {
        unsigned heard_n = 0;
        fail_at = n;
        assert_int_equal(config_diff(a, b, no_tell, &heard_n), 1);
        fail_at = -1;
        assert_int_equal(heard_n, 1);
    }
    config_free(a);
    config_free(b);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_sample_works_as_written, forget),
        cmocka_unit_test_teardown(what_is_not_written_has_its_default, forget),
        cmocka_unit_test_teardown(all_errors_are_told_in_the_order_of_the_document, forget),
        cmocka_unit_test_teardown(an_unknown_key_names_the_nearest_known_one, forget),
        cmocka_unit_test_teardown(text_that_is_not_yaml_is_told_once, forget),
        cmocka_unit_test_teardown(wrong_kinds_of_values_are_told, forget),
        cmocka_unit_test_teardown(names_are_checked, forget),
        cmocka_unit_test_teardown(a_hostile_document_cannot_forge_a_line, forget),
        cmocka_unit_test_teardown(a_stream_arn_is_in_the_region, forget),
        cmocka_unit_test_teardown(csv_options_go_only_with_csv, forget),
        cmocka_unit_test_teardown(every_format_has_its_options, forget),
        cmocka_unit_test_teardown(options_of_another_format_are_refused, forget),
        cmocka_unit_test_teardown(a_name_the_format_does_not_have_is_told_at_its_place, forget),
        cmocka_unit_test_teardown(what_is_added_is_checked_at_its_place, forget),
        cmocka_unit_test_teardown(how_bytes_are_cut_can_be_said, forget),
        cmocka_unit_test_teardown(what_cannot_be_cut_so_is_told, forget),
        cmocka_unit_test_teardown(what_json_becomes_can_be_said, forget),
        cmocka_unit_test_teardown(what_json_cannot_become_is_told, forget),
        cmocka_unit_test_teardown(quotes_can_be_plain_characters, forget),
        cmocka_unit_test_teardown(a_tab_can_be_the_delimiter, forget),
        cmocka_unit_test_teardown(columns_are_unique_names, forget),
        cmocka_unit_test_teardown(constants_keep_the_type_they_are_written_in, forget),
        cmocka_unit_test_teardown(a_nested_field_may_be_called_from_or_const, forget),
        cmocka_unit_test_teardown(what_is_no_field_is_told_at_its_place, forget),
        cmocka_unit_test_teardown(parse_and_print_go_together, forget),
        cmocka_unit_test_teardown(a_key_template_is_checked_at_its_place, forget),
        cmocka_unit_test_teardown(templates_are_bounded, forget),
        cmocka_unit_test_teardown(streams_and_sources_are_bounded, forget),
        cmocka_unit_test_teardown(the_complaints_told_are_bounded, forget),
        cmocka_unit_test_teardown(equal_configurations_have_no_difference, forget),
        cmocka_unit_test_teardown(the_control_socket_is_a_path_or_off, forget),
        cmocka_unit_test_teardown(differences_are_told_with_what_needs_a_restart, forget),
        cmocka_unit_test_teardown(a_change_of_multiline_is_a_difference, forget),
        cmocka_unit_test_teardown(every_change_of_a_template_is_a_difference, forget),
        cmocka_unit_test_teardown(long_and_strange_values_are_told_as_one_line, forget),
#if OWN_MALLOC
        cmocka_unit_test_teardown(running_out_of_memory_is_an_error_and_no_more, forget),
        cmocka_unit_test_teardown(a_difference_is_told_even_without_memory, forget),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
