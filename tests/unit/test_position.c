#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/hash.h"
#include "lib/json.h"
#include "lib/position.h"
#include "lib/rng.h"

static void a_fingerprint_is_the_head_of_the_sha_256_and_knows_its_length(void **state)
{
    (void)state;
    uint8_t hash[SHA256_SIZE];
    char bytes[FINGERPRINT_MAX];
    memset(bytes, 'x', sizeof bytes);
    for (size_t n = 0; n <= sizeof bytes; n += 128) {
        struct fingerprint f = fingerprint_of(bytes, n);
        hash_sha256(bytes, n, hash);
        assert_int_equal(f.n, n);
        assert_memory_equal(f.hash, hash, sizeof f.hash);
    }
}

static void fingerprints_are_equal_when_length_and_hash_are(void **state)
{
    (void)state;
    struct fingerprint a = fingerprint_of("abc", 3), b = fingerprint_of("abc", 3);
    struct fingerprint c = fingerprint_of("abd", 3), none = fingerprint_of(NULL, 0);
    assert_true(fingerprint_eq(&a, &b));
    assert_false(fingerprint_eq(&a, &c));
    assert_false(fingerprint_eq(&a, &none));
    assert_true(fingerprint_eq(&none, &none));
    b.n = 4;
    assert_false(fingerprint_eq(&a, &b));
    b = a;
    b.hash[FINGERPRINT_SIZE - 1] ^= 1;
    assert_false(fingerprint_eq(&a, &b));
}

static void a_position_is_sane_within_its_bounds(void **state)
{
    (void)state;
    struct position p = {.offset = 3, .tail = fingerprint_of("abc", 3)};
    assert_true(position_sane(&p));
    p.offset = 2;
    assert_false(position_sane(&p));
    p.offset = (uint64_t)INT64_MAX;
    assert_true(position_sane(&p));
    p.offset++;
    assert_false(position_sane(&p));
    p = (struct position){.head.n = FINGERPRINT_MAX};
    assert_true(position_sane(&p));
    p.head.n++;
    assert_false(position_sane(&p));
}

static struct position some_position(uint64_t offset)
{
    return (struct position){
        .device = 64769,
        .inode = 1311,
        .offset = offset,
        .head = fingerprint_of("head", 4),
        .tail = fingerprint_of("ta", offset < 2 ? offset : 2),
    };
}

static uint64_t last_id; /* each file_at has an id of its own */

/* The set's members are char * because a decoded set owns them; encoding only reads them. */
static struct checkpoint_file file_at(const char *path, uint64_t offset)
{
    return (struct checkpoint_file){.path = (char *)path,
                                    .at = some_position(offset),
                                    .seen_s = 1793419200,
                                    .size = offset / 2 + 7,
                                    .id = ++last_id};
}

static struct checkpoint_source source_of(const char *name, struct checkpoint_file *files, size_t n)
{
    return (struct checkpoint_source){(char *)name, files, n};
}

static void assert_same(const struct checkpoint *a, const struct checkpoint *b)
{
    assert_int_equal(a->generation, b->generation);
    assert_int_equal(a->sources_n, b->sources_n);
    for (size_t i = 0; i < a->sources_n; i++) {
        const struct checkpoint_source *s = &a->sources[i], *t = &b->sources[i];
        assert_string_equal(s->name, t->name);
        assert_int_equal(s->files_n, t->files_n);
        for (size_t k = 0; k < s->files_n; k++) {
            const struct position *p = &s->files[k].at, *q = &t->files[k].at;
            assert_string_equal(s->files[k].path, t->files[k].path);
            assert_true(p->device == q->device && p->inode == q->inode && p->offset == q->offset);
            assert_int_equal(p->mid_record, q->mid_record);
            assert_int_equal(s->files[k].seen_s, t->files[k].seen_s);
            assert_int_equal(s->files[k].size, t->files[k].size);
            assert_int_equal(s->files[k].id, t->files[k].id);
            assert_true(fingerprint_eq(&p->head, &q->head));
            assert_true(fingerprint_eq(&p->tail, &q->tail));
        }
    }
}

