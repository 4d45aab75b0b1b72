/* How an input cuts bytes into records: the options on_oversize, multiline, skip_lines,
 * flush_partial_after and encoding. What it does with records is in test_input.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/input.h"
#include "tests/unit/fakes.h"

#define MARK "...[truncated]"

static struct fakes f;
static struct shape_spec spec;
static struct shape *shape;
static struct input in;

static int set_up(void **state)
{
    (void)state;
    fakes_init(&f, 1 * MIB);
    f.logging = true;
    spec = (struct shape_spec){.delimiter = ',', .key = (char *)"random", .max_record = 4 * KIB};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fakes_release(&f);
    return 0;
}

static void open_input(uint64_t offset, bool mid_record)
{
    struct err e;
    shape = shape_new(&spec, "box", &e);
    if (shape == NULL)
        fail_msg("%s", e.text);
    input_init(&in, f.p, shape, &spec, "/srv/a");
    input_start(&in, offset, mid_record);
}

static void close_input(void)
{
    fakes_settle(&f);
    assert_int_equal(in.origin.in_ring, 0);
    input_release(&in);
    shape_free(shape);
}

static enum input_result feed_quiet(struct str file, size_t end, bool at_end, uint64_t quiet_ms)
{
    size_t at = (size_t)in.origin.read_at, used = SIZE_MAX;
    if (input_needs_header(&in))
        assert_true(input_header(&in, file, true));
    char *exact = malloc(end - at + 1);
    memcpy(exact, file.p + at, end - at);
    enum input_result result =
        input_feed(&in, f.now, (struct str){exact, end - at}, at_end, quiet_ms, &used);
    free(exact);
    assert_true(used <= end - at);
    assert_int_equal(in.origin.read_at, at + used);
    return result;
}

static void feed(struct str file, size_t end)
{
    assert_int_equal(feed_quiet(file, end, false, 0), INPUT_MORE);
}

static void finish(struct str file)
{
    feed(file, file.n);
    assert_int_equal(feed_quiet(file, file.n, true, 0), INPUT_MORE);
    assert_int_equal(in.origin.read_at, file.n);
    fakes_settle(&f);
    assert_int_equal(in.origin.delivered, file.n);
}

/* ---- what came of it, as text ---- */

static struct buf words;

