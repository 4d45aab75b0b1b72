#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/buf.h"
#include "lib/yaml.h"

static struct yaml *parse(const char *text)
{
    struct err e = {0};
    struct yaml *y = yaml_parse(str_of(text), &e);
    if (y == NULL)
        print_error("%s\n", e.text);
    assert_non_null(y);
    return y;
}

static void assert_refused(struct str text, const char *start)
{
    struct err e = {0};
    struct yaml *y = yaml_parse(text, &e);
    assert_null(y);
    assert_true(e.code < 0);
    if (strncmp(e.text, start, strlen(start)) != 0)
        fail_msg("\"%s\" does not start with \"%s\"", e.text, start);
}

static void every_node_knows_its_line_and_column(void **state)
{
    (void)state;
    struct yaml *y = parse("a: 1\n"
                           "bee:\n"
                           "  c: [x, \"y\", 'z']\n"
                           "  \xc3\xa9\xc3\xa9: {d: e}\n");
    assert_int_equal(y->kind, YAML_MAPPING);
    assert_int_equal(y->n, 2);
    assert_string_equal(y->keys[1].text, "bee");
    assert_int_equal(y->keys[1].line, 2);
    assert_int_equal(y->keys[1].column, 1);
    assert_int_equal(y->values[0].line, 1);
    assert_int_equal(y->values[0].column, 4);
    const struct yaml *c = yaml_get(&y->values[1], "c");
    assert_int_equal(c->kind, YAML_SEQUENCE);
    assert_int_equal(c->n, 3);
    assert_null(c->keys);
    assert_int_equal(c->values[2].line, 3);
    assert_int_equal(c->values[2].column, 15);
    const struct yaml *d = yaml_get(yaml_get(&y->values[1], "\xc3\xa9\xc3\xa9"), "d");
    assert_string_equal(d->text, "e");
    assert_int_equal(d->column, 11); /* characters, not bytes */
    yaml_tree_free(y);
}

static void a_quoted_scalar_is_not_plain(void **state)
{
    (void)state;
    struct yaml *y = parse("- 5\n- '5'\n- \"5\"\n- |\n  5\n- >\n  5\n-\n");
    static const bool plain[] = {true, false, false, false, false, true};
    assert_int_equal(y->n, ARRAY_LEN(plain));
    for (size_t i = 0; i < y->n; i++)
        assert_int_equal(y->values[i].plain, plain[i]);
    assert_string_equal(y->values[3].text, "5\n");
    assert_string_equal(y->values[5].text, "");
    yaml_tree_free(y);
}

static void escapes_in_double_quotes_are_undone(void **state)
{
    (void)state;
    struct yaml *y = parse("{tab: \"\\t\", single: '\\t', u: \"\\u00e9\"}");
    assert_string_equal(yaml_get(y, "tab")->text, "\t");
    assert_string_equal(yaml_get(y, "single")->text, "\\t");
    assert_string_equal(yaml_get(y, "u")->text, "\xc3\xa9");
    yaml_tree_free(y);
}

static void an_empty_document_is_an_empty_mapping(void **state)
{
    (void)state;
    static const char *const texts[] = {"",           "\n\n",         "# only a comment\n", "---\n",
                                        "---\n...\n", "\xef\xbb\xbf", "\xef\xbb\xbf# BOM\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct yaml *y = parse(texts[i]);
        assert_int_equal(y->kind, YAML_MAPPING);
        assert_int_equal(y->n, 0);
        assert_null(yaml_get(y, "a"));
        yaml_tree_free(y);
    }
    struct yaml *y = yaml_parse((struct str){NULL, 0}, NULL);
    assert_non_null(y);
    yaml_tree_free(y);
}

static void a_byte_order_mark_and_windows_line_ends_are_accepted(void **state)
{
    (void)state;
    struct yaml *y = parse("\xef\xbb\xbf"
                           "a: 1\r\nb: 2\r\n");
    assert_string_equal(yaml_get(y, "a")->text, "1");
    assert_string_equal(yaml_get(y, "b")->text, "2");
    assert_int_equal(yaml_get(y, "b")->line, 2);
    yaml_tree_free(y);
}

static void yaml_get_finds_only_keys_of_mappings(void **state)
{
    (void)state;
    struct yaml *y = parse("{a: [b], c: d}");
    assert_null(yaml_get(y, "b"));
    assert_null(yaml_get(yaml_get(y, "a"), "b"));
    assert_null(yaml_get(yaml_get(y, "c"), "d"));
    assert_null(yaml_get(NULL, "a"));
    yaml_tree_free(y);
    yaml_tree_free(NULL);
}

static void what_is_not_yaml_is_refused_with_its_place(void **state)
{
    (void)state;
    assert_refused(STR("a: [1\nb: 2"), "2:2: ");
    assert_refused(STR("a: b: c\n"), "1:5: ");
    assert_refused(STR("a: 1\n\tb: 2\n"), "2:");
    assert_refused(STR("a: \"never closed\n"), "2:1: ");
    assert_refused(STR("a: 1\n  b: 2\n"), "2:4: ");
    assert_refused(STR("%FOO\n"), "1:");
    assert_refused(STR("a: @b\n"), "1:4: this character cannot start a value: quote it");
}