static void assert_round_trip(const struct checkpoint *c)
{
    struct buf b;
    struct checkpoint back;
    struct err e = {0};
    buf_init(&b, 16 * MIB);
    checkpoint_encode(c, &b);
    assert_false(b.failed);
    assert_true(json_valid(buf_str(&b), NULL));
    if (checkpoint_decode(buf_str(&b), &back, &e) != 0)
        fail_msg("%s in %.*s", e.text, (int)b.n, b.p);
    assert_same(c, &back);
    checkpoint_release(&back);
    assert_null(back.sources);
    assert_int_equal(back.sources_n, 0);
    checkpoint_release(&back); /* harmless */
    buf_release(&b);
}

static void what_is_encoded_is_decoded(void **state)
{
    (void)state;
    assert_round_trip(&(struct checkpoint){0});
    struct checkpoint_file files[] = {
        file_at("/srv/a.csv", 0),
        file_at("/srv/b.csv", 1),
        file_at("/srv/b.csv", UINT64_C(5) << 32),
        file_at("/srv/c.csv", (uint64_t)INT64_MAX),
        file_at("/srv/c.csv", UINT64_C(9007199254740993)), /* no double holds it */
    };
    files[1].at.mid_record = true;
    files[2].at.inode = files[2].at.device = UINT64_MAX;
    files[3].at.inode = files[3].at.device = 0;
    struct checkpoint_source sources[] = {source_of("none yet", NULL, 0),
                                          source_of("one", files, 1),
                                          source_of("many", files + 1, ARRAY_LEN(files) - 1)};
    assert_round_trip(&(struct checkpoint){7, sources, ARRAY_LEN(sources)});
}

static void names_and_paths_come_back_byte_for_byte(void **state)
{
    (void)state;
    struct checkpoint_file files[] = {
        file_at("/a \"quoted\\\" path\n\t\x01\x7f", 0),
        file_at("/gr\xc3\xbc\xc3\x9f/\xf0\x9f\x98\x80", 0),
        file_at("/latin-1 \xfc", 0),
        file_at("\xff", 0),
        file_at("/\xed\xa0\x80 half a pair", 0),
        file_at("\xef\xbf\xbd", 0),
        file_at("[relative]_hex", 0),
    };
    struct checkpoint_source sources[] = {source_of("a\xfe", files + 1, ARRAY_LEN(files) - 1),
                                          source_of("a\xff", files, 1)};
    assert_round_trip(&(struct checkpoint){7, sources, ARRAY_LEN(sources)});
    char all[256];
    for (int i = 1; i < 256; i++)
        all[i - 1] = (char)i;
    all[255] = '\0';
    struct checkpoint_file file = file_at(all, 7);
    struct checkpoint_source source = source_of(all, &file, 1);
    assert_round_trip(&(struct checkpoint){1, &source, 1});
}

#define HASH     "00112233445566778899aabbccddeeff"
#define PRINT(n) "{\"n\":" #n ",\"hash\":\"" HASH "\"}"

/* One good entry; the tests below replace a part of it. */
static const char good[] =
    "{\"version\":1,\"generation\":3,\"sources\":[\n{\"name\":\"crimes\",\"files\":[\n"
    "{\"id\":\"21\",\"path\":\"/a\",\"device\":\"12\",\"inode\":\"34\",\"offset\":56,"
    "\"mid_record\":false,\"seen\":9,\"size\":78,"
    "\"head\":" PRINT(7) ",\"tail\":" PRINT(8) "}]}]}\n";

