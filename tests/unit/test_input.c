#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/input.h"
#include "tests/unit/fakes.h"

#define BOM "\xef\xbb\xbf"

static struct fakes f;
static struct shape_spec spec;
static struct shape *shape;
static struct input in;

static int set_up(void **state)
{
    (void)state;
    fakes_init(&f, 1 * MIB);
    f.logging = true;
    spec = (struct shape_spec){.format = FORMAT_LINE,
                               .delimiter = ',',
                               .key = (char *)"hash",
                               .on_oversize = OVERSIZE_DEAD_LETTER,
                               .max_record = 4 * KIB};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fakes_release(&f);
    return 0;
}

/* ---- one file through one input ------------------------------------------------------------- */

static void open_input(uint64_t offset, bool mid_record)
{
    struct err e;
    shape = shape_new(&spec, "box", &e);
    if (shape == NULL)
        fail_msg("%s", e.text);
    input_init(&in, f.p, shape, &spec, "/srv/a");
    input_start(&in, offset, mid_record);
}

static int by_offset(const void *a, const void *b)
{
    const struct fake_entry *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* Dead letters go another way than the others, and may overtake them. */
static void close_input(void)
{
    fakes_settle(&f);
    qsort(f.log, f.log_n, sizeof f.log[0], by_offset);
    assert_int_equal(in.origin.in_ring, 0);
    assert_int_equal(in.origin.delivered, in.origin.read_at);
    input_release(&in);
    shape_free(shape);
}

/* Offers what stands at read_at up to `end`, from an exact copy, so that the sanitizers see a read
 * too far. */
static enum input_result feed(struct str file, size_t end, bool at_end)
{
    size_t at = (size_t)in.origin.read_at, used = SIZE_MAX;
    if (input_needs_header(&in))
        assert_true(input_header(&in, file, true));
    char *exact = malloc(end - at + 1);
    char *copy = exact + 1; /* an address that is not aligned */
    memcpy(copy, file.p + at, end - at);
    const struct str rest = {copy, end - at};
    enum input_result result = input_feed(&in, f.now, rest, at_end, 0, &used);
    free(exact);
    assert_true(used <= end - at);
    assert_int_equal(in.origin.read_at, at + used);
    assert_true(in.origin.delivered <= in.origin.read_at);
    return result;
}

static void finish(struct str file)
{
    assert_int_equal(feed(file, file.n, false), INPUT_MORE);
    assert_int_equal(feed(file, file.n, true), INPUT_MORE);
    assert_int_equal(in.origin.read_at, file.n);
}

/* The whole file at once; what came of it is in f.log. */
static void read_whole(struct str file)
{
    fakes_forget_log(&f);
    open_input(0, false);
    finish(file);
    close_input();
}

/* ---- what came of it ------------------------------------------------------------------------ */

struct wanted {
    struct fake_entry log[FAKES_LOG_MAX];
    unsigned n;
};

static struct wanted wanted;

static void want_what_came(void)
{
    memcpy(wanted.log, f.log, sizeof f.log);
    wanted.n = f.log_n;
    f.log_n = 0;
}

static void forget_wanted(void)
{
    memcpy(f.log, wanted.log, sizeof f.log);
    f.log_n = wanted.n;
    fakes_forget_log(&f);
}

static void assert_came_as_wanted(unsigned from, const char *how, size_t where)
{
    for (unsigned i = 0; i < f.log_n; i++) {
        const struct fake_entry *got = &f.log[i], *want = &wanted.log[from + i];
        if (from + i >= wanted.n)
            fail_msg("%s %zu: %u records too many", how, where, from + f.log_n - wanted.n);
        if (got->kind != want->kind || got->begin != want->begin || got->end != want->end ||
            got->mid_record != want->mid_record ||
            !str_eq(buf_str(&got->data), buf_str(&want->data)) ||
            !str_eq(buf_str(&got->key), buf_str(&want->key)))
            fail_msg("%s %zu: record %u is [%zu,%zu) %.*s, not [%zu,%zu) %.*s", how, where,
                     from + i, (size_t)got->begin, (size_t)got->end, (int)got->data.n, got->data.p,
                     (size_t)want->begin, (size_t)want->end, (int)want->data.n, want->data.p);
    }
    if (from + f.log_n != wanted.n)
        fail_msg("%s %zu: %u records, wanted %u", how, where, from + f.log_n, wanted.n);
}

/* No byte between two records but line ends (and the rest of one that was too long). */
static void assert_no_gaps(struct str file, uint64_t from)
{
    bool skipping = false;
    for (unsigned i = 0; i <= f.log_n; i++) {
        uint64_t to = i < f.log_n ? f.log[i].begin : file.n;
        assert_true(to >= from);
        for (uint64_t at = from; at < to; at++) {
            bool line_end = file.p[at] == '\n' || file.p[at] == '\r';
            if (!line_end && !skipping)
                fail_msg("byte %zu is in no record", (size_t)at);
            skipping &= file.p[at] != '\n' && (file.p[at] != '\r' || spec.format != FORMAT_CSV);
        }
        if (i == f.log_n)
            break;
        assert_true(f.log[i].end > f.log[i].begin);
        from = f.log[i].end;
        skipping = f.log[i].mid_record;
    }
}

static void assert_entry(unsigned i, enum record_kind kind, const char *data)
{
    assert_true(i < f.log_n);
    assert_int_equal(f.log[i].kind, kind);
    if (!str_eq(buf_str(&f.log[i].data), str_of(data)))
        fail_msg("record %u is %.*s, not %s", i, (int)f.log[i].data.n, f.log[i].data.p, data);
}

static void assert_only_record(const char *data)
{
    assert_int_equal(f.log_n, 1);
    assert_entry(0, RECORD_DATA, data);
}

static void assert_reason(unsigned i, const char *word)
{
    assert_int_equal(f.log[i].kind, RECORD_DEAD);
    assert_non_null(memmem(f.log[i].key.p, f.log[i].key.n, word, strlen(word)));
}

/* ---- the same, however it comes ------------------------------------------------------------- */

static void in_two_pieces(struct str file)
{
    for (size_t cut = 0; cut <= file.n; cut++) {
        fakes_forget_log(&f);
        open_input(0, false);
        assert_int_equal(feed(file, cut, false), INPUT_MORE);
        fakes_settle(&f);
        finish(file);
        close_input();
        assert_came_as_wanted(0, "cut at", cut);
    }
}

static void byte_by_byte(struct str file)
{
    fakes_forget_log(&f);
    open_input(0, false);
    for (size_t end = 0; end <= file.n; end++)
        assert_int_equal(feed(file, end, false), INPUT_MORE);
    finish(file);
    close_input();
    assert_came_as_wanted(0, "byte by byte", 0);
}

/* A process that ends after `stop` bytes, and another that takes up its delivered position. */
static void with_a_restart(struct str file)
{
    for (size_t stop = 0; stop <= file.n; stop++) {
        fakes_forget_log(&f);
        open_input(0, false);
        assert_int_equal(feed(file, stop, false), INPUT_MORE);
        fakes_settle(&f);
        uint64_t offset = in.origin.delivered;
        bool mid = in.origin.delivered_mid;
        close_input();
        open_input(offset, mid);
        finish(file);
        close_input();
        assert_came_as_wanted(0, "restart after", stop);
    }
}

/* As it has come in f.log, where the records begin at `from`. */
static void assert_same_from(struct str file, uint64_t from)
{
    assert_no_gaps(file, from);
    want_what_came();
    in_two_pieces(file);
    byte_by_byte(file);
    with_a_restart(file);
    fakes_forget_log(&f);
    forget_wanted();
}

static void assert_same_however_it_comes(struct str file)
{
    read_whole(file);
    assert_true(f.log_n > 0);
    assert_same_from(file, spec.format != FORMAT_LINE && memcmp(file.p, BOM, 3) == 0 ? 3 : 0);
}

static void lines_are_the_same_however_they_come(void **state)
{
    (void)state;
    const struct str files[] = {STR("one\ntwo\n\n\nthree\n"),
                                STR("one\r\ntwo\r\n\r\nthree"),
                                STR("\n\r\n\nx"),
                                STR("a\rb\rc\n"),
                                STR("x"),
                                STR("\0\xff\n" BOM "y\n"),
                                STR(BOM "a\nb"),
                                STR("last\r")};
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        assert_same_however_it_comes(files[i]);
}

static void json_lines_are_the_same_however_they_come(void **state)
{
    (void)state;
    const struct str files[] = {
        STR("{\"a\":1}\n{\"b\":\"\\u0000\"}\r\n\n[1,2\n5\n{}"),
        STR(BOM "{\"a\":123456789012345678901234567890}\nnot json\n\"x\"\n"), STR("{\"a\":\n1}\n"),
        STR(BOM "5\n6\n"), STR(BOM "\n\n7")};
    spec.format = FORMAT_JSON;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        assert_same_however_it_comes(files[i]);
}

/* The header is part of no record, so the gaps are looked at without it. */
static void assert_same_csv(struct str file)
{
    read_whole(file);
    assert_true(f.log_n > 0);
    assert_same_from(file, f.log[0].begin);
}

static void csv_is_the_same_however_it_comes(void **state)
{
    (void)state;
    const struct str files[] = {
        STR("a,b\n1,2\n3,\"x\ny\"\n\"q\"\"q\",4\n"), STR("a,b\r\n1,2\r\n\r\n3,\"x\r\ny\"\r\n5,6"),
        STR("a,b\r1,2\r\r3,\"x\ry\"\r5,6"),          STR(BOM "a,b\n1,2\n"),
        STR(BOM "\r\n\r\na,b\r\n1,2\r\n"),           STR("\n\n\na,b\n\n1,2\n3,4"),
        STR("\"a\nx\",b\n1,2,3\n4\n\"open"),         STR("a\n\xff\n,\n\"\"\n"),
    };
    spec.format = FORMAT_CSV;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        assert_same_csv(files[i]);
}

static void csv_with_configured_columns_has_no_header(void **state)
{
    (void)state;
    char *columns[] = {(char *)"a", (char *)"b"};
    spec.format = FORMAT_CSV;
    spec.columns = columns;
    spec.columns_n = 2;
    const struct str file = STR(BOM "\n1,2\n3,4\n");
    read_whole(file);
    assert_int_equal(f.log_n, 2);
    assert_entry(0, RECORD_DATA, "{\"a\":\"1\",\"b\":\"2\"}");
    assert_int_equal(f.log[0].begin, 4);
    assert_int_equal(f.log[0].end, 8);
    assert_same_csv(file);
}

static void records_that_are_too_long_are_the_same_however_they_come(void **state)
{
    (void)state;
    const struct str lines[] = {
        STR("short\n0123456789abcdefgh\nshort\n"),
        STR("0123456789abcdef\r\n0123456789abcdefg\r\nx\n"),
        STR("0123456789abcdefghijklmnopqrstuvwxyz0123456789"),
        STR("0123456789abcdef\n0123456789abcdefg\n\n0123456789abcdef\r"),
        STR("0123456789abcde\r\n0123456789abcdef\r\n0123456789abcdefg\rh\n")};
    const struct str rows[] = {
        STR("a,b\n1,2\n0123456789,abcdefgh\n3,4\n"),
        STR("a,b\r\n\"0123456789\r\nabcdefgh\",x\r\n3,4\r\n"),
        STR("a,b\r0123456789abcdefghijkl\r3,4\r"),
        STR("a,b\n\n\n0123456789abcde\n0123456789abcdef\n0123456789abcdefg\nx\n"),
        STR("a\n\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\nx\n"),
        STR("0123456789,abcdefgh\n3,4\n5,6\n"), /* the header itself */
        STR(BOM "\n0123456789abcdefgh,\"\n\"\n3,4\n"),
    };
    spec.max_record = 16;
    spec.key = (char *)"k";
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        assert_same_however_it_comes(lines[i]);
    spec.format = FORMAT_CSV;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_same_csv(rows[i]);
}

/* ---- what is what --------------------------------------------------------------------------- */

static void lines_have_their_offsets(void **state)
{
    (void)state;
    read_whole(STR("one\n\ntwo\r\nthree"));
    assert_int_equal(f.log_n, 3);
    assert_entry(0, RECORD_DATA, "one");
    assert_entry(1, RECORD_DATA, "two");
    assert_entry(2, RECORD_DATA, "three");
    assert_int_equal(f.log[1].begin, 5);
    assert_int_equal(f.log[1].end, 10);
    assert_int_equal(f.log[2].end, 15);
}

static void an_unfinished_record_waits_for_more_or_the_end(void **state)
{
    (void)state;
    open_input(0, false);
    assert_int_equal(feed(STR("ab"), 2, false), INPUT_MORE);
    assert_int_equal(in.origin.read_at, 0);
    assert_int_equal(feed(STR("abc\n"), 4, false), INPUT_MORE);
    assert_int_equal(in.origin.read_at, 4);
    close_input();
    assert_int_equal(f.log_n, 1);
}

static void a_json_line_that_is_not_json_is_a_dead_letter_in_its_place(void **state)
{
    (void)state;
    spec.format = FORMAT_JSON;
    read_whole(STR("{}\n{,\n[]\n"));
    assert_int_equal(f.log_n, 3);
    assert_entry(1, RECORD_DEAD, "{,");
    assert_reason(1, "not JSON at byte 1");
    assert_int_equal(f.log[1].begin, 3);
    assert_int_equal(in.dead, 1);
}

static void a_csv_row_keeps_the_offset_of_its_first_byte(void **state)
{
    (void)state;
    struct shape_field field = {
        .name = (char *)"at", .kind = FIELD_FROM, .from = (char *)"@file.offset"};
    spec.format = FORMAT_CSV;
    spec.fields = &field;
    spec.fields_n = 1;
    read_whole(STR("a\n\n\n1\r\n\r\n2\n"));
    assert_int_equal(f.log_n, 2);
    assert_entry(0, RECORD_DATA, "{\"at\":4}");
    assert_entry(1, RECORD_DATA, "{\"at\":9}");
}

static void a_column_that_is_asked_for_and_missing_is_named(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    spec.key = (char *)"{gone}";
    open_input(0, false);
    const struct str file = STR("a\n1\n");
    assert_null(in.missing_column);
    finish(file);
    assert_string_equal(in.missing_column, "gone");
    close_input();
    assert_int_equal(pipeline_stats(f.p)->key_fallbacks, 1);
}

static void what_the_shape_counts_is_counted_once(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    spec.key = (char *)"{b}";
    read_whole(STR("a,b\n1,\n\xff,2,3\n4,5\n"));
    const struct stats *s = pipeline_stats(f.p);
    assert_int_equal(s->key_fallbacks, 1);
    assert_int_equal(s->bytes_replaced, 1);
    assert_int_equal(s->ragged_rows, 1);
    assert_int_equal(s->records_in, 3);
    assert_int_equal(s->records_delivered, 3);
}

static void an_over_long_line_is_cut_and_the_rest_skipped(void **state)
{
    (void)state;
    spec.max_record = 40;
    const struct str file = STR("0123456789012345678901234567890123456789XYZ\nnext\n");
    open_input(0, false);
    feed(file, 43, false);
    assert_int_equal(in.origin.read_at, 43);
    assert_true(in.origin.read_mid);
    fakes_settle(&f);
    assert_int_equal(in.origin.delivered, 43);
    assert_true(in.origin.delivered_mid);
    finish(file);
    assert_false(in.origin.read_mid);
    close_input();
    assert_int_equal(f.log_n, 2);
    assert_entry(0, RECORD_DEAD, "0123456789012345678901234567890123456789");
    assert_reason(0, "longer than max_record");
    assert_int_equal(f.log[0].end, 40);
    assert_true(f.log[0].mid_record);
    assert_entry(1, RECORD_DATA, "next");
    assert_int_equal(pipeline_stats(f.p)->oversize, 1);
    assert_int_equal(pipeline_stats(f.p)->records_dead, 1);
}

static void over_long_rows_are_counted_whether_their_end_is_in_sight_or_not(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    spec.max_record = 50;
    const struct str file = STR("a\n0123456789012345678901234567890123456789012345678901\n1\n");
    read_whole(file);
    assert_int_equal(pipeline_stats(f.p)->oversize, 1);
    fakes_forget_log(&f);
    open_input(0, false);
    feed(file, file.n - 4, false);
    finish(file);
    close_input();
    assert_int_equal(pipeline_stats(f.p)->oversize, 2);
}

static void a_row_of_too_many_fields_is_a_dead_letter(void **state)
{
    (void)state;
    char text[CSV_FIELDS_MAX + 10];
    size_t n = (size_t)snprintf(text, sizeof text, "a\n");
    memset(text + n, ',', CSV_FIELDS_MAX);
    n += CSV_FIELDS_MAX;
    n += (size_t)snprintf(text + n, sizeof text - n, "\n1\n");
    spec.format = FORMAT_CSV;
    read_whole((struct str){text, n});
    assert_int_equal(f.log_n, 2);
    assert_reason(0, "too many fields");
    assert_int_equal(f.log[0].data.n, CSV_FIELDS_MAX);
    assert_entry(1, RECORD_DATA, "{\"a\":\"1\"}");
}

/* ---- headers -------------------------------------------------------------------------------- */

static void a_header_is_never_a_record_however_it_arrives(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    const struct str file = STR(BOM "\n\na,b\n1,2\n");
    open_input(0, false);
    assert_false(input_needs_header(&in));
    assert_int_equal(feed(file, 3, false), INPUT_MORE); /* the mark alone */
    assert_int_equal(in.origin.read_at, 3);
    assert_false(input_needs_header(&in));
    assert_int_equal(feed(file, 7, false), INPUT_MORE); /* half a header */
    assert_false(input_needs_header(&in));
    finish(file);
    close_input();
    assert_only_record("{\"a\":\"1\",\"b\":\"2\"}");
}

static void taken_up_behind_the_header_it_is_asked_for(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    const struct str file = STR("a,b\n1,2\n3,4\n");
    open_input(8, false);
    assert_true(input_needs_header(&in));
    assert_false(input_header(&in, STR("a,"), false));
    assert_true(input_needs_header(&in));
    assert_false(input_header(&in, STR("\n\n"), true));
    assert_true(input_header(&in, file, false));
    assert_false(input_needs_header(&in));
    finish(file);
    close_input();
    assert_only_record("{\"a\":\"3\",\"b\":\"4\"}");
}

static void taken_up_before_the_header_it_is_still_found(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    const struct str file = STR(BOM "\r\n\na,b\n1,2\n");
    for (uint64_t at = 3; at <= 6; at++) {
        fakes_forget_log(&f);
        open_input(at, false);
        assert_true(input_needs_header(&in));
        assert_true(input_header(&in, (struct str){file.p, 8}, false)); /* not all of it is there */
        assert_false(input_needs_header(&in));
        finish(file);
        close_input();
        assert_only_record("{\"a\":\"1\",\"b\":\"2\"}");
    }
}

static void a_header_needs_no_line_end_at_the_end_of_the_file(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    open_input(3, false);
    assert_false(input_header(&in, STR("a,b"), false));
    assert_true(input_header(&in, STR("a,b"), true));
    close_input();
}

static void a_header_of_too_many_fields_names_the_first(void **state)
{
    (void)state;
    char text[2 * CSV_FIELDS_MAX + 100];
    size_t n = 0;
    for (unsigned i = 0; i <= CSV_FIELDS_MAX; i++, n += 2)
        memcpy(text + n, i == 0 ? "a," : i == 5 ? "b," : "x,", 2);
    size_t header_n = n;
    n += (size_t)snprintf(text + n, sizeof text - n, "\n1,2,3,4,5,6\n");
    const struct str file = {text, n};
    struct shape_field fields[] = {{.name = (char *)"p", .kind = FIELD_FROM, .from = (char *)"a"},
                                   {.name = (char *)"q", .kind = FIELD_FROM, .from = (char *)"b"}};
    spec.format = FORMAT_CSV;
    spec.fields = fields;
    spec.fields_n = 2;
    read_whole(file);
    assert_only_record("{\"p\":\"1\",\"q\":\"6\"}");
    want_what_came();
    open_input(header_n + 1, false);
    finish(file);
    close_input();
    assert_came_as_wanted(0, "taken up", header_n + 1);
    fakes_forget_log(&f);
    forget_wanted();
}

static void a_header_that_is_too_long_is_cut_once_and_for_all(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    spec.max_record = 40;
    const struct str file = STR("a,b,0123456789012345678901234567890123456789012345\n1,2\n3,4\n");
    read_whole(file);
    assert_int_equal(f.log_n, 3);
    assert_reason(0, "longer than max_record");
    assert_reason(1, "longer than max_record"); /* the object with that name is too long, too */
    assert_int_equal(f.log[1].data.n, 3);
}

/* ---- no room -------------------------------------------------------------------------------- */

static void a_full_ring_stops_the_feed_and_nothing_is_lost_or_doubled(void **state)
{
    (void)state;
    static char text[60000];
    for (enum shape_format format = FORMAT_LINE; format <= FORMAT_CSV; format++) {
        struct fakes *g = &f;
        fakes_release(g);
        fakes_init(g, 8 * KIB);
        g->logging = true;
        spec.format = format;
        spec.max_record = 1 * KIB;
        size_t n = format == FORMAT_CSV ? (size_t)snprintf(text, sizeof text, "a\n") : 0;
        for (unsigned i = 0; i < 500; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%0*u\n", i % 9 == 0 ? "\n" : "",
                                  1 + (int)(i * 7 % 100), i % 10);
        const struct str file = {text, n};
        open_input(0, false);
        unsigned full = 0;
        while (in.origin.read_at < file.n) {
            enum input_result result = feed(file, file.n, false);
            full += result == INPUT_FULL;
            if (result == INPUT_FULL) {
                uint64_t at = in.origin.read_at;
                assert_int_equal(feed(file, file.n, false), INPUT_FULL);
                assert_int_equal(in.origin.read_at, at);
            }
            fakes_pump(g);
            fakes_accept_all(g);
            fakes_store_dead(g, true);
            fakes_pump(g);
        }
        close_input();
        assert_true(full > 3);
        assert_int_equal(g->log_n, 500);
        assert_no_gaps(file, g->log[0].begin);
        assert_int_equal(pipeline_stats(g->p)->records_in, 500);
        assert_int_equal(pipeline_stats(g->p)->pauses > 0, true);
    }
}

static void without_room_for_a_dead_letter_the_input_waits_before_it(void **state)
{
    (void)state;
    spec.format = FORMAT_JSON;
    const struct str file = STR("{}\nbad\n[]\n");
    f.no_dead_room = true;
    open_input(0, false);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(feed(file, file.n, true), INPUT_DEAD_FULL);
        assert_int_equal(in.origin.read_at, 3);
        fakes_settle(&f);
        assert_int_equal(in.origin.delivered, 3);
    }
    assert_int_equal(f.log_n, 1);
    assert_int_equal(in.dead, 0);
    f.no_dead_room = false;
    finish(file);
    close_input();
    assert_int_equal(f.log_n, 3);
    assert_no_gaps(file, 0);
}

