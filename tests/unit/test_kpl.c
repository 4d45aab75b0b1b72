#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/buf.h"
#include "lib/hash.h"
#include "lib/kpl.h"

/* What aws_kinesis_agg 1.1.3 makes of ("a", "first", 123), ("b", "", 7) and ("a", "third\n" three
 * times, 123). */
static const char strangers[] =
    "f3899ac20a01610a016212033132331201371a0b080010001a0566697273741a06080110011a001a18080010001a12"
    "74686972640a74686972640a74686972640a337580a759144174e9a8fad0a9d41124";

static unsigned digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
}

/* Exact allocations, so that the sanitizers see a byte too many. */
static char *exact(struct str s)
{
    char *copy = malloc(s.n > 0 ? s.n : 1);
    assert_non_null(copy);
    memcpy(copy, s.p, s.n);
    return copy;
}

static struct str unhex(const char *hex, char *out)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
    return (struct str){out, n};
}

static struct buf made;

/* A message of the bytes in `hex`, with magic and checksum. */
static struct str sealed(const char *hex)
{
    char message[512];
    uint8_t sum[MD5_SIZE];
    struct str m = unhex(hex, message);
    assert_true(hash_md5(m.p, m.n, sum));
    buf_release(&made);
    buf_init(&made, MIB);
    buf_put(&made, "\xf3\x89\x9a\xc2", 4);
    buf_put(&made, m.p, m.n);
    buf_put(&made, sum, sizeof sum);
    return buf_str(&made);
}

/* The user records, a bar between them; NULL: it is damaged. */
static const char *read_all(struct str data)
{
    static char out[1024];
    struct kpl k;
    struct str user;
    const char *why = NULL;
    size_t n = 0;
    char *copy = exact(data);
    bool ok = kpl_open(&k, (struct str){copy, data.n}, &why);
    assert_true(ok || why != NULL);
    while (ok && kpl_next(&k, &user)) {
        memcpy(out + n, user.p, user.n);
        n += user.n;
        out[n++] = '|';
    }
    free(copy);
    out[n] = '\0';
    return ok ? out : NULL;
}

static int forget(void **state)
{
    (void)state;
    buf_release(&made);
    return 0;
}

static void an_aggregate_of_another_program_is_taken_apart(void **state)
{
    (void)state;
    char bytes[128];
    assert_string_equal(read_all(unhex(strangers, bytes)), "first||third\nthird\nthird\n|");
}

static void text_is_no_aggregate(void **state)
{
    (void)state;
    assert_false(kpl_is_aggregate(STR("")));
    assert_false(kpl_is_aggregate(STR("{\"a\":1}")));
    assert_false(kpl_is_aggregate(STR("\xf3\x89\x9a")));
    assert_false(kpl_is_aggregate(STR("\xf3\x89\x9a\xc3xxxx")));
    assert_true(kpl_is_aggregate(STR("\xf3\x89\x9a\xc2")));
}

static void every_byte_that_is_changed_or_missing_is_noticed(void **state)
{
    (void)state;
    char bytes[128];
    struct str whole = unhex(strangers, bytes);
    for (size_t n = 4; n < whole.n; n++)
        assert_null(read_all((struct str){bytes, n}));
    for (size_t i = 4; i < whole.n; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[i] = (char)(bytes[i] ^ 1 << bit);
            assert_null(read_all(whole));
            bytes[i] = (char)(bytes[i] ^ 1 << bit);
        }
    }
}

static void an_empty_aggregate_has_no_records(void **state)
{
    (void)state;
    assert_string_equal(read_all(sealed("")), "");
    assert_string_equal(read_all(sealed("0a0161")), "");
}

static void tables_may_stand_behind_the_records(void **state)
{
    (void)state;
    assert_string_equal(read_all(sealed("1a0508001a0178"
                                        "0a0161")),
                        "x|");
}

static void what_it_does_not_know_is_passed_over(void **state)
{
    (void)state;
    /* Field 9 of each wire type, at the top and in the record; a tag in the record. */
    assert_string_equal(read_all(sealed("0a0161"
                                        "48ff01"
                                        "49"
                                        "0102030405060708"
                                        "4a0178"
                                        "4d01020304"
                                        "1a14"
                                        "0800"
                                        "48ff01"
                                        "4d01020304"
                                        "22030a016b"
                                        "1a0179"
                                        "4a00")),
                        "y|");
}

static void of_data_that_comes_twice_the_last_counts(void **state)
{
    (void)state;
    assert_string_equal(read_all(sealed("0a01611a0808001a01781a0179")), "y|");
}

static void what_reaches_past_its_end_or_points_nowhere_is_damage(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "0a0261",                                 /* a key longer than the message */
        "0aff",                                   /* a length without end */
        "0affffffffffffffffff01",                 /* of 2^64 - 1 */
        "0affffffffffffffffff02",                 /* of more than 64 bits */
        "0affffffffffffffffffff01",               /* in eleven bytes */
        "08",                                     /* a field without its value */
        "0801",                                   /* a key that is a number */
        "1801",                                   /* a record that is one */
        "49010203",                               /* eight bytes that are three */
        "4d0102",                                 /* four that are two */
        "4b4c",                                   /* a group */
        "4e00",                                   /* a type that is none */
        "0200",                                   /* field number 0 */
        "1a0508001a0178",                         /* no keys at all */
        "0a01611a0508011a0178",                   /* a key behind the last */
        "0a01611a0e08ffffffffffffffffff011a0178", /* far behind */
        "0a01611a02080a",                         /* no data */
        "0a01611a020800",
        "0a01611a031a0178",         /* no key */
        "0a01611a07080010001a0178", /* a hash key where there are none */
        "0a01611201311201321a07080010011a01781a07080010021a0178", /* behind the last of them */
        "0a01611a0608001a0378",                                   /* data longer than its record */
        "0a01611a040800180f",                                     /* data that is a number */
        "0a01611a060a00081a0178",                                 /* a key index that is bytes */
        "0a01611a08080012001a0178",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (read_all(sealed(bad[i])) != NULL)
            fail_msg("%s was taken", bad[i]);
    }
    assert_string_equal(read_all(sealed("0a01611a0608001a027841")), "xA|");
}

static void a_record_says_why_it_is_damaged(void **state)
{
    (void)state;
    struct kpl k;
    const char *why = NULL;
    char bytes[128];
    struct str whole = unhex(strangers, bytes);
    assert_false(kpl_open(&k, (struct str){bytes, 19}, &why));
    assert_string_equal(why, "a KPL aggregate that is cut short");
    bytes[10]++;
    assert_false(kpl_open(&k, whole, &why));
    assert_string_equal(why, "a KPL aggregate whose checksum is wrong");
    assert_false(kpl_open(&k, sealed("1a00"), &why));
    assert_string_equal(why, "a KPL aggregate that is not of its format");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_aggregate_of_another_program_is_taken_apart),
        cmocka_unit_test(text_is_no_aggregate),
        cmocka_unit_test(every_byte_that_is_changed_or_missing_is_noticed),
        cmocka_unit_test_teardown(an_empty_aggregate_has_no_records, forget),
        cmocka_unit_test_teardown(tables_may_stand_behind_the_records, forget),
        cmocka_unit_test_teardown(what_it_does_not_know_is_passed_over, forget),
        cmocka_unit_test_teardown(of_data_that_comes_twice_the_last_counts, forget),
        cmocka_unit_test_teardown(what_reaches_past_its_end_or_points_nowhere_is_damage, forget),
        cmocka_unit_test_teardown(a_record_says_why_it_is_damaged, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
