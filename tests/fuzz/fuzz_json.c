/* Whatever the bytes, what is written is JSON, and what is taken for JSON is walked consistently.
 */
#include "lib/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct str part, struct str whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

/* Written and read back, a string is itself, but for what was not UTF-8. */
static void check_writer(struct str text)
{
    struct buf written, back, again;
    buf_init(&written, 6 * text.n + 2);
    buf_init(&back, 3 * text.n + 1);
    buf_init(&again, 18 * text.n + 2);
    unsigned replaced = json_put_string(&written, text);
    assert(!written.failed && json_valid(buf_str(&written), NULL));
    json_unescape(&back, (struct str){written.p + 1, written.n - 2});
    assert(!back.failed);
    assert(replaced > 0 || str_eq(buf_str(&back), text));
    assert(json_put_string(&again, buf_str(&back)) == 0);
    assert(str_eq(buf_str(&again), buf_str(&written)));
    buf_release(&written);
    buf_release(&back);
    buf_release(&again);
}

static void check_string(struct str token, bool escaped)
{
    struct buf b, quoted;
    buf_init(&b, token.n + 1);
    buf_init(&quoted, 6 * token.n + 2);
    json_unescape(&b, token);
    assert(!b.failed); /* an escape is never shorter than what it stands for */
    assert(json_put_string(&quoted, buf_str(&b)) == 0);
    assert(escaped || str_eq(buf_str(&b), token));
    assert(escaped == (token.n > 0 && memchr(token.p, '\\', token.n) != NULL));
    buf_release(&b);
    buf_release(&quoted);
}

/* Returns whether the text is JSON; the skipping walk must agree with the walk through all. */
static bool check_walk(struct str text)
{
    struct json_scan s;
    json_scan_init(&s, text);
    unsigned depth = 0;
    enum json_token t, before = JSON_CLOSE;
    size_t at = 0;
    while ((t = json_scan_next(&s)) > JSON_END) {
        assert(s.at > at && s.at <= text.n && inside(s.token, text));
        at = s.at;
        depth += t == JSON_OBJECT || t == JSON_ARRAY;
        depth -= t == JSON_CLOSE;
        assert(depth == s.depth && depth <= JSON_DEPTH_MAX);
        assert(before != JSON_KEY || (t != JSON_KEY && t != JSON_CLOSE));
        if (t == JSON_KEY || t == JSON_STRING)
            check_string(s.token, s.escaped);
        before = t;
    }
    assert(s.at <= text.n && json_scan_next(&s) == t);
    return t == JSON_END;
}

static void check_skip(struct str text, bool valid)
{
    struct json_scan s;
    json_scan_init(&s, text);
    enum json_token t = json_scan_next(&s);
    if (t == JSON_OBJECT || t == JSON_ARRAY) {
        t = json_scan_skip(&s);
        assert(t == JSON_CLOSE || t == JSON_BAD);
    }
    if (t > JSON_END)
        t = json_scan_next(&s);
    assert((t == JSON_END) == valid);
}

/* The elements are values, in order, and their number is that of a walk; it ends well exactly when
 * the text is an array. */
static void check_split(struct str text, bool valid)
{
    struct str element;
    const char *behind = text.p;
    size_t at = 0, before = 0;
    enum json_split r;
    while ((r = json_split_next(text, &at, &element)) == JSON_SPLIT_ELEMENT) {
        assert(at > before && at <= text.n);
        assert(inside(element, text) && element.p > behind && json_valid(element, NULL));
        behind = element.p + element.n - 1;
        before = at;
    }
    assert((r == JSON_SPLIT_END) == (valid && json_is_array(text)));
    assert(at <= text.n && (r == JSON_SPLIT_BAD || at == text.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    check_writer(text);
    bool valid = check_walk(text);
    check_skip(text, valid);
    check_split(text, valid);
    size_t bad_at = 0;
    assert(json_valid(text, &bad_at) == valid);
    assert(valid || bad_at <= size);
    return 0;
}