static void an_over_long_record_waits_for_room_as_a_whole(void **state)
{
    (void)state;
    static const enum shape_format formats[] = {FORMAT_LINE, FORMAT_CSV};
    const struct str file = STR("a,b\n0123456789012345678901234567890123456789abcd\nx\n");
    spec.max_record = 40;
    spec.key = (char *)"k"; /* then the objects are short enough */
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        spec.format = formats[i];
        fakes_forget_log(&f);
        f.no_dead_room = true;
        open_input(0, false);
        assert_int_equal(feed(file, file.n, false), INPUT_DEAD_FULL);
        assert_int_equal(in.origin.read_at, 4);
        assert_false(in.origin.read_mid);
        f.no_dead_room = false;
        finish(file);
        close_input();
        assert_int_equal(f.log_n, formats[i] == FORMAT_CSV ? 2 : 3);
    }
    assert_int_equal(pipeline_stats(f.p)->oversize, 2);
}

static void ring_and_dead_letters_full_in_turn_lose_nothing(void **state)
{
    (void)state;
    fakes_release(&f);
    fakes_init(&f, 4 * KIB);
    f.logging = true;
    spec.format = FORMAT_JSON;
    spec.max_record = 200;
    static char text[40000];
    size_t n = 0;
    for (unsigned i = 0; i < 600; i++) {
        if (i % 11 == 5)
            n += (size_t)snprintf(text + n, sizeof text - n, "\"%0300u\"\n", i);
        else
            n += (size_t)snprintf(text + n, sizeof text - n, i % 5 == 2 ? "%u bad\n" : "%u\n", i);
    }
    const struct str file = {text, n};
    struct rng r;
    rng_seed(&r, 3);
    open_input(0, false);
    for (unsigned turn = 0; in.origin.read_at < file.n; turn++) {
        assert_true(turn < 100000);
        f.no_dead_room = rng_below(&r, 2) == 0;
        size_t end = (size_t)in.origin.read_at + rng_below(&r, file.n - in.origin.read_at + 1);
        feed(file, end, false);
        if (rng_below(&r, 4) == 0)
            fakes_pump(&f);
        if (rng_below(&r, 3) == 0)
            fakes_accept_all(&f);
        if (rng_below(&r, 3) == 0)
            fakes_store_dead(&f, rng_below(&r, 2) == 0);
        f.now.mono_ms += rng_below(&r, 700);
    }
    f.logging = false; /* dead letters that failed to be stored are in the log again */
    f.no_dead_room = false;
    for (unsigned i = 0; i < 100; i++) {
        f.now.mono_ms += 1000;
        fakes_settle(&f);
    }
    close_input();
    const struct stats *s = pipeline_stats(f.p);
    assert_int_equal(s->records_in, 600);
    assert_int_equal(s->records_delivered + s->records_dead, 600);
    assert_int_equal(s->oversize, 55); /* 5, 16, ... 599 */
    assert_int_equal(in.dead, s->records_dead);
}

