/* Replays the header cases of the published SigV4 suite (tests/unit/vectors/sigv4/README says where
 * they are from), then what the suite does not say: the cached key, the limits, the dates. Runs
 * from the project's root, where the vectors are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>
#include <cmocka.h>

#include "lib/sign.h"

#define VECTORS "tests/unit/vectors/sigv4"

static const char *const cases[] = {
    "get-header-key-duplicate",
    "get-header-value-multiline",
    "get-header-value-order",
    "get-header-value-trim",
    "get-relative-relative-unnormalized",
    "get-slashes-unnormalized",
    "get-space-normalized",
    "get-unreserved",
    "get-utf8",
    "get-vanilla-empty-query-key",
    "get-vanilla-query-order-encoded",
    "get-vanilla-query-order-key-case",
    "get-vanilla-query-unreserved",
    "get-vanilla-utf8-query",
    "get-vanilla-with-session-token",
    "post-header-key-sort",
    "post-header-value-case",
    "post-sts-header-after",
    "post-sts-header-before",
    "post-vanilla",
    "post-vanilla-query",
    "post-x-www-form-urlencoded",
    "post-x-www-form-urlencoded-parameters",
};

static const struct sign_credentials example = {
    .access_key_id = "AKIDEXAMPLE",
    .secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
};

struct vector {
    char *request, *canonical, *string; /* the three files */
    char *authorization;                /* these point into `request` */
    char *signed_names;
    struct sign_header headers[SIGN_HEADERS_MAX];
    size_t headers_n;
    struct str body;
    char *method, *path, *query; /* owned */
    uint8_t body_sha256[SHA256_SIZE];
};

static char *slurp(const char *name, const char *file)
{
    char path[256];
    snprintf(path, sizeof path, VECTORS "/%s/%s", name, file);
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        fail_msg("%s cannot be opened; run from the project's root", path);
    char *text = calloc(1, 8192);
    assert_non_null(text);
    size_t n = fread(text, 1, 8191, f);
    assert_in_range(n, 1, 8190);
    fclose(f);
    return text;
}

static char *copy(const char *from, size_t n)
{
    char *s = malloc(n + 1);
    assert_non_null(s);
    memcpy(s, from, n);
    s[n] = '\0';
    return s;
}

/* The line at *at without its LF; *at moves past it. */
static struct str take_line(const char **at)
{
    const char *end = strchr(*at, '\n');
    struct str line = {*at, end ? (size_t)(end - *at) : strlen(*at)};
    *at = end ? end + 1 : *at + line.n;
    return line;
}

static void take_header(struct vector *v, struct str line)
{
    assert_in_range(v->headers_n, 0, SIGN_HEADERS_MAX - 1);
    struct sign_header *h = &v->headers[v->headers_n++];
    if (line.p[0] == ' ') { /* a folded line is one more value of the header above */
        assert_in_range(v->headers_n, 2, SIGN_HEADERS_MAX);
        *h = (struct sign_header){h[-1].name, line};
        return;
    }
    const char *colon = memchr(line.p, ':', line.n);
    assert_non_null(colon);
    size_t name_n = (size_t)(colon - line.p);
    *h = (struct sign_header){{line.p, name_n}, {colon + 1, line.n - name_n - 1}};
}

static bool header_is(const struct sign_header *h, const char *name)
{
    return h->name.n == strlen(name) && strncasecmp(h->name.p, name, h->name.n) == 0;
}

/* Keeps those that the suite's Authorization line names as signed. */
static void keep_signed(struct vector *v)
{
    size_t kept = 0;
    for (size_t i = 0; i < v->headers_n; i++) {
        char wanted[128];
        snprintf(wanted, sizeof wanted, ";%.*s;", (int)v->headers[i].name.n, v->headers[i].name.p);
        if (!header_is(&v->headers[i], "authorization") && strcasestr(v->signed_names, wanted))
            v->headers[kept++] = v->headers[i];
    }
    v->headers_n = kept;
}