static void bytes_that_are_not_utf8_are_refused_with_their_place(void **state)
{
    (void)state;
    assert_refused(STR("a: 1\nb: \xff\n"), "2:4: ");
    assert_refused(STR("\xc3\xa9: \xc3\n"), "1:5: ");
    assert_refused(STR("a: \xed\xa0\x80\n"), "1:4: "); /* a surrogate */
    assert_refused(STR("a: \x01\n"), "1:4: ");
    assert_refused(STR("\xff\xfe"
                       "a\0:\0"),
                   "1:1: "); /* UTF-16 */
}

static void a_nul_byte_is_refused(void **state)
{
    (void)state;
    assert_refused(STR("a: \"x\\0y\"\n"), "1:4: a NUL byte");
    assert_refused(STR("\"a\\0\": 1\n"), "1:1: a NUL byte");
    assert_refused(STR("a: x\0y\n"), "1:");
}

static void anchors_aliases_and_tags_are_refused(void **state)
{
    (void)state;
    assert_refused(STR("a: &x 1\n"), "1:4: anchors");
    assert_refused(STR("a: &x {b: c}\n"), "1:4: anchors");
    assert_refused(STR("a: &x [b]\n"), "1:4: anchors");
    assert_refused(STR("a: *x\n"), "1:4: anchors");
    assert_refused(STR("file: *.log\n"), "1:7: anchors and aliases are not allowed (quote");
    assert_refused(STR("&k a: 1\n"), "1:1: anchors");
    assert_refused(STR("a: !!int 1\n"), "1:4: tags");
    assert_refused(STR("a: !x {}\n"), "1:4: tags");
    assert_refused(STR("a: ! []\n"), "1:4: tags");
}

static void a_repeated_key_is_refused_naming_both_lines(void **state)
{
    (void)state;
    assert_refused(STR("a: 1\nb: 2\n'a': 3\n"),
                   "3:1: \"a\" is here a second time; first in line 1");
    assert_refused(STR("x:\n  a: 1\n  a: 1\n"), "3:3: \"a\"");
    yaml_tree_free(parse("x: {a: 1}\ny: {a: 1}\n"));
}

static void a_key_must_be_a_scalar(void **state)
{
    (void)state;
    assert_refused(STR("? [a]\n: 1\n"), "1:3: a key must be");
    assert_refused(STR("{{a: b}: c}\n"), "1:2: a key must be");
}

static void a_second_document_is_refused(void **state)
{
    (void)state;
    assert_refused(STR("a: 1\n---\nb: 2\n"), "2:1: a second document");
    assert_refused(STR("---\n---\n"), "2:1: a second document");
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    char text[2 * (YAML_DEPTH_MAX + 1) + 1];
    for (int extra = 0; extra <= 1; extra++) {
        size_t depth = (size_t)(YAML_DEPTH_MAX + extra);
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        struct err e;
        struct yaml *y = yaml_parse((struct str){text, 2 * depth}, &e);
        assert_int_equal(y == NULL, extra);
        yaml_tree_free(y);
    }
    assert_refused((struct str){text, sizeof text - 1}, "1:33: nested too deeply");
}

static void the_number_of_values_is_bounded(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, YAML_BYTES_MAX);
    buf_putc(&b, '[');
    for (int i = 0; i < YAML_NODES_MAX - 1; i++)
        buf_puts(&b, "a,");
    struct str fits = {b.p, b.n};
    buf_puts(&b, "a]");
    assert_false(b.failed);
    assert_refused(buf_str(&b), "1:");
    b.p[fits.n - 1] = ']';
    struct yaml *y = yaml_parse(fits, NULL);
    assert_non_null(y);
    assert_int_equal(y->n, YAML_NODES_MAX - 1);
    yaml_tree_free(y);
    buf_release(&b);
}

static void the_keys_of_one_mapping_are_bounded(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, YAML_BYTES_MAX);
    for (int i = 0; i < YAML_KEYS_MAX; i++)
        buf_printf(&b, "k%d: v\n", i);
    struct yaml *y = yaml_parse(buf_str(&b), NULL);
    assert_non_null(y);
    yaml_tree_free(y);
    buf_puts(&b, "more: v\n");
    assert_refused(buf_str(&b), "1025:1: too many keys");
    buf_release(&b);
}

static void the_size_of_the_text_is_bounded(void **state)
{
    (void)state;
    size_t n = YAML_BYTES_MAX + 1;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, '\n', n);
    assert_refused((struct str){text, n}, "1:1: the text is larger");
    struct yaml *y = yaml_parse((struct str){text, n - 1}, NULL);
    assert_non_null(y);
    yaml_tree_free(y);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_node_knows_its_line_and_column),
        cmocka_unit_test(a_quoted_scalar_is_not_plain),
        cmocka_unit_test(escapes_in_double_quotes_are_undone),
        cmocka_unit_test(an_empty_document_is_an_empty_mapping),
        cmocka_unit_test(a_byte_order_mark_and_windows_line_ends_are_accepted),
        cmocka_unit_test(yaml_get_finds_only_keys_of_mappings),
        cmocka_unit_test(what_is_not_yaml_is_refused_with_its_place),
        cmocka_unit_test(bytes_that_are_not_utf8_are_refused_with_their_place),
        cmocka_unit_test(a_nul_byte_is_refused),
        cmocka_unit_test(anchors_aliases_and_tags_are_refused),
        cmocka_unit_test(a_repeated_key_is_refused_naming_both_lines),
        cmocka_unit_test(a_key_must_be_a_scalar),
        cmocka_unit_test(a_second_document_is_refused),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(the_number_of_values_is_bounded),
        cmocka_unit_test(the_keys_of_one_mapping_are_bounded),
        cmocka_unit_test(the_size_of_the_text_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
