/* A JSON record, flattened, or with members added, or both: what comes of it is held against a
 * plain recursive walk, and what is taken for its values against a walk for each of them. The first
 * byte says what is done. */
#include "lib/json.h"
#include "lib/shape.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RECORD_MAX (8 * KIB)

static const char *const separators[] = {".", "_", "\"", "::"};
static struct shape_field two = {.name = (char *)"b", .from = (char *)"a.b"};
static struct shape_add adds[] = {{.name = (char *)"a", .text = (char *)"{@peer.pid}"},
                                  {.name = (char *)"b", .field = &two},
                                  {.name = (char *)"a.b", .text = (char *)"x"}};

/* What is to come out. */
struct want {
    const char *separator; /* NULL: nothing is flattened */
    size_t added_n;
    struct buf out;
    size_t members;
};

static bool is_added(const struct want *w, struct str name)
{
    struct buf b;
    buf_init(&b, name.n + 1);
    json_unescape(&b, name);
    bool added = false;
    for (size_t i = 0; i < w->added_n; i++)
        added |= str_eq(buf_str(&b), str_of(adds[i].name));
    buf_release(&b);
    return added;
}

static void emit(struct want *w, struct str name, struct str value)
{
    if (is_added(w, name))
        return;
    buf_puts(&w->out, w->members++ > 0 ? ",\"" : "\"");
    buf_put(&w->out, name.p, name.n);
    buf_puts(&w->out, "\":");
    bool nested = value.p[0] == '{' || value.p[0] == '[';
    for (size_t i = 0; i < value.n; i++)
        buf_putc(&w->out, nested && (value.p[i] == '\n' || value.p[i] == '\r') ? ' ' : value.p[i]);
}

/* The scanner stands behind the bracket of an object of this name. */
static void dissolve(struct want *w, struct json_scan *s, struct str prefix, bool top)
{
    bool empty = true;
    while (json_scan_next(s) == JSON_KEY) {
        struct buf name;
        buf_init(&name, MIB);
        buf_put(&name, prefix.p, prefix.n);
        if (!top)
            buf_puts(&name, w->separator);
        buf_put(&name, s->token.p, s->token.n);
        empty = false;
        enum json_token t = json_scan_next(s);
        size_t begin = (size_t)(s->token.p - s->text.p) - (t == JSON_STRING);
        if (t == JSON_OBJECT && w->separator != NULL) {
            dissolve(w, s, buf_str(&name), false);
        } else {
            if (t == JSON_OBJECT || t == JSON_ARRAY)
                json_scan_skip(s);
            emit(w, buf_str(&name), (struct str){s->text.p + begin, s->at - begin});
        }
        buf_release(&name);
    }
    if (empty && !top)
        emit(w, prefix, STR("{}"));
}

/* The last member of a name in an object; false: there is none, or it is no object. */
static bool find_last(struct str object, struct str name, struct str *value)
{
    struct json_scan s;
    json_scan_init(&s, object);
    bool found = false;
    if (json_scan_next(&s) != JSON_OBJECT)
        return false;
    while (json_scan_next(&s) == JSON_KEY) {
        struct buf key;
        buf_init(&key, s.token.n + 1);
        json_unescape(&key, s.token);
        bool same = str_eq(buf_str(&key), name);
        buf_release(&key);
        enum json_token t = json_scan_next(&s);
        size_t begin = (size_t)(s.token.p - s.text.p) - (t == JSON_STRING);
        if (t == JSON_OBJECT || t == JSON_ARRAY)
            json_scan_skip(&s);
        if (same)
            *value = (struct str){s.text.p + begin, s.at - begin};
        found |= same;
    }
    return found;
}

static struct str find_ab(struct str record)
{
    struct str value = STR("null"), inner;
    if (!find_last(record, STR("a.b"), &value) && find_last(record, STR("a"), &inner))
        find_last(inner, STR("b"), &value);
    return value;
}

static void add_members(struct want *w, struct str record)
{
    for (size_t i = 0; i < w->added_n; i++) {
        buf_printf(&w->out, "%s\"%s\":", w->members++ > 0 ? "," : "", adds[i].name);
        struct str value = i == 0 ? STR("7") : i == 1 ? find_ab(record) : STR("\"x\"");
        bool nested = value.p[0] == '{' || value.p[0] == '[';
        for (size_t k = 0; k < value.n; k++)
            buf_putc(&w->out,
                     nested && (value.p[k] == '\n' || value.p[k] == '\r') ? ' ' : value.p[k]);
    }
}

/* Blanks between tokens are taken off, and line breaks in arrays: added members leave the rest of a
 * record's bytes alone, but the reference does not. */
static void squeeze(struct buf *b)
{
    size_t to = 0;
    bool quoted = false;
    for (size_t i = 0; i < b->n; i++) {
        char c = b->p[i];
        bool blank = c == ' ' || c == '\t' || c == '\n' || c == '\r';
        if (quoted && c == '\\')
            b->p[to++] = b->p[i++];
        else if (c == '"')
            quoted = !quoted;
        if (quoted || !blank)
            b->p[to++] = b->p[i];
    }
    b->n = to;
}

static void compare(struct want *w, struct str got)
{
    struct buf copy;
    buf_init(&copy, MIB);
    buf_put(&copy, got.p, got.n);
    if (w->separator == NULL) {
        squeeze(&copy);
        squeeze(&w->out);
    }
    assert(!copy.failed && !w->out.failed && str_eq(buf_str(&copy), buf_str(&w->out)));
    buf_release(&copy);
}

static void check(const struct shape_spec *spec, struct str text)
{
    struct want w = {.separator = spec->flatten, .added_n = spec->add_n};
    if (w.separator != NULL && w.separator[0] == '"')
        w.separator = "\\\"";
    struct rng rng;
    rng_seed(&rng, 1);
    struct shape_out out;
    const struct shape_in in = {.raw = text, .has_peer = true, .pid = 7};
    struct shape *shape = shape_new(spec, "host", NULL);
    assert(shape != NULL);
    enum shape_result result = shape_apply(shape, &in, &rng, &out);
    bool valid = json_valid(text, NULL);
    struct json_scan s;
    json_scan_init(&s, text);
    assert(result == SHAPE_RECORD || result == SHAPE_DEAD);
    if (result == SHAPE_DEAD) {
        assert(!valid || out.too_long);
    } else if (json_scan_next(&s) == JSON_OBJECT) {
        assert(valid && json_valid(out.data, NULL));
        buf_init(&w.out, MIB);
        buf_putc(&w.out, '{');
        dissolve(&w, &s, STR(""), true);
        add_members(&w, text);
        buf_putc(&w.out, '}');
        compare(&w, out.data);
        buf_release(&w.out);
    } else {
        assert(valid && str_eq(out.data, text) && out.add_skipped == 1);
    }
    shape_free(shape);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > RECORD_MAX)
        return 0;
    uint8_t how = data[0];
    struct shape_spec spec = {.format = FORMAT_JSON,
                              .key = (char *)(how & 32 ? "{a.b}" : "random"),
                              .max_record = RECORD_MAX,
                              .add = adds,
                              .add_n = how / 8 % 4};
    if ((how & 4) == 0)
        spec.flatten = (char *)(uintptr_t)separators[how % 4];
    else if (spec.add_n == 0)
        spec.add_n = 1;
    check(&spec, (struct str){(const char *)data + 1, size - 1});
    return 0;
}
