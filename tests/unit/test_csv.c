#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/csv.h"
#include "lib/rng.h"

/* Rows as one text: fields parted by |, each row ended by /. */
struct rows {
    char text[8192];
    size_t n;
};

static void add(struct rows *rows, const char *p, size_t n)
{
    assert_true(rows->n + n < sizeof rows->text);
    memcpy(rows->text + rows->n, p, n);
    rows->n += n;
}

static void add_row(struct rows *rows, const struct csv_row *row)
{
    for (size_t i = 0; i < row->n; i++) {
        if (i > 0)
            add(rows, "|", 1);
        add(rows, row->fields[i].p, row->fields[i].n);
    }
    add(rows, "/", 1);
}

/* The rows in bytes of which only the first `first` are there at the beginning. */
static void read_in_two(struct str whole, size_t first, char delimiter, struct rows *rows)
{
    static struct csv_row row;
    csv_row_init(&row, whole.n);
    rows->n = 0;
    size_t at = 0;
    for (int half = 0; half < 2; half++) {
        size_t end = half == 0 ? first : whole.n;
        for (;;) {
            /* An exact copy, so that the sanitizers see a read too far. */
            char *exact = malloc(end > at ? end - at : 1);
            memcpy(exact, whole.p + at, end - at);
            enum csv_result got =
                csv_row_next(&row, (struct str){exact, end - at}, delimiter, half == 1);
            if (got == CSV_ROW)
                add_row(rows, &row);
            assert_true(row.begin <= end - at && row.used <= end - at);
            if (got == CSV_MORE)
                assert_int_equal(row.begin, row.used);
            free(exact);
            at += row.used;
            if (got == CSV_MORE)
                break;
            assert_int_equal(got, CSV_ROW);
            assert_true(row.used > row.begin);
        }
    }
    assert_int_equal(at, whole.n);
    csv_row_release(&row);
}

static bool same(const struct rows *a, const struct rows *b)
{
    return a->n == b->n && memcmp(a->text, b->text, a->n) == 0;
}

/* What list(csv.reader(io.StringIO(text, newline=""))) gives, without the empty lists. */
static const char *const as_python[][2] = {
    {"a,b,c\n", "a|b|c/"},
    {"a,b,c", "a|b|c/"},
    {"a,b\nc,d\n", "a|b/c|d/"},
    {"a,b\r\nc,d\r\n", "a|b/c|d/"},
    {"a,b\rc,d\r", "a|b/c|d/"},
    {"a\nb\r\nc\rd", "a/b/c/d/"},
    {"\n\n\na\n\n", "a/"},
    {"\r\n\r\na\r\r\n\nb", "a/b/"},
    {"", ""},
    {",", "|/"},
    {"a,", "a|/"},
    {"a,\n", "a|/"},
    {",,\n", "||/"},
    {"\"\"", "/"},
    {"\"\"\n", "/"},
    {"\"\",\"\"\n", "|/"},
    {"\"a\"\n", "a/"},
    {"\"a,b\",c\n", "a,b|c/"},
    {"\"a\nb\"\n", "a\nb/"},
    {"\"a\r\nb\",c\r\n", "a\r\nb|c/"},
    {"\"a\"\"b\"\n", "a\"b/"},
    {"\"\"\"\"\n", "\"/"},
    {"\"\"\"\"\"\"\n", "\"\"/"},
    {"\"a\"\"\",\"\"\"b\"\n", "a\"|\"b/"},
    {"\"a\"b\n", "ab/"},
    {"\"a\"b\"c\",d\n", "ab\"c\"|d/"},
    {"\"a\" ,b\n", "a |b/"},
    {" \"a\",b\n", " \"a\"|b/"},
    {"a\"b,c\"d\n", "a\"b|c\"d/"},
    {"a\"\"b\n", "a\"\"b/"},
    {"\"a\"b\"\"c\"\n", "ab\"\"c\"/"},
    {"\"a\"\"b\"c\"\",d\n", "a\"bc\"\"|d/"},
    {"\"a", "a/"},
    {"\"a\n", "a\n/"},
    {"\"a,b\nc", "a,b\nc/"},
    {"\"a\"\"", "a\"/"},
    {"x,\"a\"\"b", "x|a\"b/"},
    {"a,\"b\"", "a|b/"},
    {"a,\"\"", "a|/"},
    {"a,\"", "a|/"},
    {"\"", "/"},
    {"\"\"x", "x/"},
    {"\"a\rb\"\rc", "a\rb/c/"},
    {" \n", " /"},
    {"\ta\n", "\ta/"},
    {"a\n\"\n\"\nb\n", "a/\n/b/"},
    {"\"a\"\r\"b\"\n", "a/b/"},
    {"a,b,\"c\"\"d\",e\r\nf", "a|b|c\"d|e/f/"},
    {"\"x\"\",y\",z", "x\",y|z/"},
};

