/* The happy path: the scanner walks the members once, each value goes into the struct by its key's
 * row, and a bit is kept for each key that was there. In the end the bits must be those that the
 * request needs.
 *
 * How it fails: the first thing that is wrong is said and nothing is written. The line may be
 * anything: the scanner is bounded, names are copied only when they fit, numbers only when they do.
 */
#include "lib/ask.h"

enum key { KEY_DO, KEY_SOURCE, KEY_DEVICE, KEY_INODE, KEY_OFFSET, KEYS_N };

static const char *const key_names[KEYS_N] = {"do", "source", "device", "inode", "offset"};

#define BIT(key) (1u << (key))

static const struct request {
    const char *name;
    unsigned keys; /* besides "do" */
} requests[] = {
    [ASK_WHO] = {"who", 0},
    [ASK_POSITIONS] = {"positions", BIT(KEY_INODE)},
    [ASK_SOURCES] = {"sources", 0},
    [ASK_REWIND] = {"rewind", BIT(KEY_SOURCE) | BIT(KEY_DEVICE) | BIT(KEY_INODE) | BIT(KEY_OFFSET)},
};

static bool read_digits(struct str s, uint64_t max, uint64_t *value)
{
    uint64_t v = 0;
    if (s.n == 0 || s.n > 20)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        unsigned digit = (unsigned)(s.p[i] - '0');
        if (v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *value = v;
    return true;
}

static bool read_what(struct str s, enum ask_what *what)
{
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        if (!str_eq(s, str_of(requests[i].name)))
            continue;
        *what = (enum ask_what)i;
        return true;
    }
    return false;
}

/* A name without escapes: those of the configuration need none. */
static bool read_name(struct str s, char *name)
{
    if (s.n == 0 || s.n > ASK_SOURCE_MAX || memchr(s.p, '\0', s.n) != NULL)
        return false;
    memcpy(name, s.p, s.n);
    name[s.n] = '\0';
    return true;
}

static bool read_value(struct json_scan *scan, enum key key, struct ask *a)
{
    enum json_token t = json_scan_next(scan);
    struct str s = scan->token;
    if (key == KEY_OFFSET)
        return t == JSON_NUMBER && read_digits(s, INT64_MAX, &a->offset);
    if (t != JSON_STRING || scan->escaped)
        return false;
    switch (key) {
    case KEY_DO:
        return read_what(s, &a->what);
    case KEY_SOURCE:
        return read_name(s, a->source);
    case KEY_DEVICE:
        return read_digits(s, UINT64_MAX, &a->device);
    default:
        return read_digits(s, UINT64_MAX, &a->inode);
    }
}

static int find_key(struct str name)
{
    for (int i = 0; i < KEYS_N; i++)
        if (str_eq(name, str_of(key_names[i])))
            return i;
    return -1;
}

static int read_members(struct json_scan *scan, struct ask *a, unsigned *found, struct err *e)
{
    enum json_token t;
    while ((t = json_scan_next(scan)) == JSON_KEY) {
        int key = find_key(scan->token);
        if (key < 0)
            return err_set(e, ERR_SYNTAX, "unknown member \"%.*s\"",
                           (int)min_size(scan->token.n, 64), scan->token.p);
        if (*found & BIT(key))
            return err_set(e, ERR_SYNTAX, "\"%s\" is there twice", key_names[key]);
        if (!read_value(scan, (enum key)key, a))
            return err_set(e, ERR_SYNTAX, "\"%s\" is not what it must be", key_names[key]);
        *found |= BIT(key);
    }
    if (t != JSON_CLOSE || json_scan_next(scan) != JSON_END)
        return err_set(e, ERR_SYNTAX, "not one JSON object");
    return 0;
}

int ask_parse(struct str line, struct ask *a, struct err *e)
{
    struct ask made = {0};
    struct json_scan scan;
    unsigned found = 0;
    json_scan_init(&scan, line);
    if (json_scan_next(&scan) != JSON_OBJECT)
        return err_set(e, ERR_SYNTAX, "a request is a JSON object");
    int rc = read_members(&scan, &made, &found, e);
    if (rc != 0)
        return rc;
    if ((found & BIT(KEY_DO)) == 0)
        return err_set(e, ERR_SYNTAX, "\"do\" is missing");
    unsigned needed = requests[made.what].keys | BIT(KEY_DO);
    for (int i = 0; i < KEYS_N; i++)
        if ((found & BIT(i)) != (needed & BIT(i)))
            return err_set(e, ERR_SYNTAX, "\"%s\" %s with \"%s\"", key_names[i],
                           needed & BIT(i) ? "is needed" : "does not go", requests[made.what].name);
    *a = made;
    return 0;
}