static void the_format_is_this_one(void **state)
{
    (void)state;
    struct position at = {.device = 12, .inode = 34, .offset = 56, .head.n = 7, .tail.n = 8};
    for (unsigned i = 0; i < FINGERPRINT_SIZE; i++)
        at.head.hash[i] = at.tail.hash[i] = (uint8_t)(i * 0x11);
    struct checkpoint_file file = file_at("/a", 0);
    file.at = at;
    file.seen_s = 9;
    file.size = 78;
    file.id = 21;
    struct checkpoint_source source = source_of("crimes", &file, 1);
    struct checkpoint c = {3, &source, 1}, back;
    struct buf b;
    buf_init(&b, KIB);
    checkpoint_encode(&c, &b);
    assert_string_equal(buf_cstr(&b), good);
    assert_int_equal(checkpoint_decode(STR(good), &back, NULL), 0);
    assert_same(&c, &back);
    checkpoint_release(&back);
    buf_release(&b);
}

static void white_space_is_free(void **state)
{
    (void)state;
    struct buf b;
    struct checkpoint c;
    buf_init(&b, 4 * KIB);
    for (const char *p = good; *p != '\0'; p++) {
        buf_putc(&b, *p);
        if (strchr("{}[],:", *p) != NULL)
            buf_puts(&b, " \n\t\r");
    }
    assert_int_equal(checkpoint_decode(buf_str(&b), &c, NULL), 0);
    assert_int_equal(c.sources[0].files[0].at.offset, 56);
    checkpoint_release(&c);
    buf_release(&b);
}

static void assert_refused(struct str text, int code, const char *says)
{
    struct checkpoint c, before;
    struct err e = {0};
    memset(&c, 0x55, sizeof c);
    before = c;
    int rc = checkpoint_decode(text, &c, &e);
    if (rc != code || strstr(e.text, says) == NULL || strstr(e.text, "checkpoint") == NULL)
        fail_msg("%.*s\ngave %d \"%s\", wanted %d \"%s\"", (int)min_size(text.n, 2000), text.p, rc,
                 e.text, code, says);
    assert_memory_equal(&c, &before, sizeof c);
}

/* `good` with the first `from` replaced. */
static void assert_change_refused(const char *from, const char *to, int code, const char *says)
{
    const char *at = strstr(good, from);
    assert_non_null(at);
    struct buf b;
    buf_init(&b, 200 * KIB);
    buf_put(&b, good, (size_t)(at - good));
    buf_puts(&b, to);
    buf_puts(&b, at + strlen(from));
    assert_refused(buf_str(&b), code, says);
    buf_release(&b);
}

static void another_version_is_refused_before_anything_else(void **state)
{
    (void)state;
    assert_refused(STR("{\"version\":2,\"whatever\":[]}"), ERR_RANGE, "of version 2");
    assert_refused(STR("{\"version\":2,\"whatever\":[]}"), ERR_RANGE, "a newer program wrote it");
    assert_refused(STR("{\"version\":2 and then something else"), ERR_RANGE, "of version 2");
    assert_refused(STR("{\"version\":0}"), ERR_RANGE, "knows only version 1");
    assert_refused(STR("{\"version\":99999999999999999999}"), ERR_SYNTAX, "\"version\"");
    assert_refused(STR("{\"version\":\"1\"}"), ERR_SYNTAX, "\"version\"");
    assert_refused(STR("{\"version\":1.0}"), ERR_SYNTAX, "\"version\"");
    assert_refused(STR("{\"sources\":[],\"version\":1}"), ERR_SYNTAX, "\"version\"");
}