static void rows_are_read_as_python_reads_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(as_python); i++) {
        struct str text = str_of(as_python[i][0]);
        for (size_t first = 0; first <= text.n; first++) {
            struct rows rows;
            read_in_two(text, first, ',', &rows);
            if (!str_eq((struct str){rows.text, rows.n}, str_of(as_python[i][1])))
                fail_msg("%s\n-- cut at %zu gave --\n%.*s", text.p, first, (int)rows.n, rows.text);
        }
    }
}

/* The state machine of Python's reader, a byte at a time. */
static void reference(struct str text, char delimiter, struct rows *rows)
{
    enum { ROW, FIELD, PLAIN, QUOTED, AFTER } at = ROW;
    rows->n = 0;
    for (size_t i = 0; i <= text.n; i++) {
        bool over = i == text.n;
        char c = over ? '\n' : text.p[i];
        bool newline = over || c == '\n' || c == '\r';
        if (at == QUOTED && !over) {
            if (c == '"')
                at = AFTER;
            else
                add(rows, &c, 1);
        } else if (at == ROW && newline) {
            continue;
        } else if ((at == ROW || at == FIELD) && c == '"') {
            at = QUOTED;
        } else if (at == AFTER && c == '"') {
            add(rows, &c, 1);
            at = QUOTED;
        } else if (newline) {
            add(rows, "/", 1);
            at = ROW;
        } else if (c == delimiter) {
            add(rows, "|", 1);
            at = FIELD;
        } else {
            add(rows, &c, 1);
            at = PLAIN;
        }
    }
}

static void random_text_split_anywhere_gives_the_rows_of_the_whole(void **state)
{
    (void)state;
    static const char letters[] = {'a', ',', '"', '\n', '\r', ';', 'b', '"'};
    struct rng r;
    rng_seed(&r, 21);
    for (int round = 0; round < 6000; round++) {
        char text[24];
        size_t n = rng_below(&r, sizeof text);
        char delimiter = rng_below(&r, 4) == 0 ? ';' : ',';
        for (size_t i = 0; i < n; i++)
            text[i] = letters[rng_below(&r, sizeof letters)];
        struct rows want;
        reference((struct str){text, n}, delimiter, &want);
        for (size_t first = 0; first <= n; first++) {
            struct rows rows;
            read_in_two((struct str){text, n}, first, delimiter, &rows);
            if (!same(&rows, &want))
                fail_msg("%.*s\n-- cut at %zu gave --\n%.*s\n-- wanted --\n%.*s", (int)n, text,
                         first, (int)rows.n, rows.text, (int)want.n, want.text);
        }
    }
}