static void vector_load(struct vector *v, const char *name)
{
    *v = (struct vector){.request = slurp(name, "signed-request.txt"),
                         .canonical = slurp(name, "canonical-request.txt"),
                         .string = slurp(name, "string-to-sign.txt")};
    const char *at = v->canonical;
    struct str line = take_line(&at);
    v->method = copy(line.p, line.n);
    line = take_line(&at);
    v->path = copy(line.p, line.n);
    line = take_line(&at);
    v->query = copy(line.p, line.n);
    at = v->request;
    take_line(&at);
    while ((line = take_line(&at)).n > 0)
        take_header(v, line);
    v->body = str_of(at);
    hash_sha256(v->body.p, v->body.n, v->body_sha256);
    for (size_t i = 0; i < v->headers_n; i++)
        if (header_is(&v->headers[i], "authorization"))
            v->authorization = copy(v->headers[i].value.p, v->headers[i].value.n);
    assert_non_null(v->authorization);
    const char *names = strstr(v->authorization, "SignedHeaders=");
    assert_non_null(names);
    names += strlen("SignedHeaders=");
    v->signed_names = calloc(1, 256);
    assert_non_null(v->signed_names);
    snprintf(v->signed_names, 256, ";%.*s;", (int)strcspn(names, ","), names);
    keep_signed(v);
}

static void vector_release(struct vector *v)
{
    free(v->request);
    free(v->canonical);
    free(v->string);
    free(v->authorization);
    free(v->signed_names);
    free(v->method);
    free(v->path);
    free(v->query);
}

static struct sign_request vector_request(const struct vector *v)
{
    return (struct sign_request){.method = v->method,
                                 .path = v->path,
                                 .query = v->query,
                                 .headers = v->headers,
                                 .headers_n = v->headers_n,
                                 .body_sha256 = v->body_sha256,
                                 .region = "us-east-1",
                                 .service = "service",
                                 .amz_date = "20150830T123600Z"};
}

static void assert_text(const char *name, const char *what, struct buf *got, const char *want)
{
    if (got->n != strlen(want) || memcmp(got->p, want, got->n) != 0)
        fail_msg("%s: %s differs:\n%.*s\nwanted:\n%s", name, what, (int)got->n, got->p, want);
}

static void check_vector(const char *name)
{
    struct vector v;
    struct buf out;
    struct sign_key key;
    vector_load(&v, name);
    struct sign_request r = vector_request(&v);
    buf_init(&out, 64 * KIB);
    sign_key_init(&key);
    assert_int_equal(sign_canonical(&r, &out), 0);
    assert_text(name, "canonical request", &out, v.canonical);
    struct buf string;
    buf_init(&string, 64 * KIB);
    assert_int_equal(sign_string(&r, buf_str(&out), &string), 0);
    assert_text(name, "string to sign", &string, v.string);
    buf_reset(&out);
    assert_int_equal(sign_v4(&key, &example, &r, &out), 0);
    assert_text(name, "authorization", &out, v.authorization);
    sign_key_wipe(&key);
    buf_release(&string);
    buf_release(&out);
    vector_release(&v);
}

static void published_vectors_give_their_three_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_vector(cases[i]);
}

/* A small request of our own for the rest. */
static const struct sign_header two[] = {{{"Host", 4}, {"h", 1}},
                                         {{"X-Amz-Date", 10}, {"20150830T123600Z", 16}}};
static const uint8_t zero_hash[SHA256_SIZE];

static struct sign_request small(void)
{
    return (struct sign_request){.method = "POST",
                                 .path = "/",
                                 .query = "",
                                 .headers = two,
                                 .headers_n = ARRAY_LEN(two),
                                 .body_sha256 = zero_hash,
                                 .region = "us-east-1",
                                 .service = "kinesis",
                                 .amz_date = "20150830T123600Z"};
}