static void every_damaged_field_is_refused_with_its_name(void **state)
{
    (void)state;
    static const char *const changes[][3] = {
        {"\"generation\":3", "\"generation\":-3", "\"generation\""},
        {"\"generation\":3", "\"generation\":\"3\"", "\"generation\""},
        {"\"generation\":3", "\"generation\":3.0", "\"generation\""},
        {"\"generation\":3", "\"generation\":03", "not JSON"},
        {"\"generation\":3", "\"generation\":4611686018427387904", "\"generation\""},
        {"\"generation\":3,", "", "\"generation\""},
        {"\"crimes\"", "\"\"", "\"name\""},
        {"\"crimes\"", "7", "string"},
        {"\"crimes\"", "\"a\\u0000b\"", "NUL"},
        {"\"name\"", "\"nam\"", "\"name\""},
        {"\"name\"", "\"name_\"", "\"name\""},
        {"\"name\"", "\"xxxx_hex\"", "\"name\""},
        {"\"name\":\"crimes\"", "\"name_hex\":\"6\"", "hex"},
        {"\"name\":\"crimes\"", "\"name_hex\":\"zz\"", "hex"},
        {"\"name\":\"crimes\"", "\"name_hex\":\"6A\"", "hex"},
        {"\"name\":\"crimes\"", "\"name_hex\":\"\"", "empty"},
        {"\"name\":\"crimes\"", "\"name_hex\":\"0061\"", "NUL"},
        {"\"name\":\"crimes\",", "", "\"name\""},
        {"\"21\"", "21", "\"id\""},
        {"\"21\"", "\"\"", "\"id\""},
        {"\"21\"", "\"0\"", "\"id\""},
        {"\"21\"", "\"021\"", "\"id\""},
        {"\"21\"", "\"-1\"", "\"id\""},
        {"\"21\"", "\"4611686018427387904\"", "\"id\""},
        {"\"21\"", "\"18446744073709551616\"", "\"id\""},
        {"\"21\"", "null", "\"id\""},
        {"\"id\":\"21\",", "", "\"id\""},
        {"\"/a\"", "\"\"", "\"path\""},
        {"\"/a\"", "null", "string"},
        {"\"path\":\"/a\",", "", "\"path\""},
        {"\"12\"", "12", "\"device\""},
        {"\"12\"", "\"\"", "\"device\""},
        {"\"12\"", "\"-1\"", "\"device\""},
        {"\"12\"", "\"0x1\"", "\"device\""},
        {"\"12\"", "\"012\"", "\"device\""},
        {"\"12\"", "\" 12\"", "\"device\""},
        {"\"12\"", "\"18446744073709551616\"", "\"device\""},
        {"\"34\"", "\"99999999999999999999\"", "\"inode\""},
        {"\"34\"", "\"184467440737095516150\"", "\"inode\""},
        {"\"34\"", "true", "\"inode\""},
        {"\"inode\":\"34\",", "", "\"inode\""},
        {"56", "-1", "\"offset\""},
        {"56", "5.6e1", "\"offset\""},
        {"56", "56.0", "\"offset\""},
        {"56", "\"56\"", "\"offset\""},
        {"56", "9223372036854775808", "\"offset\""},
        {"56", "null", "\"offset\""},
        {"false", "0", "\"mid_record\""},
        {"false", "\"false\"", "\"mid_record\""},
        {"false", "null", "\"mid_record\""},
        {":9,", ":-9,", "\"seen\""},
        {":9,", ":9223372036854775808,", "\"seen\""},
        {"\"seen\":9,", "", "\"seen\""},
        {":78,", ":-78,", "\"size\""},
        {":78,", ":\"78\",", "\"size\""},
        {":78,", ":7.8e1,", "\"size\""},
        {":78,", ":9223372036854775808,", "\"size\""},
        {"\"size\":78,", "", "\"size\""},
        {"\"n\":7", "\"n\":1025", "\"n\""},
        {"\"n\":7", "\"n\":-7", "\"n\""},
        {"\"n\":7", "\"n\":4294967303", "\"n\""},
        {"\"n\":7,", "", "\"n\""},
        {"\"n\":8", "\"n\":57", "\"n\""}, /* more bytes than stand before the offset */
        {"00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeef", "\"head\""},
        {"00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff0", "\"head\""},
        {"00112233445566778899aabbccddeeff", "00112233445566778899AABBCCDDEEFF", "\"head\""},
        {"00112233445566778899aabbccddeeff", "\\u0030112233445566778899aabbccdde", "\"head\""},
        {"\"hash\":", "\"hsh\":", "\"hash\""},
        {"{\"n\":7,", "[{\"n\":7,", "fingerprint"},
        {"},\"tail\"", ",\"more\":1},\"tail\"", "end of the fingerprint"},
        {"\"tail\"", "\"tale\"", "\"tail\""},
        {"}]}]}", ",\"more\":1}]}]}", "end of the file"},
        {"}]}]}", "}],\"more\":1}]}", "end of the source"},
        {"}]}]}", "}]}],\"more\":1}", "end of the checkpoint"},
        {"}]}]}", "},1]}]}", "object"},
        {"}]}]}", "},[]]}]}", "object"},
        {"}]}]}\n", "}]}]} x", "not JSON"},
        {"}]}]}\n", "}]}]}{}", "not JSON"},
        {"\"files\":[", "\"files\":7,[", "list of files"},
        {"\"sources\":[", "\"sources\":{", "list of sources"},
        {"\"sources\":[", "\"sauces\":[", "\"sources\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(changes); i++)
        assert_change_refused(changes[i][0], changes[i][1], ERR_SYNTAX, changes[i][2]);
    assert_refused(STR("[]"), ERR_SYNTAX, "expected an object");
    assert_refused(STR(""), ERR_SYNTAX, "ends too early");
    assert_refused(STR("\xff"), ERR_SYNTAX, "not JSON");
}

static void bounds_are_inclusive(void **state)
{
    (void)state;
    static const char text[] =
        "{\"version\":1,\"generation\":4611686018427387903,\"sources\":[{\"name\":\"s\",\"files\":"
        "[{\"id\":\"4611686018427387903\",\"path\":\"p\",\"device\":\"18446744073709551615\","
        "\"inode\":\"0\",\"offset\":9223372036854775807,\"mid_record\":true,\"seen\":0,"
        "\"size\":9223372036854775807,\"head\":" PRINT(1024) ",\"tail\":" PRINT(1024) "}]}]}";
    struct checkpoint c;
    assert_int_equal(checkpoint_decode(STR(text), &c, NULL), 0);
    const struct position *p = &c.sources[0].files[0].at;
    assert_true(p->device == UINT64_MAX && p->inode == 0 && p->offset == (uint64_t)INT64_MAX);
    assert_true(p->mid_record && p->head.n == 1024 && p->tail.n == 1024);
    assert_int_equal(c.sources[0].files[0].size, INT64_MAX);
    assert_int_equal(c.sources[0].files[0].id, INT64_MAX / 2);
    assert_int_equal(c.generation, INT64_MAX / 2);
    checkpoint_release(&c);
}

static struct str encoded(const struct checkpoint *c, struct buf *b)
{
    buf_init(b, MIB);
    checkpoint_encode(c, b);
    assert_false(b->failed);
    return buf_str(b);
}

static void an_id_may_stand_there_once_in_all_sources_together(void **state)
{
    (void)state;
    struct checkpoint_file first[] = {file_at("/a", 1), file_at("/b", 2), file_at("/c", 3)};
    struct checkpoint_file second[] = {file_at("/d", 4), file_at("/e", 5)};
    struct checkpoint_source sources[] = {source_of("one", first, 3), source_of("two", second, 2)};
    const struct checkpoint c = {1, sources, 2};
    struct buf b;
    first[0].id = second[1].id = 17;
    assert_refused(encoded(&c, &b), ERR_SYNTAX, "the id 17 is there twice");
    buf_release(&b);
    second[1].id = 18;
    first[2].id = first[1].id = 16;
    assert_refused(encoded(&c, &b), ERR_SYNTAX, "the id 16 is there twice");
    buf_release(&b);
}

static void a_source_may_stand_there_once(void **state)
{
    (void)state;
    assert_refused(STR("{\"version\":1,\"generation\":1,\"sources\":[{\"name\":\"a\",\"files\":[]},"
                       "{\"name\":\"b\",\"files\":[]},{\"name\":\"a\",\"files\":[]}]}"),
                   ERR_SYNTAX, "the source \"a\" is there twice");
}

static void a_checkpoint_cut_short_anywhere_is_refused(void **state)
{
    (void)state;
    for (size_t n = 0; n + 1 < sizeof good - 1; n++) { /* the last byte is a line feed */
        char *exact = malloc(n > 0 ? n : 1);
        memcpy(exact, good, n);
        assert_refused((struct str){exact, n}, ERR_SYNTAX, "checkpoint");
        free(exact);
    }
}

static void damage_of_any_byte_never_harms(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 41);
    unsigned taken = 0;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof good];
        memcpy(text, good, sizeof good);
        for (unsigned k = 0; k <= rng_below(&r, 3); k++)
            text[rng_below(&r, sizeof good - 1)] = (char)rng_next(&r);
        struct checkpoint c;
        if (checkpoint_decode((struct str){text, sizeof good - 1}, &c, NULL) != 0)
            continue;
        taken++;
        assert_round_trip(&c);
        checkpoint_release(&c);
    }
    assert_true(taken > 0 && taken < 10000);
}