static size_t random_field(struct rng *r, char *to)
{
    size_t n = 0, len = rng_below(r, 3) == 0 ? rng_below(r, 150) : rng_below(r, 12);
    unsigned kind = (unsigned)rng_below(r, 6);
    if (kind > 1) {
        for (size_t i = 0; i < len; i++)
            to[n++] = (char)('a' + rng_below(r, 26));
        return n;
    }
    static const char inside[] = {'x', ' ', ',', '\n', '\r', 'y'};
    to[n++] = '"';
    for (size_t i = 0; i < len; i++) {
        if (kind == 1 && rng_below(r, 10) == 0) {
            to[n++] = '"';
            to[n++] = '"';
        }
        to[n++] = inside[rng_below(r, sizeof inside)];
    }
    to[n++] = '"';
    return n;
}

static void long_rows_with_long_fields_agree_too(void **state)
{
    (void)state;
    static const char *const ends[] = {"\n", "\r\n", "\r"};
    struct rng r;
    rng_seed(&r, 22);
    for (int round = 0; round < 1500; round++) {
        char text[8000];
        size_t n = 0;
        while (n < 3000 && rng_below(&r, 30) > 0) {
            n += random_field(&r, text + n);
            if (rng_below(&r, 6) > 0)
                text[n++] = ',';
            else
                n += (size_t)snprintf(text + n, 3, "%s", ends[rng_below(&r, 3)]);
        }
        struct rows want, rows;
        reference((struct str){text, n}, ',', &want);
        read_in_two((struct str){text, n}, rng_below(&r, n + 1), ',', &rows);
        if (!same(&rows, &want))
            fail_msg("%.*s\n-- gave --\n%.*s", (int)n, text, (int)rows.n, rows.text);
    }
}

static void offsets_tell_where_a_row_begins_and_what_it_used(void **state)
{
    (void)state;
    struct csv_row row;
    csv_row_init(&row, KIB);
    struct str text = STR("\n\r\nab,\"c\"\r\nde\n");
    assert_int_equal(csv_row_next(&row, text, ',', false), CSV_ROW);
    assert_int_equal(row.begin, 3);
    assert_int_equal(row.used, 10); /* with the CR, and without the LF behind it */
    assert_int_equal(row.n, 2);
    assert_ptr_equal(row.fields[0].p, text.p + 3); /* borrowed, the quoted one too */
    assert_ptr_equal(row.fields[1].p, text.p + 7);
    assert_int_equal(row.fields[1].n, 1);
    text = (struct str){text.p + 10, text.n - 10};
    assert_int_equal(csv_row_next(&row, text, ',', false), CSV_ROW);
    assert_int_equal(row.begin, 1);
    assert_int_equal(row.used, 4);
    csv_row_release(&row);
}

static void what_is_not_yet_a_row_gives_back_only_its_empty_rows(void **state)
{
    (void)state;
    struct csv_row row;
    csv_row_init(&row, KIB);
    static const char *const texts[] = {"\n\na,b", "\n\n\"a\n", "\n\na,\"b\"", "\n\n,", "\n\n\""};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        assert_int_equal(csv_row_next(&row, str_of(texts[i]), ',', false), CSV_MORE);
        assert_int_equal(row.used, 2);
        assert_int_equal(row.n, 0);
    }
    assert_int_equal(csv_row_next(&row, STR("\r\n\r\n"), ',', false), CSV_MORE);
    assert_int_equal(row.used, 4);
    assert_int_equal(csv_row_next(&row, STR("\r\n\r\n"), ',', true), CSV_MORE);
    assert_int_equal(row.used, 4);
    assert_int_equal(csv_row_next(&row, (struct str){NULL, 0}, ',', true), CSV_MORE);
    assert_int_equal(row.used, 0);
    csv_row_release(&row);
}

