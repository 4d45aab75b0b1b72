#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/config.h"

#define HEAD   "region: us-east-1\nstreams: {a: {kinesis: a}}\nsources:\n"
#define SOURCE HEAD "  s:\n    file: /x\n    stream: a\n    mapping: /m.yaml\n" /* 7 lines */

static const char crimes[] = "format: csv\n"
                             "delimiter: '|'\n"
                             "quote: none\n"
                             "columns: [time, district]\n"
                             "key: '{district}'\n"
                             "on_bad_value: dead_letter\n"
                             "max_record: 2KiB\n"
                             "record:\n"
                             "  district: {from: district, type: int}\n"
                             "add: {year: {from: time, parse: '%Y', print: '%Y'}}\n"
                             "partition_keys: [year, district]\n";

/* ---- files, and what was told ---- */

static const char *mapping_text; /* NULL: there is no such file */
static unsigned reads;
static struct buf told;
static struct config *config;

static int read_file(void *ctx, const char *path, size_t max, struct buf *out, struct err *e)
{
    (void)ctx;
    reads++;
    assert_true(max >= 1 * MIB);
    if (mapping_text == NULL || path[1] != 'm')
        return err_set(e, ERR_MISSING, "%s: No such file or directory", path);
    buf_puts(out, mapping_text);
    return 0;
}

static void hear(void *ctx, const char *line)
{
    (void)ctx;
    buf_puts(&told, line);
    buf_putc(&told, '\n');
}

static int forget(void **state)
{
    (void)state;
    config_free(config);
    config = NULL;
    buf_release(&told);
    buf_init(&told, 1 * MIB);
    reads = 0;
    return 0;
}

static int release(void **state)
{
    forget(state);
    buf_release(&told);
    return 0;
}

static const struct config_files files = {.read = read_file};

static struct config *build(const char *text)
{
    forget(NULL);
    config = config_build_with("f.yaml", str_of(text), &files, hear, NULL);
    return config;
}

static void refused(const char *text, const char *why)
{
    assert_null(build(text));
    assert_string_equal(buf_cstr(&told), why);
}

/* ---- tests ---- */

static void assert_crimes(const struct config_source *s)
{
    const struct shape_spec *shape = &s->shape;
    assert_int_equal(shape->format, FORMAT_CSV);
    assert_int_equal(shape->delimiter, '|');
    assert_true(shape->no_quotes && shape->bad_value_dead);
    assert_int_equal(shape->columns_n, 2);
    assert_string_equal(shape->columns[1], "district");
    assert_string_equal(shape->key, "{district}");
    assert_int_equal(shape->max_record, 2048);
    assert_int_equal(shape->fields_n, 1);
    assert_int_equal(shape->add_n, 1);
    assert_int_equal(shape->encoding, ENCODING_UTF8);
    assert_int_equal(s->partition_keys_n, 2);
    assert_string_equal(s->partition_keys[0], "year");
}

static void a_source_takes_what_its_records_become_from_the_file(void **state)
{
    (void)state;
    mapping_text = crimes;
    assert_non_null(build(SOURCE "    start_at: beginning\n    skip_lines: 2\n"));
    assert_crimes(&config->sources[0]);
    assert_int_equal(config->sources[0].start_at, START_AT_BEGINNING);
    assert_int_equal(config->sources[0].shape.skip_lines, 2);
    assert_string_equal(config->sources[0].mapping, "/m.yaml");
    assert_int_equal(reads, 1);
}

static void a_mapping_may_be_built_by_itself(void **state)
{
    (void)state;
    forget(NULL);
    config = config_build_mapping("m.yaml", str_of(crimes), hear, NULL);
    assert_non_null(config);
    assert_int_equal(config->sources_n, 1);
    assert_crimes(config->sources);
}

