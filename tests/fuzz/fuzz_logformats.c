/* The first byte says which format; the rest is the line. Fields lie inside it, in order where the
 * format has one, and what becomes of the line is valid JSON, or the line as it stands. */
#include "lib/json.h"
#include "lib/logformats.h"
#include "lib/shape.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_fields(enum logformat f, struct str line, bool *fits)
{
    struct str values[LOGFORMAT_FIELDS_MAX];
    size_t n;
    logformat_names(f, &n);
    assert(n <= LOGFORMAT_FIELDS_MAX);
    *fits = logformat_parse(f, line, values);
    for (size_t i = 0; *fits && i < n; i++) {
        if (values[i].p == NULL)
            continue;
        assert(values[i].p >= line.p && values[i].n <= line.n);
        assert((size_t)(values[i].p - line.p) <= line.n - values[i].n);
    }
}

static void check_shape(enum shape_format format, struct str line, bool fits)
{
    struct shape_spec spec = {.format = format, .key = (char *)"hash", .max_record = MIB};
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
    if (result == SHAPE_RECORD && fits)
        assert(json_valid(out.data, NULL));
    if (result == SHAPE_RECORD && !fits)
        assert(out.data.p == line.p && out.data.n == line.n);
    shape_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    unsigned f = data[0] % LOGFORMATS_N;
    struct str line = {(const char *)data + 1, size - 1};
    bool fits;
    check_fields((enum logformat)f, line, &fits);
    check_shape((enum shape_format)(FORMAT_COMMON_LOG + f), line, fits);
    return 0;
}