/* ---- positions ------------------------------------------------------------------------------ */

static void nothing_but_line_ends_moves_the_position_at_once(void **state)
{
    (void)state;
    open_input(0, false);
    feed(STR("\n\r\n\n"), 4, false);
    assert_int_equal(in.origin.delivered, 4);
    assert_false(list_empty(pipeline_moved(f.p)));
    assert_ptr_equal(LIST_FIRST(pipeline_moved(f.p), struct origin, moved), &in.origin);
    close_input();
    assert_true(list_empty(pipeline_moved(f.p)));
}

static void the_position_waits_for_the_records_before_it(void **state)
{
    (void)state;
    open_input(0, false);
    const struct str file = STR("one\n\n\ntwo\n\n");
    feed(file, 4, false);
    assert_int_equal(in.origin.delivered, 0);
    fakes_pump(&f);
    feed(file, file.n, false);
    assert_int_equal(in.origin.delivered, 0);
    fakes_accept_all(&f);
    fakes_pump(&f);
    assert_int_equal(in.origin.delivered, 4); /* two is still to come */
    fakes_accept_all(&f);
    fakes_pump(&f);
    assert_int_equal(in.origin.delivered, file.n);
    close_input();
}

static void two_files_share_a_ring_and_keep_their_own_positions(void **state)
{
    (void)state;
    struct input other;
    open_input(0, false);
    input_init(&other, f.p, shape, &spec, "/srv/b");
    input_start(&other, 100, false);
    size_t used;
    feed(STR("a1\na2\n"), 6, false);
    assert_int_equal(input_feed(&other, f.now, STR("b1\n"), false, 0, &used), INPUT_MORE);
    feed(STR("a1\na2\na3\n"), 9, false);
    assert_int_equal(in.origin.in_ring, 3);
    assert_int_equal(other.origin.in_ring, 1);
    fakes_pump(&f);
    assert_int_equal(f.requests[0].n, 4);
    fakes_answer_entries(&f, 0, (const uint8_t[]){0, 1, 0, 0}, "InternalFailure");
    fakes_pump(&f);
    assert_int_equal(in.origin.delivered, 3);
    assert_int_equal(other.origin.delivered, 100); /* its record stands behind one that failed */
    f.now.mono_ms += 60000;
    fakes_settle(&f);
    assert_int_equal(other.origin.delivered, 103);
    input_release(&other);
    close_input();
}