static void limits_are_kept(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 64 * MIB);
    buf_puts(&b, "{\"version\":1,\"generation\":1,\"sources\":[{\"name\":\"s\",\"files\":[");
    const char *file = strstr(good, ",\"path\"");
    size_t n = 0, file_n = (size_t)(strstr(good, "}]}]}") - file) + 1;
    for (size_t i = 0; i <= CHECKPOINT_FILES_MAX; i++) {
        n = b.n;
        buf_printf(&b, "%s{\"id\":\"%zu\"", i > 0 ? "," : "", i + 1);
        buf_put(&b, file, file_n);
    }
    buf_puts(&b, "]}]}");
    assert_refused(buf_str(&b), ERR_RANGE, "more than 200000 files");
    b.n = n;
    buf_puts(&b, "]}]}");
    struct checkpoint c;
    assert_int_equal(checkpoint_decode(buf_str(&b), &c, NULL), 0);
    assert_int_equal(c.sources[0].files_n, CHECKPOINT_FILES_MAX);
    checkpoint_release(&c);
    buf_reset(&b);
    buf_puts(&b, "{\"version\":1,\"generation\":1,\"sources\":[");
    for (size_t i = 0; i <= CHECKPOINT_SOURCES_MAX; i++)
        buf_printf(&b, "%s{\"name\":\"s%zu\",\"files\":[]}", i > 0 ? "," : "", i);
    buf_puts(&b, "]}");
    assert_refused(buf_str(&b), ERR_RANGE, "more than 4096 sources");
    assert_refused((struct str){b.p, CHECKPOINT_BYTES_MAX + 1}, ERR_RANGE, "larger than 256 MiB");
    buf_release(&b);
}