static int by_place(const void *a, const void *b)
{
    const struct fake_entry *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* |record, !dead letter, each with its place: "0-4". */
static const char *what_came(void)
{
    qsort(f.log, f.log_n, sizeof f.log[0], by_place);
    buf_release(&words);
    buf_init(&words, MIB);
    for (unsigned i = 0; i < f.log_n; i++) {
        const struct fake_entry *e = &f.log[i];
        buf_printf(&words, "%s%u-%u%s:", e->kind == RECORD_DATA ? "|" : "!", (unsigned)e->begin,
                   (unsigned)e->end, e->mid_record ? "+" : "");
        buf_put(&words, e->data.p, e->data.n);
    }
    fakes_forget_log(&f);
    return buf_cstr(&words);
}

static void assert_came(const char *want)
{
    fakes_settle(&f);
    const char *got = what_came();
    if (strcmp(got, want) != 0)
        fail_msg("%s\nwanted: %s", got, want);
}

/* Whole, in two pieces, byte by byte, and with a restart after each byte. */
static void assert_cuts_to(struct str file, const char *want)
{
    for (size_t cut = 0; cut <= file.n; cut++) {
        open_input(0, false);
        feed(file, cut);
        finish(file);
        close_input();
        assert_came(want);
        open_input(0, false);
        feed(file, cut);
        fakes_settle(&f);
        uint64_t offset = in.origin.delivered;
        bool mid = in.origin.delivered_mid;
        close_input();
        open_input(offset, mid);
        finish(file);
        close_input();
        assert_came(want);
    }
    open_input(0, false);
    for (size_t end = 0; end <= file.n; end++)
        feed(file, end);
    finish(file);
    close_input();
    assert_came(want);
}

/* What was looked at is changed behind the input's back, and that goes unnoticed. */
static void a_csv_row_in_many_pieces_is_searched_once(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    open_input(0, false);
    feed(STR("a,b\n\n1,\"x\ny"), 12);
    assert_int_equal(in.origin.read_at, 5);
    assert_int_equal(in.ahead.looked, 7);
    feed(STR("a,b\n\n\n\n\n\n\n\n\nzz"), 14);
    assert_int_equal(in.origin.read_at, 5);
    assert_int_equal(in.ahead.looked, 9);
    finish(STR("a,b\n\n1,\"x\nyzz\"\n"));
    close_input();
    assert_came("|5-15:{\"a\":\"1\",\"b\":\"x\\nyzz\"}");
}

/* ---- on_oversize ---- */

/* A random key has 8 bytes, the mark 14: of 32 bytes, 10 are left for the text. */
static void a_long_line_is_truncated_with_a_mark(void **state)
{
    (void)state;
    spec.max_record = 32;
    assert_cuts_to(STR("one\n0123456789abcdefghijklmnopqrstuvwxyz\ntwo\n"),
                   "|0-4:one|4-36+:0123456789" MARK "|41-45:two");
    assert_int_equal(pipeline_stats(f.p)->oversize > 0, true);
    assert_int_equal(pipeline_stats(f.p)->records_dead, 0);
}

static void a_line_with_no_room_for_its_key_is_truncated_too(void **state)
{
    (void)state;
    spec.max_record = 32;
    /* 24 bytes fit beside the key, 25 do not; the record is whole, so nothing is skipped */
    assert_cuts_to(STR("0123456789abcdefghijklmn\n0123456789abcdefghijklmno\r\nx\n"),
                   "|0-25:0123456789abcdefghijklmn|25-52:0123456789" MARK "|52-54:x");
}

static void what_is_cut_is_counted_once_for_each_record(void **state)
{
    (void)state;
    spec.max_record = 32;
    open_input(0, false);
    finish(STR("0123456789abcdefghijklmnopqrstuvwxyz\n0123456789abcdefghijklmno\nx\n"));
    close_input();
    assert_int_equal(pipeline_stats(f.p)->oversize, 2);
    assert_int_equal(pipeline_stats(f.p)->records_in, 3);
}

static void a_character_is_not_cut_in_two(void **state)
{
    (void)state;
    spec.max_record = 32;
    assert_cuts_to(STR("012345678\xc3\xa9xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n"),
                   "|0-32+:012345678" MARK);
    assert_cuts_to(STR("01234567\xe2\x82\xacxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n"),
                   "|0-32+:01234567" MARK);
    assert_cuts_to(STR("012345678\x80\x80\x80\x80\x80\x80\x80\x80xxxxxxxxxxxxxxxxxxxxxxxxx\n"),
                   "|0-32+:012345678\x80" MARK);
}

static void a_long_line_is_split_into_records(void **state)
{
    (void)state;
    spec.max_record = 32;
    spec.on_oversize = OVERSIZE_SPLIT;
    assert_cuts_to(STR("0123456789abcdefghijklmn0123456789abcdefghijklmnopq\nx\n"),
                   "|0-24:0123456789abcdefghijklmn|24-48:0123456789abcdefghijklmn|48-52:opq"
                   "|52-54:x");
    /* the last part fills its record to the brim */
    assert_cuts_to(STR("0123456789abcdefghijklmn0123456789abcdefghijklmn\r\nx\n"),
                   "|0-24:0123456789abcdefghijklmn|24-50:0123456789abcdefghijklmn|50-52:x");
    assert_cuts_to(STR("0123456789abcdefghijklmno\n"), "|0-24:0123456789abcdefghijklmn|24-26:o");
    assert_int_equal(pipeline_stats(f.p)->records_dead, 0);
}

static void a_split_line_is_searched_once(void **state)
{
    (void)state;
    spec.max_record = 32;
    spec.on_oversize = OVERSIZE_SPLIT;
    open_input(0, false);
    feed(STR("0123456789abcdefghijklmnopqrstuvwx"), 34);
    assert_int_equal(in.origin.read_at, 24);
    assert_int_equal(in.framer.looked, 10);
    finish(STR("0123456789abcdefghijklmnopqrstuvwx"));
    close_input();
}

static void a_long_line_may_become_a_dead_letter(void **state)
{
    (void)state;
    spec.max_record = 32;
    spec.on_oversize = OVERSIZE_DEAD_LETTER;
    assert_cuts_to(STR("0123456789abcdefghijklmnopqrstuvwxyz\n0123456789abcdefghijklmno\nx\n"),
                   "!0-32+:0123456789abcdefghijklmnopqrstuv!37-63:0123456789abcdefghijklmno"
                   "|63-65:x");
}

static void a_key_that_leaves_no_room_makes_a_dead_letter(void **state)
{
    (void)state;
    spec.max_record = 40;
    spec.key = (char *)"0123456789012345678901234567";
    assert_cuts_to(STR("0123456789abcdefghijklmnopqrstuvwxyz0123456789\nx\n"),
                   "!0-40+:0123456789abcdefghijklmnopqrstuvwxyz0123|47-49:x");
}

static void json_and_csv_that_are_too_long_are_dead_whatever_is_asked(void **state)
{
    (void)state;
    spec.max_record = 32;
    spec.format = FORMAT_JSON;
    assert_cuts_to(
        STR("\"0123456789abcdefghijklmnopqrstuvwxyz\"\n\"0123456789abcdefghijklm\"\n5\n"),
        "!0-32+:\"0123456789abcdefghijklmnopqrstu"
        "!39-65:\"0123456789abcdefghijklm\"|65-67:5");
    spec.format = FORMAT_CSV;
    assert_cuts_to(STR("a\n0123456789abcdefghijklmnopqrstuvwxyz\n0123456789abcdefghijkl\n5\n"),
                   "!2-34+:0123456789abcdefghijklmnopqrstuv!39-62:0123456789abcdefghijkl"
                   "|62-64:{\"a\":\"5\"}");
}

static void a_long_line_of_a_log_format_is_truncated_if_raw_is_what_no_match_becomes(void **state)
{
    (void)state;
    spec.max_record = 32;
    spec.format = FORMAT_REGEX;
    spec.pattern = (char *)"(?<a>.*)";
    assert_cuts_to(STR("1\n0123456789abcdefghijklmnopqrstuvwxyz\n2\n"),
                   "|0-2:{\"a\":\"1\"}|2-34+:0123456789" MARK "|39-41:{\"a\":\"2\"}");
    spec.on_no_match = NO_MATCH_DROP;
    assert_cuts_to(STR("1\n0123456789abcdefghijklmnopqrstuvwxyz\n2\n"),
                   "|0-2:{\"a\":\"1\"}!2-34+:0123456789abcdefghijklmnopqrstuv|39-41:{\"a\":\"2\"}");
}

static void a_full_ring_cuts_nothing_twice(void **state)
{
    (void)state;
    static char text[30000];
    for (enum shape_oversize how = OVERSIZE_TRUNCATE; how <= OVERSIZE_DEAD_LETTER; how++) {
        fakes_release(&f);
        fakes_init(&f, 8 * KIB);
        spec.max_record = 1 * KIB;
        spec.on_oversize = how;
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = i % 3000 == 2999 ? '\n' : (char)('a' + i % 26);
        const struct str file = {text, sizeof text};
        open_input(0, false);
        unsigned full = 0;
        for (unsigned i = 0; in.origin.read_at < file.n; i++) {
            assert_true(i < 1000);
            enum input_result result = feed_quiet(file, file.n, false, 0);
            full += result == INPUT_FULL;
            fakes_settle(&f);
        }
        close_input();
        const struct stats *s = pipeline_stats(f.p);
        assert_true(full > 0);
        assert_int_equal(s->records_in, how == OVERSIZE_SPLIT ? 30 : 10);
        assert_int_equal(s->oversize, how == OVERSIZE_SPLIT ? 20 : 10);
    }
}

/* ---- encodings ---- */

#define W4(a, b, c, d) a "\0" b "\0" c "\0" d "\0"

static void utf_16_lines_are_cut_at_their_own_line_ends(void **state)
{
    (void)state;
    spec.encoding = ENCODING_UTF16LE;
    /* a mark; then a line with U+0A00 and U+000D inside, CR LF, and a line without an end */
    assert_cuts_to(STR("\xff\xfe" W4("a", "b", "\r", "c") "\0\n\r\0\n\0\n\0x\0"),
                   "|2-16:ab\rc\xe0\xa8\x80|18-20:x");
    spec.encoding = ENCODING_UTF16BE;
    assert_cuts_to(STR("\xfe\xff\0a\n\0\0\r\0\n\0\n\0x"), "|2-10:a\xe0\xa8\x80|12-14:x");
    assert_cuts_to(STR("\0a\0\n\0b\0\nc"), "|0-4:a|4-8:b|8-9:\xef\xbf\xbd");
}

static void utf_16_that_is_too_long_is_cut_between_characters(void **state)
{
    (void)state;
    spec.encoding = ENCODING_UTF16LE;
    spec.max_record = 40; /* 18 bytes of UTF-8 beside key and mark; 20 characters are seen */
    assert_cuts_to(STR(W4("0", "1", "2", "3") W4("4", "5", "6", "7") W4("8", "9", "a", "b")
                           W4("c", "d", "e", "f") W4("g", "h", "i", "j") W4("k", "l", "\n", "x")),
                   "|0-40+:0123456789abcdefgh" MARK "|46-48:x");
    /* U+1F600 takes two units, and four bytes in UTF-8 */
    assert_cuts_to(STR(W4("0", "1", "2", "3") W4("4", "5", "6", "7") W4("8", "9", "a", "b")
                           W4("c", "d", "e", "f") "\x3d\xd8\x00\xde" W4("g", "h", "i", "j")
                               W4("k", "l", "\n", "x")),
                   "|0-40+:0123456789abcdef" MARK "|50-52:x");
    spec.on_oversize = OVERSIZE_SPLIT;
    assert_cuts_to(STR(W4("0", "1", "2", "3") W4("4", "5", "6", "7") W4("8", "9", "a", "b")
                           W4("c", "d", "e", "f") W4("g", "h", "i", "j") W4("k", "l", "\n", "x")),
                   "|0-40:0123456789abcdefghij|40-46:kl|46-48:x");
}

static void latin1_that_grows_past_the_limit_is_cut(void **state)
{
    (void)state;
    spec.encoding = ENCODING_LATIN1;
    spec.max_record = 32;
    assert_cuts_to(STR("\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\nx\n"),
                   "|0-14:\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9" MARK "|14-16:x");
    spec.on_oversize = OVERSIZE_SPLIT;
    assert_cuts_to(STR("\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\nx\n"),
                   "|0-12:\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
                   "\xc3\xa9\xc3\xa9\xc3\xa9|12-14:\xc3\xa9|14-16:x");
}

/* ---- skip_lines ---- */

static void the_first_lines_of_a_file_are_skipped(void **state)
{
    (void)state;
    spec.skip_lines = 2;
    assert_cuts_to(STR("# a\n\n1\n\n2\n"), "|5-7:1|8-10:2");
    assert_cuts_to(STR("# a\r\n# b"), "");
    assert_cuts_to(STR("# a\n# b\n"), "");
    spec.skip_lines = 1;
    spec.max_record = 24;
    assert_cuts_to(STR("a line that is longer than any record may be\nx\n"), "|45-47:x");
    spec.encoding = ENCODING_UTF16LE;
    assert_cuts_to(STR("\xff\xfe"
                       "a\0\0\n\n\0x\0\n\0"),
                   "|8-12:x");
}

static void lines_before_a_csv_header_are_skipped(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    spec.skip_lines = 2;
    assert_cuts_to(STR("report \"x\nof today\na,b\n1,2\n"), "|23-27:{\"a\":\"1\",\"b\":\"2\"}");
    assert_cuts_to(STR("\xef\xbb\xbfx\r\ny\r\na\r\n1\r\n2"),
                   "|12-14:{\"a\":\"1\"}|15-16:{\"a\":\"2\"}");
    assert_cuts_to(STR("x\ry\ra\r1\r"), "|6-8:{\"a\":\"1\"}");
    assert_cuts_to(STR("x\n\n\na\n1\n"), "|6-8:{\"a\":\"1\"}");
}

static void a_file_taken_up_in_the_middle_skips_none(void **state)
{
    (void)state;
    spec.skip_lines = 3;
    const struct str file = STR("1\n2\n3\n4\n5\n");
    open_input(2, false);
    finish(file);
    close_input();
    assert_came("|2-4:2|4-6:3|6-8:4|8-10:5");
}

static void until_all_are_there_the_checkpoint_stays_at_the_beginning(void **state)
{
    (void)state;
    spec.skip_lines = 2;
    const struct str file = STR("a\nb\nc\n");
    open_input(0, false);
    feed(file, 3);
    assert_int_equal(in.origin.read_at, 3);
    assert_int_equal(in.origin.delivered, 0);
    assert_int_equal(input_patience_ms(&in), UINT64_MAX);
    feed(file, 4);
    assert_int_equal(in.origin.delivered, 4);
    finish(file);
    close_input();
    assert_came("|4-6:c");
}

/* ---- patience ---- */

static void an_unterminated_record_is_sent_once_the_file_is_quiet(void **state)
{
    (void)state;
    spec.flush_after_ms = 3000;
    const struct str file = STR("one\ntwo and more\n");
    open_input(0, false);
    feed(file, 4);
    assert_int_equal(input_patience_ms(&in), UINT64_MAX);
    feed(file, 7);
    assert_int_equal(input_patience_ms(&in), 3000);
    feed_quiet(file, 7, false, 2999);
    assert_int_equal(in.origin.read_at, 4);
    feed_quiet(file, 7, false, 3000);
    assert_int_equal(in.origin.read_at, 7);
    assert_int_equal(input_patience_ms(&in), UINT64_MAX);
    finish(file);
    close_input();
    assert_came("|0-4:one|4-7:two|7-17: and more");
}

static void without_the_option_it_waits_for_ever(void **state)
{
    (void)state;
    const struct str file = STR("one");
    open_input(0, false);
    feed_quiet(file, 3, false, UINT64_MAX);
    assert_int_equal(in.origin.read_at, 0);
    assert_int_equal(input_patience_ms(&in), UINT64_MAX);
    finish(file);
    close_input();
}

static void the_rest_of_a_truncated_line_may_come_after_any_time(void **state)
{
    (void)state;
    spec.flush_after_ms = 1000;
    spec.max_record = 32;
    const struct str file = STR("0123456789abcdefghijklmnopqrstuvwxyz0123456789\nx\n");
    open_input(0, false);
    feed_quiet(file, 40, false, 9999);
    assert_int_equal(in.origin.read_at, 40);
    assert_true(in.origin.read_mid);
    assert_int_equal(input_patience_ms(&in), UINT64_MAX);
    feed_quiet(file, 43, false, 9999);
    assert_true(in.origin.read_mid);
    finish(file);
    close_input();
    assert_came("|0-32+:0123456789" MARK "|47-49:x");
}

static void a_csv_row_is_flushed_but_never_half_a_header(void **state)
{
    (void)state;
    spec.flush_after_ms = 1000;
    spec.format = FORMAT_CSV;
    const struct str file = STR("a,b\n1,2\n3,4\n");
    open_input(0, false);
    feed_quiet(file, 2, false, 9999);
    assert_int_equal(in.origin.read_at, 0);
    assert_int_equal(input_patience_ms(&in), UINT64_MAX);
    feed(file, 7);
    assert_int_equal(input_patience_ms(&in), 1000);
    feed_quiet(file, 7, false, 1000);
    assert_int_equal(in.origin.read_at, 7);
    finish(file);
    close_input();
    assert_came("|4-7:{\"a\":\"1\",\"b\":\"2\"}|8-12:{\"a\":\"3\",\"b\":\"4\"}");
}

/* ---- events of several lines ---- */

static void use_multiline(const char *start, const char *continues)
{
    spec.multiline = (struct multiline_spec){.start = (char *)start,
                                             .continues = (char *)continues,
                                             .timeout_ms = 5000,
                                             .max_lines = 500};
}

static void lines_become_events(void **state)
{
    (void)state;
    use_multiline("\\d", NULL);
    assert_cuts_to(STR("1 a\n  b\r\n  c\r\n\r\n2\nd"), "|0-16:1 a\n  b\r\n  c|16-19:2\nd");
    assert_cuts_to(STR("x\n\n1\n"), "|0-3:x|3-5:1");
    use_multiline(NULL, "\\s");
    assert_cuts_to(STR("x\n y\nz\n"), "|0-5:x\n y|5-7:z");
}

static void json_over_several_lines_is_one_record(void **state)
{
    (void)state;
    use_multiline("\\{", NULL);
    spec.format = FORMAT_JSON;
    spec.key = (char *)"{a}";
    open_input(0, false);
    finish(STR("{\n \"a\": 1\n}\n{\"a\": 2}\n{\n}\n"));
    close_input();
    assert_int_equal(f.log_n, 3);
    assert_true(str_eq(buf_str(&f.log[0].key), STR("1")));
    assert_came("|0-12:{\n \"a\": 1\n}|12-21:{\"a\": 2}|21-25:{\n}");
}

static void an_event_matches_its_format_as_a_whole(void **state)
{
    (void)state;
    use_multiline("\\d", NULL);
    spec.format = FORMAT_REGEX;
    spec.pattern = (char *)"(?<n>\\d+) (?s:(?<m>.*))";
    assert_cuts_to(STR("1 a\n b\n2 c\n"), "|0-7:{\"n\":\"1\",\"m\":\"a\\n b\"}"
                                          "|7-11:{\"n\":\"2\",\"m\":\"c\"}");
}

static void an_event_that_is_too_long_goes_on_in_another(void **state)
{
    (void)state;
    use_multiline("\\d", NULL);
    spec.max_record = 64; /* 56 for the text of an event, 8 for its key */
    assert_cuts_to(STR("1 3456789012345678\n 0123456789012345678\n 012345678901234\n 012\n2\n"),
                   "|0-57:1 3456789012345678\n 0123456789012345678\n 012345678901234"
                   "|57-62: 012|62-64:2");
    assert_int_equal(pipeline_stats(f.p)->oversize, 0);
}

static void only_a_line_that_is_too_long_by_itself_is_cut(void **state)
{
    (void)state;
    use_multiline("\\d", NULL);
    spec.max_record = 32;
    assert_cuts_to(STR("1\nx123456789abcdefghijklmnopqrstuvwxyz\ny\nz\n2\n"),
                   "|0-2:1|2-34+:x123456789" MARK "|39-43:y\nz|43-45:2");
    spec.on_oversize = OVERSIZE_SPLIT;
    assert_cuts_to(STR("1\nx123456789abcdefghijklmnopqrstuvwxyz\ny\nz\n2\n"),
                   "|0-2:1|2-26:x123456789abcdefghijklmn|26-43:opqrstuvwxyz\ny\nz|43-45:2");
}

static void the_last_event_waits_for_its_timeout(void **state)
{
    (void)state;
    use_multiline("\\d", NULL);
    spec.flush_after_ms = 60000;
    const struct str file = STR("1\na\nbc\n2\n");
    open_input(0, false);
    feed(file, 1);
    assert_int_equal(input_patience_ms(&in), 60000); /* no whole line yet */
    feed(file, 5);
    assert_int_equal(input_patience_ms(&in), 5000);
    feed_quiet(file, 5, false, 4999);
    assert_int_equal(in.origin.read_at, 0);
    feed_quiet(file, 5, false, 5000);
    assert_int_equal(in.origin.read_at, 4);
    assert_int_equal(input_patience_ms(&in), 60000);
    feed_quiet(file, 5, false, 60000);
    assert_int_equal(in.origin.read_at, 5);
    assert_int_equal(input_patience_ms(&in), UINT64_MAX);
    feed(file, 7);
    assert_int_equal(input_patience_ms(&in), 5000);
    finish(file);
    close_input();
    assert_came("|0-4:1\na|4-5:b|5-7:c|7-9:2");
}

static void after_a_reload_the_pending_event_still_times_out(void **state)
{
    (void)state;
    use_multiline("\\d", NULL);
    const struct str file = STR("1\na\n");
    open_input(0, false);
    feed(file, 4);
    input_reshape(&in, shape, &spec);
    assert_int_equal(input_patience_ms(&in), 5000);
    feed_quiet(file, 4, false, 5000);
    assert_int_equal(in.origin.read_at, 4);
    close_input();
    assert_came("|0-4:1\na");
}

static void matches_given_up_are_counted(void **state)
{
    (void)state;
    use_multiline("(a+)+$", NULL);
    open_input(0, false);
    finish(STR("x\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\nb\n"));
    close_input();
    assert_int_equal(pipeline_stats(f.p)->regex_limits, 1);
    assert_int_equal(f.log_n, 1);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_csv_row_in_many_pieces_is_searched_once),
        T(a_long_line_is_truncated_with_a_mark),
        T(a_line_with_no_room_for_its_key_is_truncated_too),
        T(what_is_cut_is_counted_once_for_each_record),
        T(a_character_is_not_cut_in_two),
        T(a_long_line_is_split_into_records),
        T(a_split_line_is_searched_once),
        T(a_long_line_may_become_a_dead_letter),
        T(a_key_that_leaves_no_room_makes_a_dead_letter),
        T(json_and_csv_that_are_too_long_are_dead_whatever_is_asked),
        T(a_long_line_of_a_log_format_is_truncated_if_raw_is_what_no_match_becomes),
        T(a_full_ring_cuts_nothing_twice),
        T(utf_16_lines_are_cut_at_their_own_line_ends),
        T(utf_16_that_is_too_long_is_cut_between_characters),
        T(latin1_that_grows_past_the_limit_is_cut),
        T(the_first_lines_of_a_file_are_skipped),
        T(lines_before_a_csv_header_are_skipped),
        T(a_file_taken_up_in_the_middle_skips_none),
        T(until_all_are_there_the_checkpoint_stays_at_the_beginning),
        T(an_unterminated_record_is_sent_once_the_file_is_quiet),
        T(without_the_option_it_waits_for_ever),
        T(the_rest_of_a_truncated_line_may_come_after_any_time),
        T(a_csv_row_is_flushed_but_never_half_a_header),
        T(lines_become_events),
        T(json_over_several_lines_is_one_record),
        T(an_event_matches_its_format_as_a_whole),
        T(an_event_that_is_too_long_goes_on_in_another),
        T(only_a_line_that_is_too_long_by_itself_is_cut),
        T(the_last_event_waits_for_its_timeout),
        T(after_a_reload_the_pending_event_still_times_out),
        T(matches_given_up_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