static void a_row_may_have_so_many_fields_and_no_more(void **state)
{
    (void)state;
    static struct csv_row row;
    char text[2 * CSV_FIELDS_MAX + 64];
    csv_row_init(&row, sizeof text);
    for (size_t commas = CSV_FIELDS_MAX - 2; commas <= CSV_FIELDS_MAX + 1; commas++) {
        memset(text, ',', commas);
        memcpy(text + commas, "\"x\"\"y\"\nnext\n", 12);
        struct str all = {text, commas + 12};
        bool wide = commas + 1 > CSV_FIELDS_MAX;
        assert_int_equal(csv_row_next(&row, all, ',', false), wide ? CSV_WIDE : CSV_ROW);
        assert_int_equal(row.n, wide ? CSV_FIELDS_MAX : commas + 1);
        assert_int_equal(row.used, commas + 7);
        if (!wide)
            assert_true(str_eq(row.fields[commas], STR("x\"y")));
        for (size_t i = 0; i < row.n && i < commas; i++)
            assert_int_equal(row.fields[i].n, 0);
        assert_int_equal(csv_row_next(&row, (struct str){text, commas + 6}, ',', false), CSV_MORE);
    }
    csv_row_release(&row);
}

static void scratch_is_only_needed_where_quotes_are_undone_and_is_capped(void **state)
{
    (void)state;
    struct csv_row row;
    csv_row_init(&row, 6);
    assert_int_equal(csv_row_next(&row, STR("aaaaaaaaaaaaaa,\"bbbbbbbbbbbb\"\n"), ',', false),
                     CSV_ROW);
    assert_null(row.scratch.p);
    assert_int_equal(csv_row_next(&row, STR("\n\"\"\"\"\n"), ',', false), CSV_ROW);
    assert_true(str_eq(row.fields[0], STR("\"")));
    assert_int_equal(csv_row_next(&row, STR("\na,\"b\"\"c\"\n"), ',', false), CSV_NOMEM);
    assert_int_equal(row.begin, 1);
    assert_int_equal(row.used, 10);
    assert_int_equal(row.n, 0);
    assert_int_equal(csv_row_next(&row, STR("\"\"\"\"\n"), ',', false), CSV_ROW);
    assert_true(str_eq(row.fields[0], STR("\"")));
    csv_row_release(&row);
}

static void fields_are_bytes_whatever_they_are(void **state)
{
    (void)state;
    struct csv_row row;
    csv_row_init(&row, KIB);
    assert_int_equal(csv_row_next(&row, STR("\0\xff\x80,\"\0\"\"\0\",\xef\xbb\xbf\n"), ',', false),
                     CSV_ROW);
    assert_int_equal(row.n, 3);
    assert_true(str_eq(row.fields[0], STR("\0\xff\x80")));
    assert_true(str_eq(row.fields[1], STR("\0\"\0")));
    assert_true(str_eq(row.fields[2], STR("\xef\xbb\xbf")));
    csv_row_release(&row);
}

static void any_other_byte_may_be_the_delimiter(void **state)
{
    (void)state;
    static struct csv_row row;
    csv_row_init(&row, KIB);
    for (int c = 0; c < 256; c++) {
        char d = (char)c;
        if (d == '"' || d == '\n' || d == '\r' || d == 'x' || d == 'y')
            continue;
        char text[] = {'x', d, '"', d, '"', d, d, 'y'};
        assert_int_equal(csv_row_next(&row, (struct str){text, sizeof text}, d, true), CSV_ROW);
        assert_int_equal(row.n, 4);
        assert_int_equal(row.fields[0].n, 1);
        assert_int_equal(row.fields[1].n, 1);
        assert_int_equal(row.fields[2].n, 0);
        assert_int_equal(row.fields[3].n, 1);
    }
    csv_row_release(&row);
}