static void sign_into(struct sign_key *k, const char *secret, const struct sign_request *r,
                      char text[512])
{
    struct buf out;
    struct sign_credentials c = {.access_key_id = "AK", .secret_access_key = secret};
    buf_init(&out, 511);
    assert_int_equal(sign_v4(k, &c, r, &out), 0);
    assert_non_null(buf_cstr(&out));
    snprintf(text, 512, "%s", out.p);
    buf_release(&out);
}

/* With a cache that signed something else before, the result must be that of an empty cache. */
static void assert_not_stale(const char *secret_before, const struct sign_request *before,
                             const char *secret, const struct sign_request *r)
{
    struct sign_key used, fresh;
    char first[512], from_used[512], from_fresh[512];
    sign_key_init(&used);
    sign_key_init(&fresh);
    sign_into(&used, secret_before, before, first);
    sign_into(&used, secret, r, from_used);
    sign_into(&fresh, secret, r, from_fresh);
    assert_string_equal(from_used, from_fresh);
    assert_string_not_equal(from_used, first);
    assert_memory_equal(used.key, fresh.key, sizeof used.key);
}

static void a_cached_key_is_dropped_on_another_date_secret_region_or_service(void **state)
{
    (void)state;
    struct sign_request a = small(), b = small();
    assert_not_stale("secret", &a, "secre", &b);
    b.amz_date = "20150831T123600Z";
    assert_not_stale("secret", &a, "secret", &b);
    b = small();
    b.region = "us-east-2";
    assert_not_stale("secret", &a, "secret", &b);
    b = small();
    b.service = "firehose";
    assert_not_stale("secret", &a, "secret", &b);
    /* Moving a letter over the border of two parts is another key too. */
    a.region = "ab";
    a.service = "c";
    b.region = "a";
    b.service = "bc";
    assert_not_stale("secret", &a, "secret", &b);
}

static void the_same_day_reuses_the_key(void **state)
{
    (void)state;
    struct sign_request a = small();
    struct sign_key k;
    char text[512], again[512];
    sign_key_init(&k);
    sign_into(&k, "secret", &a, text);
    k.key[0] ^= 1; /* a key that is derived anew would undo this */
    sign_into(&k, "secret", &a, again);
    assert_string_not_equal(text, again);
    a.amz_date = "20150830T235959Z";
    uint8_t key[SHA256_SIZE];
    memcpy(key, k.key, sizeof key);
    sign_into(&k, "secret", &a, again);
    assert_memory_equal(key, k.key, sizeof key);
}

static void a_wiped_key_is_all_zero_and_derived_again(void **state)
{
    (void)state;
    static const struct sign_key nothing;
    struct sign_request a = small();
    struct sign_key k;
    char text[512], again[512];
    sign_key_init(&k);
    sign_into(&k, "secret", &a, text);
    sign_key_wipe(&k);
    assert_memory_equal(k.key, nothing.key, sizeof k.key);
    assert_memory_equal(k.made_of, nothing.made_of, sizeof k.made_of);
    assert_false(k.valid);
    sign_into(&k, "secret", &a, again);
    assert_string_equal(text, again);
}

static void more_headers_than_the_limit_are_refused(void **state)
{
    (void)state;
    struct sign_header many[SIGN_HEADERS_MAX + 1];
    char names[SIGN_HEADERS_MAX + 1][4];
    for (size_t i = 0; i <= SIGN_HEADERS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "h%02u", (unsigned)(SIGN_HEADERS_MAX - i));
        many[i] = (struct sign_header){{names[i], 3}, {"v", 1}};
    }
    struct sign_request r = small();
    struct sign_key k;
    struct buf out;
    buf_init(&out, 4096);
    sign_key_init(&k);
    r.headers = many;
    r.headers_n = SIGN_HEADERS_MAX + 1;
    assert_int_equal(sign_v4(&k, &example, &r, &out), ERR_RANGE);
    assert_int_equal(sign_canonical(&r, &out), ERR_RANGE);
    assert_int_equal(out.n, 0);
    r.headers_n = SIGN_HEADERS_MAX;
    assert_int_equal(sign_v4(&k, &example, &r, &out), 0);
    assert_non_null(buf_cstr(&out));
    assert_non_null(strstr(out.p, "SignedHeaders=h01;h02;h03;"));
    buf_release(&out);
}