/* ---- reload --------------------------------------------------------------------------------- */

static void reshape(const struct shape_spec *next)
{
    struct shape *fresh = shape_new(next, "box", NULL);
    assert_non_null(fresh);
    input_reshape(&in, fresh, next);
    shape_free(shape);
    shape = fresh;
}

static void a_new_shape_serves_from_the_next_record_on(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    const struct str file = STR("a,b\n1,2\n3,4\n");
    open_input(0, false);
    feed(file, 8, false);
    struct shape_field field = {.name = (char *)"x", .kind = FIELD_FROM, .from = (char *)"b"};
    struct shape_spec next = spec;
    next.fields = &field;
    next.fields_n = 1;
    reshape(&next);
    assert_true(input_needs_header(&in));
    finish(file);
    close_input();
    assert_entry(0, RECORD_DATA, "{\"a\":\"1\",\"b\":\"2\"}");
    assert_entry(1, RECORD_DATA, "{\"x\":\"4\"}");
}

static void a_new_shape_before_the_header_waits_for_it(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    const struct str file = STR("\n\na\n1\n");
    open_input(0, false);
    feed(file, 2, false);
    input_reshape(&in, shape, &spec);
    assert_false(input_needs_header(&in));
    finish(file);
    close_input();
    assert_only_record("{\"a\":\"1\"}");
}

