/* A file, read once as a whole and once in pieces, with a full ring, without room for dead letters
 * and with restarts in between: the same records must come of it, each once. The first bytes choose
 * the format, the limits and the seed of the pieces. */
#include "lib/input.h"
#include "tests/unit/fakes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEAD     4
#define FILE_MAX (4 * KIB) /* every header is found again in the first bytes */

static struct fakes whole, parts;
static struct shape_spec spec;
static struct input in;
static struct shape *shape;

/* UTF-16 is not for CSV, a part not for JSON: the configuration sees to that. */
static void choose_cuts(uint8_t bits)
{
    bool csv = spec.format == FORMAT_CSV, line = spec.format == FORMAT_LINE;
    spec.on_oversize = (enum shape_oversize)(bits % 3);
    if (spec.on_oversize == OVERSIZE_SPLIT && !line)
        spec.on_oversize = OVERSIZE_TRUNCATE;
    spec.encoding = csv ? ENCODING_UTF8 : (enum shape_encoding)(bits / 4 % 4);
    spec.multiline = (struct multiline_spec){.timeout_ms = 1, .max_lines = 1 + bits / 16 % 4 * 2};
    if (bits & 128 && !csv)
        spec.multiline.start = (char *)"[0-9a]";
    spec.skip_lines = bits & 64 ? 2 : 0;
}

static void choose(const uint8_t *head)
{
    static char *columns[] = {(char *)"a", (char *)"b"};
    static struct shape_field location[] = {
        {.name = (char *)"n", .from = (char *)"b", .type = TYPE_DOUBLE},
        {.name = (char *)"at", .from = (char *)"@file.offset"},
    };
    static struct shape_field fields[] = {
        {.name = (char *)"i", .from = (char *)"a", .type = TYPE_INT},
        {.name = (char *)"t", .from = (char *)"b", .parse = (char *)"%y", .print = (char *)"%F"},
        {.name = (char *)"o", .kind = FIELD_OBJECT, .children = location, .children_n = 2},
    };
    spec = (struct shape_spec){.format = (enum shape_format)(head[0] % 3),
                               .delimiter = head[0] & 4 ? ';' : ',',
                               .key = head[0] & 8 ? (char *)"hash" : (char *)"{@file.offset}",
                               .bad_value_dead = (head[0] & 16) != 0,
                               .max_record = 16 + head[1],
                               .on_oversize = (enum shape_oversize)(head[3] % 3),
                               .skip_lines = head[3] / 4 % 3};
    choose_cuts(head[3]);
    if (head[0] & 32) {
        spec.columns = columns;
        spec.columns_n = 2;
    }
    if (head[0] & 64) {
        spec.fields = fields;
        spec.fields_n = ARRAY_LEN(fields);
    }
    spec.no_quotes = (head[0] & 128) != 0;
    spec.split_arrays =
        spec.format == FORMAT_JSON && spec.encoding == ENCODING_UTF8 && (head[0] & 128) != 0;
}

static void open_input(struct fakes *f, uint64_t offset, bool mid_record)
{
    shape = shape_new(&spec, "host", NULL);
    assert(shape != NULL);
    input_init(&in, f->p, shape, &spec, "/x");
    input_start(&in, offset, mid_record);
}

static void close_input(struct fakes *f)
{
    f->no_dead_room = false;
    fakes_settle(f);
    assert(in.origin.in_ring == 0);
    assert(in.head_lines > 0 || in.origin.delivered == in.origin.read_at);
    input_release(&in);
    shape_free(shape);
}

static enum input_result feed(struct fakes *f, struct str file, size_t end, bool at_end)
{
    uint64_t from = in.origin.read_at;
    assert(from <= end);
    size_t used = SIZE_MAX;
    struct str bytes = {file.p + from, end - (size_t)from};
    enum input_result result = input_feed(&in, f->now, bytes, at_end, 0, &used);
    assert(used <= bytes.n && in.origin.read_at == from + used);
    assert(in.origin.delivered <= in.origin.read_at && result != INPUT_NOMEM);
    assert(ring_sane(pipeline_ring(f->p)));
    return result;
}

static void finish(struct fakes *f, struct str file)
{
    f->no_dead_room = false;
    for (unsigned at_end = 0; at_end < 2;) {
        enum input_result result = feed(f, file, file.n, at_end == 1);
        at_end += result == INPUT_MORE;
        if (result != INPUT_MORE)
            fakes_settle(f);
    }
    assert(in.origin.read_at == file.n);
    close_input(f);
}

/* As the daemon does it: the header is read again from the first bytes of what is there by now. */
static void restart(struct fakes *f, struct str file, size_t end)
{
    fakes_settle(f);
    uint64_t offset = in.origin.delivered;
    bool mid = in.origin.delivered_mid;
    close_input(f);
    open_input(f, offset, mid);
    if (input_needs_header(&in)) {
        bool found = input_header(&in, (struct str){file.p, end}, true);
        assert(found);
    }
}

static void in_parts(struct str file, uint8_t seed)
{
    struct rng r;
    rng_seed(&r, seed);
    open_input(&parts, 0, false);
    for (size_t end = 0; end < file.n;) {
        end += rng_below(&r, min_size(file.n - end, 40) + 1);
        parts.no_dead_room = rng_below(&r, 4) == 0;
        feed(&parts, file, end, false);
        if (rng_below(&r, 3) == 0)
            fakes_pump(&parts);
        if (rng_below(&r, 3) == 0)
            fakes_accept_all(&parts);
        if (rng_below(&r, 3) == 0)
            fakes_store_dead(&parts, true);
        if (rng_below(&r, 10) == 0 && in.elements_at == 0) /* else a line is sent again */
            restart(&parts, file, end);
    }
}

static int by_bytes(struct str a, struct str b)
{
    int order = min_size(a.n, b.n) > 0 ? memcmp(a.p, b.p, min_size(a.n, b.n)) : 0;
    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

/* The elements of an array have one offset, and only the last one an end; dead ones may overtake.
 */
static int by_offset(const void *a, const void *b)
{
    const struct fake_entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    int order = by_bytes(buf_str(&x->data), buf_str(&y->data));
    return order != 0 ? order : by_bytes(buf_str(&x->key), buf_str(&y->key));
}

static void compare(void)
{
    qsort(whole.log, whole.log_n, sizeof whole.log[0], by_offset);
    qsort(parts.log, parts.log_n, sizeof parts.log[0], by_offset);
    assert(whole.log_n == parts.log_n);
    for (unsigned i = 0; i < whole.log_n; i++) {
        const struct fake_entry *a = &whole.log[i], *b = &parts.log[i];
        assert(a->kind == b->kind && a->begin == b->begin && a->end == b->end);
        assert(a->mid_record == b->mid_record);
        assert(a->begin < a->end || (spec.split_arrays && a->begin == a->end));
        assert(i == 0 || whole.log[i - 1].end <= a->begin);
        assert(str_eq(buf_str(&a->key), buf_str(&b->key)));
        assert(str_eq(buf_str(&a->data), buf_str(&b->data)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD || size > HEAD + FILE_MAX)
        return 0;
    choose(data);
    struct str file = {(const char *)data + HEAD, size - HEAD};
    fakes_init(&whole, MIB);
    fakes_init(&parts, 4 * KIB);
    whole.logging = parts.logging = true;
    open_input(&whole, 0, false);
    finish(&whole, file);
    in_parts(file, data[2]);
    finish(&parts, file);
    compare();
    fakes_release(&whole);
    fakes_release(&parts);
    return 0;
}