static void a_full_buffer_is_an_error_and_keeps_what_it_held(void **state)
{
    (void)state;
    struct sign_request r = small();
    for (size_t max = 4; max < 190; max++) {
        struct sign_key k;
        struct buf out;
        buf_init(&out, max);
        buf_puts(&out, "Auth");
        sign_key_init(&k);
        assert_int_equal(sign_v4(&k, &example, &r, &out), ERR_RANGE);
        assert_true(out.failed);
        assert_int_equal(out.n, 4);
        assert_memory_equal(out.p, "Auth", 4);
        buf_release(&out);
    }
}

static void blanks_fold_and_empty_values_stay_empty(void **state)
{
    (void)state;
    const struct sign_header odd[] = {
        {STR("B"), STR(" \t a \t\t b\t ")}, {STR("aa"), STR("")},   {STR("A"), STR("   ")},
        {STR("b"), STR("second")},          {STR("a-b"), STR("x")},
    };
    struct sign_request r = small();
    struct buf out;
    buf_init(&out, 4096);
    r.headers = odd;
    r.headers_n = ARRAY_LEN(odd);
    assert_int_equal(sign_canonical(&r, &out), 0);
    assert_non_null(buf_cstr(&out));
    assert_non_null(strstr(out.p, "POST\n/\n\na:\na-b:x\naa:\nb:a b,second\n\na;a-b;aa;b\n0000"));
    buf_release(&out);
}

static void dates_are_written_in_utc(void **state)
{
    (void)state;
    static const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {
        {0, "19700101T000000Z"},
        {999, "19700101T000000Z"},
        {86399999, "19700101T235959Z"},
        {86400000, "19700102T000000Z"},
        {68169600000, "19720229T000000Z"},
        {951782400000, "20000229T000000Z"},
        {951868800000, "20000301T000000Z"},
        {1440938160000, "20150830T123600Z"},
        {1704067199999, "20231231T235959Z"},
        {1709251199000, "20240229T235959Z"},
        {4107542399000, "21000228T235959Z"},
        {4107542400000, "21000301T000000Z"},
        {253402300799999, "99991231T235959Z"},
        {253402300800000, "99991231T235959Z"},
        {UINT64_MAX, "99991231T235959Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[SIGN_DATE_SIZE];
        sign_date(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void dates_agree_with_the_c_library_over_the_centuries(void **state)
{
    (void)state;
    for (uint64_t seconds = 0; seconds < 253402300800u; seconds += 86400 * 13 + 4567) {
        char text[SIGN_DATE_SIZE], want[SIGN_DATE_SIZE];
        time_t t = (time_t)seconds;
        struct tm tm;
        assert_non_null(gmtime_r(&t, &tm));
        assert_int_equal(strftime(want, sizeof want, "%Y%m%dT%H%M%SZ", &tm), 16);
        sign_date(seconds * 1000, text);
        assert_string_equal(text, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors_give_their_three_texts),
        cmocka_unit_test(a_cached_key_is_dropped_on_another_date_secret_region_or_service),
        cmocka_unit_test(the_same_day_reuses_the_key),
        cmocka_unit_test(a_wiped_key_is_all_zero_and_derived_again),
        cmocka_unit_test(more_headers_than_the_limit_are_refused),
        cmocka_unit_test(a_full_buffer_is_an_error_and_keeps_what_it_held),
        cmocka_unit_test(blanks_fold_and_empty_values_stay_empty),
        cmocka_unit_test(dates_are_written_in_utc),
        cmocka_unit_test(dates_agree_with_the_c_library_over_the_centuries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