static void lines_that_become_csv_ask_for_the_header(void **state)
{
    (void)state;
    const struct str file = STR("a,b\n1,2\n3,4\n");
    open_input(0, false);
    feed(file, 8, false);
    struct shape_spec next = spec;
    next.format = FORMAT_CSV;
    reshape(&next);
    assert_true(input_needs_header(&in));
    finish(file);
    close_input();
    assert_int_equal(f.log_n, 3);
    assert_entry(2, RECORD_DATA, "{\"a\":\"3\",\"b\":\"4\"}");
}

static void a_new_shape_goes_on_skipping_an_over_long_record(void **state)
{
    (void)state;
    spec.max_record = 40;
    const struct str file = STR("0123456789012345678901234567890123456789abc\nx\n");
    open_input(0, false);
    feed(file, 42, false);
    assert_true(in.origin.read_mid);
    input_reshape(&in, shape, &spec);
    finish(file);
    close_input();
    assert_int_equal(f.log_n, 2);
    assert_entry(1, RECORD_DATA, "x");
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(lines_are_the_same_however_they_come),
        T(json_lines_are_the_same_however_they_come),
        T(csv_is_the_same_however_it_comes),
        T(csv_with_configured_columns_has_no_header),
        T(records_that_are_too_long_are_the_same_however_they_come),
        T(lines_have_their_offsets),
        T(an_unfinished_record_waits_for_more_or_the_end),
        T(a_json_line_that_is_not_json_is_a_dead_letter_in_its_place),
        T(a_csv_row_keeps_the_offset_of_its_first_byte),
        T(a_column_that_is_asked_for_and_missing_is_named),
        T(what_the_shape_counts_is_counted_once),
        T(an_over_long_line_is_cut_and_the_rest_skipped),
        T(over_long_rows_are_counted_whether_their_end_is_in_sight_or_not),
        T(a_row_of_too_many_fields_is_a_dead_letter),
        T(a_header_is_never_a_record_however_it_arrives),
        T(taken_up_behind_the_header_it_is_asked_for),
        T(taken_up_before_the_header_it_is_still_found),
        T(a_header_needs_no_line_end_at_the_end_of_the_file),
        T(a_header_of_too_many_fields_names_the_first),
        T(a_header_that_is_too_long_is_cut_once_and_for_all),
        T(a_full_ring_stops_the_feed_and_nothing_is_lost_or_doubled),
        T(without_room_for_a_dead_letter_the_input_waits_before_it),
        T(an_over_long_record_waits_for_room_as_a_whole),
        T(ring_and_dead_letters_full_in_turn_lose_nothing),
        T(nothing_but_line_ends_moves_the_position_at_once),
        T(the_position_waits_for_the_records_before_it),
        T(two_files_share_a_ring_and_keep_their_own_positions),
        T(a_new_shape_serves_from_the_next_record_on),
        T(a_new_shape_before_the_header_waits_for_it),
        T(lines_that_become_csv_ask_for_the_header),
        T(a_new_shape_goes_on_skipping_an_over_long_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