/* However the bytes come, the scan sees a row's end when the row is one, and not before. */
static void a_scan_sees_the_end_of_a_row_when_it_is_there(void **state)
{
    (void)state;
    static const char letters[] = {'"', '"', ',', 'a', '\n', '\r', '"', 'b'};
    struct csv_row row;
    struct rng r;
    rng_seed(&r, 9);
    csv_row_init(&row, 100);
    for (unsigned round = 0; round < 20000; round++) {
        char text[24];
        size_t n = 1 + rng_below(&r, sizeof text - 1);
        text[0] = letters[rng_below(&r, 4)];
        for (size_t i = 1; i < n; i++)
            text[i] = letters[rng_below(&r, sizeof letters)];
        row.no_quotes = round % 4 == 0;
        struct csv_scan s = {.no_quotes = row.no_quotes};
        for (size_t seen = 1; seen <= n; seen += 1 + rng_below(&r, 3)) {
            struct str part = {text, seen};
            bool whole = csv_row_next(&row, part, ',', false) != CSV_MORE;
            if (csv_scan(&s, part, ',') != whole)
                fail_msg("\"%.*s\" is %sa row", (int)seen, text, whole ? "" : "not ");
            assert_true(whole || s.looked == seen);
        }
    }
    csv_row_release(&row);
}

static void without_quotes_a_row_is_a_line(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a|b|c\n", "a,b,c/"},        {"\"a|b\"|c\n", "\"a,b\",c/"},
        {"\"\n\"\"|\n", "\"/\"\",/"}, {"a\"b|\"\r\n\n\"", "a\"b,\"/\"/"},
        {"|\"|\r", ",\",/"},
    };
    static struct csv_row row;
    csv_row_init(&row, 0); /* nothing is ever copied */
    row.no_quotes = true;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str text = str_of(cases[i][0]);
        char got[64];
        size_t n = 0, at = 0;
        while (csv_row_next(&row, (struct str){text.p + at, text.n - at}, '|', true) == CSV_ROW) {
            for (size_t k = 0; k < row.n; k++)
                n += (size_t)snprintf(got + n, sizeof got - n, "%s%.*s", k > 0 ? "," : "",
                                      (int)row.fields[k].n, row.fields[k].p);
            n += (size_t)snprintf(got + n, sizeof got - n, "/");
            at += row.used;
        }
        assert_string_equal(got, cases[i][1]);
    }
    csv_row_release(&row);
}

static void assert_passes(const char *text, bool at_end, size_t used, bool over)
{
    bool got = !over;
    assert_int_equal(csv_pass_line(str_of(text), at_end, &got), used);
    assert_int_equal(got, over);
}

static void a_line_is_passed_over_whatever_its_end(void **state)
{
    (void)state;
    assert_passes("a\"\nb\"\n", false, 3, true);
    assert_passes("ab\r\nc", false, 4, true);
    assert_passes("ab\rc", false, 3, true);
    assert_passes("\n\n", false, 1, true);
    assert_passes("ab\r", false, 2, false); /* an LF may follow */
    assert_passes("\r", false, 0, false);
    assert_passes("ab", false, 2, false);
    assert_passes("", false, 0, false);
    assert_passes("ab\r", true, 3, true);
    assert_passes("ab", true, 2, true);
    assert_int_equal(csv_last_end(STR("a\nb\rc")), 4);
    assert_int_equal(csv_last_end(STR("abc")), 0);
    assert_int_equal(csv_last_end(STR("")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_read_as_python_reads_them),
        cmocka_unit_test(random_text_split_anywhere_gives_the_rows_of_the_whole),
        cmocka_unit_test(long_rows_with_long_fields_agree_too),
        cmocka_unit_test(offsets_tell_where_a_row_begins_and_what_it_used),
        cmocka_unit_test(what_is_not_yet_a_row_gives_back_only_its_empty_rows),
        cmocka_unit_test(a_row_may_have_so_many_fields_and_no_more),
        cmocka_unit_test(scratch_is_only_needed_where_quotes_are_undone_and_is_capped),
        cmocka_unit_test(fields_are_bytes_whatever_they_are),
        cmocka_unit_test(any_other_byte_may_be_the_delimiter),
        cmocka_unit_test(a_scan_sees_the_end_of_a_row_when_it_is_there),
        cmocka_unit_test(without_quotes_a_row_is_a_line),
        cmocka_unit_test(a_line_is_passed_over_whatever_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