static void a_path_has_a_limit_too(void **state)
{
    (void)state;
    char *path = malloc(70000);
    memset(path, 'p', 70000);
    path[0] = '"';
    path[69998] = '"';
    path[69999] = '\0';
    assert_change_refused("\"/a\"", path, ERR_RANGE, "\"path\" is longer");
    free(path);
}

static void a_full_buf_is_noticed(void **state)
{
    (void)state;
    struct checkpoint_file file = file_at("/a", 9);
    struct checkpoint_source source = source_of("s", &file, 1);
    struct checkpoint c = {1, &source, 1};
    struct buf b;
    buf_init(&b, 100);
    checkpoint_encode(&c, &b);
    assert_true(b.failed);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fingerprint_is_the_head_of_the_sha_256_and_knows_its_length),
        cmocka_unit_test(fingerprints_are_equal_when_length_and_hash_are),
        cmocka_unit_test(a_position_is_sane_within_its_bounds),
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(names_and_paths_come_back_byte_for_byte),
        cmocka_unit_test(the_format_is_this_one),
        cmocka_unit_test(white_space_is_free),
        cmocka_unit_test(another_version_is_refused_before_anything_else),
        cmocka_unit_test(every_damaged_field_is_refused_with_its_name),
        cmocka_unit_test(bounds_are_inclusive),
        cmocka_unit_test(a_source_may_stand_there_once),
        cmocka_unit_test(an_id_may_stand_there_once_in_all_sources_together),
        cmocka_unit_test(a_checkpoint_cut_short_anywhere_is_refused),
        cmocka_unit_test(damage_of_any_byte_never_harms),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(a_path_has_a_limit_too),
        cmocka_unit_test(a_full_buf_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