static void an_empty_mapping_is_lines_as_they_stand(void **state)
{
    (void)state;
    forget(NULL);
    config = config_build_mapping("m.yaml", STR(""), hear, NULL);
    assert_non_null(config);
    assert_int_equal(config->sources->shape.format, FORMAT_LINE);
    assert_int_equal(config->sources->shape.max_record, 1 * MIB);
    assert_string_equal(config->sources->shape.key, "random");
}

static void several_sources_may_name_the_same_file(void **state)
{
    (void)state;
    mapping_text = "format: json\nflatten: .\n";
    assert_non_null(build(SOURCE "  t: {socket: /t, stream: a, mapping: /m.yaml, ack: durable}\n"
                                 "  u: {file: /u, stream: a}\n"));
    assert_string_equal(config->sources[1].shape.flatten, ".");
    assert_null(config->sources[2].shape.flatten);
    assert_null(config->sources[2].mapping);
}

static void what_is_wrong_in_the_file_is_told_with_its_place_in_it(void **state)
{
    (void)state;
    mapping_text = "format: jsn\nflaten: .\n";
    refused(SOURCE "    strat_at: end\n",
            "f.yaml:8:5: sources.s.strat_at: unknown option; the nearest known one is start_at\n"
            "/m.yaml:1:9: format: \"jsn\" is not one of: line, json, csv, regex, common_log, "
            "combined_log, apache_error, syslog, syslog_rfc5424, logfmt\n"
            "/m.yaml:2:1: flaten: unknown option; the nearest known one is flatten\n");
    mapping_text = "format: csv\ncolumns: [a]\nrecord:\n  x: {from: b, tpye: int}\n";
    refused(SOURCE, "/m.yaml:4:16: record.x.tpye: unknown option; the nearest known one is type\n");
    mapping_text = "format: json\nkey: '{'\n";
    refused(SOURCE, "/m.yaml:2:6: key: '{' without a name and a '}' (write {{ for a brace)\n");
    mapping_text = "format: line\nflatten: .\n";
    refused(SOURCE, "/m.yaml:2:1: flatten: goes only with format: json\n");
    mapping_text = "- a\n";
    refused(SOURCE, "/m.yaml:1:1: a mapping file is a mapping of options, not a sequence\n");
    mapping_text = "partition_keys: []\n";
    refused(SOURCE, "/m.yaml:1:17: partition_keys: expected a sequence of 1 to 16 names\n");
}

static void the_files_come_behind_the_document_in_its_order(void **state)
{
    (void)state;
    mapping_text = "x: 1\n";
    refused(SOURCE "  t: {file: /t, stream: b, mapping: /m2.yaml}\n",
            "f.yaml:8:25: sources.t.stream: there is no stream \"b\" under streams; the nearest is "
            "a\n"
            "/m.yaml:1:1: x: unknown option; the nearest known one is add\n"
            "/m2.yaml:1:1: x: unknown option; the nearest known one is add\n");
}

static void a_file_that_cannot_be_read_is_told_where_it_is_named(void **state)
{
    (void)state;
    mapping_text = NULL;
    refused(SOURCE, "f.yaml:7:14: sources.s.mapping: /m.yaml: No such file or directory\n");
    mapping_text = "a: [\n";
    assert_null(build(SOURCE));
    assert_non_null(strstr(buf_cstr(&told), "f.yaml:7:14: sources.s.mapping: /m.yaml:2:1: "));
    mapping_text = "";
    refused(
        HEAD "  s: {file: /x, stream: a, mapping: m.yaml}\n",
        "f.yaml:4:37: sources.s.mapping: \"m.yaml\" is not an absolute path: it must start with "
        "/\n");
    assert_int_equal(reads, 0);
    forget(NULL);
    assert_null(config_build("f.yaml", STR(SOURCE), hear, NULL));
    assert_string_equal(buf_cstr(&told),
                        "f.yaml:7:14: sources.s.mapping: no other files are read here\n");
}

