/* A pattern, a line feed, a line: groups lie inside the line, and the object is valid JSON. */
#include "lib/json.h"
#include "lib/pattern.h"
#include "lib/shape.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_groups(struct pattern *p, struct str line, enum pattern_result *result)
{
    *result = pattern_match(p, line);
    assert(pattern_names_n(p) <= PATTERN_NAMES_MAX);
    for (size_t i = 0; *result == PATTERN_YES && i < pattern_names_n(p); i++) {
        struct str group = pattern_group(p, line, i);
        assert(strlen(pattern_name(p, i)) > 0);
        if (group.p == NULL)
            continue;
        assert(group.p >= line.p && group.n <= line.n);
        assert((size_t)(group.p - line.p) <= line.n - group.n);
    }
}

static void check_shape(char *pattern, struct str line, enum pattern_result want)
{
    struct shape_spec spec = {
        .format = FORMAT_REGEX, .pattern = pattern, .key = (char *)"hash", .max_record = MIB};
    struct shape *s = shape_new(&spec, "fuzz", NULL);
    struct shape_in in = {.raw = line, .path = STR("/x")};
    struct shape_out out;
    struct rng rng;
    rng_seed(&rng, 1);
    if (s == NULL)
        return;
    enum shape_result result = shape_apply(s, &in, &rng, &out);
    assert(result == SHAPE_RECORD || result == SHAPE_NOMEM || out.too_long);
    if (result == SHAPE_RECORD) {
        assert(out.no_match == (want != PATTERN_YES));
        assert(out.regex_limits == (want == PATTERN_LIMIT));
        assert(out.no_match > 0 || json_valid(out.data, NULL));
    }
    shape_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char pattern[256];
    const uint8_t *lf = size > 0 ? memchr(data, '\n', size) : NULL;
    if (lf == NULL || (size_t)(lf - data) >= sizeof pattern)
        return 0;
    size_t n = (size_t)(lf - data);
    memcpy(pattern, data, n);
    pattern[n] = '\0';
    struct err e = {0};
    struct pattern *p = pattern_new(pattern, PATTERN_WHOLE, &e);
    if (p == NULL) {
        assert(e.code < 0 && e.text[0] != '\0');
        return 0;
    }
    struct str line = {(const char *)lf + 1, size - n - 1};
    enum pattern_result result;
    check_groups(p, line, &result);
    check_shape(pattern, line, result);
    pattern_free(p);
    return 0;
}
