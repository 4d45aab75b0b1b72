/* Keys and values lie in the line or in scratch, keys differ, and the object is valid JSON. What
 * was read, written again with quotes, is read as the same. */
#include "lib/json.h"
#include "lib/logfmt.h"
#include "lib/shape.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct str s, const char *p, size_t n)
{
    return p != NULL && s.p >= p && s.n <= n && (size_t)(s.p - p) <= n - s.n;
}

static void check_pairs(struct str line, const struct buf *scratch, const struct logfmt_pair *pairs,
                        size_t n)
{
    assert(n > 0 && n <= LOGFMT_PAIRS_MAX);
    for (size_t i = 0; i < n; i++) {
        assert(pairs[i].key.n > 0 && inside(pairs[i].key, line.p, line.n));
        assert(pairs[i].value.p == logfmt_bare || inside(pairs[i].value, line.p, line.n) ||
               inside(pairs[i].value, scratch->p, scratch->n));
        for (size_t k = 0; k < i; k++)
            assert(!str_eq(pairs[k].key, pairs[i].key));
    }
}

static void put_quoted(struct buf *b, struct str value)
{
    buf_putc(b, '"');
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '"' || value.p[i] == '\\')
            buf_putc(b, '\\');
        buf_putc(b, value.p[i]);
    }
    buf_putc(b, '"');
}

static void check_again(const struct logfmt_pair *pairs, size_t n)
{
    static struct logfmt_pair again[LOGFMT_PAIRS_MAX];
    size_t again_n;
    struct buf line, scratch;
    buf_init(&line, 16 * MIB);
    buf_init(&scratch, 16 * MIB);
    bool any = false; /* the only values may have been those of repeated keys */
    for (size_t i = 0; i < n; i++) {
        buf_put(&line, pairs[i].key.p, pairs[i].key.n);
        if (pairs[i].value.p != logfmt_bare) {
            any = true;
            buf_putc(&line, '=');
            put_quoted(&line, pairs[i].value);
        }
        buf_putc(&line, ' ');
    }
    enum logfmt_result result = logfmt_parse(buf_str(&line), &scratch, again, &again_n);
    assert(result == (any ? LOGFMT_LINE : LOGFMT_NO) && (!any || again_n == n));
    for (size_t i = 0; any && i < n; i++)
        assert(str_eq(again[i].key, pairs[i].key) && str_eq(again[i].value, pairs[i].value));
    buf_release(&line);
    buf_release(&scratch);
}

static void check_shape(struct str line, bool fits)
{
    struct shape_spec spec = {.format = FORMAT_LOGFMT, .key = (char *)"{id}", .max_record = MIB};
    struct shape *s = shape_new(&spec, "fuzz", NULL);
    struct shape_in in = {.raw = line, .path = STR("/x")};
    struct shape_out out;
    struct rng rng;
    rng_seed(&rng, 1);
    if (s == NULL)
        return;
    enum shape_result result = shape_apply(s, &in, &rng, &out);
    assert(result == SHAPE_RECORD || (result == SHAPE_DEAD && out.too_long));
    assert(out.no_match == !fits);
    assert(result == SHAPE_DEAD || !fits || json_valid(out.data, NULL));
    shape_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct logfmt_pair pairs[LOGFMT_PAIRS_MAX];
    struct str line = {(const char *)data, size};
    struct buf scratch;
    size_t n;
    buf_init(&scratch, size + 1);
    enum logfmt_result result = logfmt_parse(line, &scratch, pairs, &n);
    assert(result != LOGFMT_NOMEM);
    if (result == LOGFMT_LINE) {
        check_pairs(line, &scratch, pairs, n);
        check_again(pairs, n);
    }
    check_shape(line, result == LOGFMT_LINE);
    buf_release(&scratch);
    return 0;
}