static void what_the_file_says_cannot_stand_in_the_source_too(void **state)
{
    (void)state;
    mapping_text = "format: json\n";
    refused(SOURCE
            "    format: json\n    key: random\n    start_at: end\n    multiline: {start: x}\n",
            "f.yaml:8:5: sources.s.format: goes not with mapping, whose file says it\n"
            "f.yaml:9:5: sources.s.key: goes not with mapping, whose file says it\n");
    refused(HEAD "  s: {file: /x, stream: a, partition_keys: [a]}\n",
            "f.yaml:4:28: sources.s.partition_keys: unknown here; this option belongs to a mapping "
            "file\n");
}

static void what_belongs_to_a_source_cannot_stand_in_the_file(void **state)
{
    (void)state;
    mapping_text = "format: json\nstart_at: end\nmapping: /m.yaml\nmultiline: {start: x}\n"
                   "kinesis: x\n";
    refused(SOURCE,
            "/m.yaml:2:1: start_at: unknown here; this option belongs to a source, not to a "
            "mapping\n"
            "/m.yaml:3:1: mapping: unknown here; this option belongs to a source, not to a "
            "mapping\n"
            "/m.yaml:4:1: multiline: unknown here; this option belongs to a source, not to "
            "a mapping\n"
            "/m.yaml:5:1: kinesis: unknown here; this option belongs to a stream\n");
    assert_int_equal(reads, 1);
}

static void rules_between_the_source_and_the_file_hold(void **state)
{
    (void)state;
    mapping_text = "format: csv\n";
    refused(HEAD "  s: {socket: /x, stream: a, mapping: /m.yaml}\n",
            "f.yaml:4:3: sources.s.format: csv goes only with file\n");
    refused(SOURCE "    multiline: {start: x}\n",
            "f.yaml:8:5: sources.s.multiline: goes not with format: csv, whose rows have ends of "
            "their own\n");
    mapping_text = "format: json\n";
    refused(SOURCE "    on_oversize: split\n",
            "f.yaml:8:18: sources.s.on_oversize: split goes only with format: line\n");
}

static struct buf differences;

static void hear_difference(void *ctx, const char *line)
{
    (void)ctx;
    buf_puts(&differences, line);
    buf_putc(&differences, '\n');
}

static void a_file_that_has_changed_is_a_difference(void **state)
{
    (void)state;
    mapping_text = crimes;
    struct config *before = build(SOURCE);
    config = NULL;
    mapping_text = "format: csv\nquote: none\ncolumns: [time, beat]\nmax_record: 3KiB\n";
    struct config *after = build(SOURCE);
    buf_init(&differences, 1 * MIB);
    assert_int_equal(config_diff(before, after, hear_difference, NULL), 0);
    assert_string_equal(buf_cstr(&differences), "sources.s.delimiter: \"|\" -> \",\"\n"
                                                "sources.s.columns: changed\n"
                                                "sources.s.record: changed\n"
                                                "sources.s.add: changed\n"
                                                "sources.s.key: {district} -> random\n"
                                                "sources.s.partition_keys: changed\n"
                                                "sources.s.on_bad_value: dead_letter -> set_null\n"
                                                "sources.s.max_record: 2KiB -> 3KiB\n");
    buf_release(&differences);
    config_free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_takes_what_its_records_become_from_the_file),
        cmocka_unit_test(a_mapping_may_be_built_by_itself),
        cmocka_unit_test(an_empty_mapping_is_lines_as_they_stand),
        cmocka_unit_test(several_sources_may_name_the_same_file),
        cmocka_unit_test(what_is_wrong_in_the_file_is_told_with_its_place_in_it),
        cmocka_unit_test(the_files_come_behind_the_document_in_its_order),
        cmocka_unit_test(a_file_that_cannot_be_read_is_told_where_it_is_named),
        cmocka_unit_test(what_the_file_says_cannot_stand_in_the_source_too),
        cmocka_unit_test(what_belongs_to_a_source_cannot_stand_in_the_file),
        cmocka_unit_test(rules_between_the_source_and_the_file_hold),
        cmocka_unit_test(a_file_that_has_changed_is_a_difference),
    };
    return cmocka_run_group_tests(tests, forget, release);
}
