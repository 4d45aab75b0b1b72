/* option.c - one value: read as its row says, stored, printed, compared (declared in schema.h).
 *
 * option_set reads the text into a number (or finds it good as text), holds it against the row's
 * bounds and check, and only then stores it. A failure has changed nothing and left a sentence.
 */
#include "lib/schema.h"

#include <stdlib.h>

struct unit {
    const char *name;
    uint64_t times;
};

/* The larger unit first: option_print takes the first that divides. */
static const struct unit durations[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit sizes[] = {
    {"TiB", (uint64_t)1 << 40},
    {"GiB", (uint64_t)1 << 30},
    {"GB", 1000000000},
    {"MiB", (uint64_t)1 << 20},
    {"MB", 1000000},
    {"KiB", 1024},
    {"KB", 1000},
    {"B", 1},
};

static const struct unit *units_of(enum option_type type, size_t *n)
{
    *n = type == OPTION_SIZE ? ARRAY_LEN(sizes) : ARRAY_LEN(durations);
    return type == OPTION_SIZE ? sizes : durations;
}

/* How many digits the text starts with; *v is their value, UINT64_MAX when it would not fit. */
static size_t read_digits(const char *text, uint64_t *v)
{
    uint64_t sum = 0;
    size_t n = 0;
    for (; text[n] >= '0' && text[n] <= '9'; n++) {
        uint64_t digit = (uint64_t)(text[n] - '0');
        sum = sum > (UINT64_MAX - digit) / 10 ? UINT64_MAX : sum * 10 + digit;
    }
    *v = sum;
    return n;
}

static int read_quantity(const struct schema_row *o, const char *text, uint64_t *v, struct err *e)
{
    const char *known = o->type == OPTION_SIZE   ? "B, KB, MB, GB, KiB, MiB, GiB or TiB, like 64MiB"
                        : o->type == OPTION_SYNC ? "ms, s, m or h, like 100ms; nor always or never"
                                                 : "ms, s, m or h, like 100ms";
    uint64_t number;
    size_t digits = read_digits(text, &number);
    if (digits > 0 && text[digits] == '\0')
        return err_set(e, ERR_SYNTAX, "%.40s has no unit: %s", text, known);
    size_t n;
    const struct unit *units = units_of(o->type, &n);
    for (size_t i = 0; digits > 0 && i < n; i++) {
        if (strcmp(text + digits, units[i].name) != 0)
            continue;
        *v = number > UINT64_MAX / units[i].times ? UINT64_MAX : number * units[i].times;
        return 0;
    }
    return err_set(e, ERR_SYNTAX, "\"%.40s\" is not a whole number with a unit: %s", text, known);
}

static int read_choice(const struct schema_row *o, const char *text, uint64_t *v, struct err *e)
{
    struct buf all;
    buf_init(&all, 256);
    for (size_t i = 0; o->choices[i] != NULL; i++) {
        if (strcmp(o->choices[i], text) == 0) {
            buf_release(&all);
            *v = i;
            return 0;
        }
        buf_printf(&all, "%s%s", i > 0 ? ", " : "", o->choices[i]);
    }
    const char *words = buf_cstr(&all);
    err_set(e, ERR_RANGE, "\"%.40s\" is not one of: %s", text, words ? words : "(no memory)");
    buf_release(&all);
    return ERR_RANGE;
}

static int read_sync(const struct schema_row *o, const char *text, uint64_t *v, struct err *e)
{
    *v = strcmp(text, "never") == 0 ? UINT64_MAX : 0;
    if (*v != 0 || strcmp(text, "always") == 0)
        return 0;
    return read_quantity(o, text, v, e);
}

static int read_mode(const char *text, uint64_t *v, struct err *e)
{
    uint64_t mode = 0;
    size_t n = strlen(text);
    for (size_t i = 0; i < n && i < 5; i++)
        mode = text[i] >= '0' && text[i] <= '7' ? mode * 8 + (uint64_t)(text[i] - '0') : 01000;
    if (n == 0 || n > 4 || mode > 0777)
        return err_set(e, ERR_SYNTAX, "\"%.40s\" is not a mode in octal, like 0660", text);
    *v = mode;
    return 0;
}

static int read_count(const char *text, uint64_t *v, struct err *e)
{
    size_t digits = read_digits(text, v);
    if (digits == 0 || text[digits] != '\0')
        return err_set(e, ERR_TYPE, "\"%.40s\" is not a whole number", text);
    return 0;
}

static int read_char(const char *text, uint64_t *v, struct err *e)
{
    unsigned char c = (unsigned char)text[0];
    if (c == 0 || c > 127 || text[1] != '\0')
        return err_set(e, ERR_TYPE,
                       "\"%.40s\" is not one ASCII character (a tab is \"\\t\" in double quotes)",
                       text);
    *v = c;
    return 0;
}

static int out_of_bounds(const struct schema_row *o, const char *text, struct err *e)
{
    struct buf b;
    buf_init(&b, 96);
    option_print_bounds(o, &b);
    const char *words = buf_cstr(&b);
    err_set(e, ERR_RANGE, "%.40s is out of bounds: %s", text, words ? words : "");
    buf_release(&b);
    return ERR_RANGE;
}

static int read_number(const struct schema_row *o, const char *text, uint64_t *v, struct err *e)
{
    uint64_t got = 0;
    int rc = 0;
    if (o->type == OPTION_CHOICE)
        rc = read_choice(o, text, &got, e);
    else if (o->type == OPTION_COUNT)
        rc = read_count(text, &got, e);
    else if (o->type == OPTION_CHAR)
        rc = read_char(text, &got, e);
    else if (o->type == OPTION_SYNC)
        rc = read_sync(o, text, &got, e);
    else if (o->type == OPTION_MODE)
        rc = read_mode(text, &got, e);
    else
        rc = read_quantity(o, text, &got, e);
    bool is_word = o->type == OPTION_SYNC && (text[0] < '0' || text[0] > '9');
    if (rc == 0 && o->max != 0 && !is_word && (got < o->min || got > o->max))
        rc = out_of_bounds(o, text, e);
    if (rc == 0 && o->check != NULL)
        rc = o->check(text, e);
    if (rc == 0)
        *v = got;
    return rc;
}

static int set_text(const struct schema_row *o, char **at, const char *text, struct err *e)
{
    size_t n = strlen(text);
    if (n == 0)
        return err_set(e, ERR_MISSING, "the value is empty");
    if (n > o->max)
        return err_set(e, ERR_RANGE, "%zu bytes are too long; at most %llu are allowed", n,
                       (unsigned long long)o->max);
    int rc = o->check != NULL ? o->check(text, e) : 0;
    if (rc != 0)
        return rc;
    char *copy = malloc(n + 1);
    if (copy == NULL)
        return err_set(e, ERR_NOMEM, "memory ran out");
    memcpy(copy, text, n + 1);
    free(*at);
    *at = copy;
    return 0;
}

/* A value lives in a uint64_t or size_t, an enum, a char or a bool: its size tells. */
static void store(void *at, size_t size, uint64_t v)
{
    if (size == sizeof(uint64_t)) {
        memcpy(at, &v, sizeof v);
    } else if (size == sizeof(uint32_t)) {
        uint32_t v32 = (uint32_t)v;
        memcpy(at, &v32, sizeof v32);
    } else if (size == 1) {
        uint8_t v8 = (uint8_t)v;
        memcpy(at, &v8, 1);
    } else {
        assert(size == 0);
    }
}

static uint64_t load(const void *at, size_t size)
{
    uint64_t v64 = 0;
    uint32_t v32 = 0;
    uint8_t v8 = 0;
    if (size == sizeof v64)
        memcpy(&v64, at, sizeof v64);
    else if (size == sizeof v32)
        memcpy(&v32, at, sizeof v32);
    else if (size == sizeof v8)
        memcpy(&v8, at, sizeof v8);
    return v64 + v32 + v8;
}
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "max_record is a size_t");
_Static_assert(sizeof(bool) == 1, "bools are stored as one byte");

int option_set(const struct schema_row *o, void *base, const char *text, struct err *e)
{
    void *at = (char *)base + o->offset;
    if (o->type == OPTION_TEXT)
        return set_text(o, (char **)at, text, e);
    uint64_t v;
    int rc = read_number(o, text, &v, e);
    if (rc == 0)
        store(at, o->size, v);
    return rc;
}

static void print_quantity(enum option_type type, uint64_t v, struct buf *out)
{
    size_t n;
    const struct unit *units = units_of(type, &n);
    size_t i = 0;
    while (i + 1 < n && (v == 0 || v % units[i].times != 0))
        i++;
    buf_printf(out, "%llu%s", (unsigned long long)(v / units[i].times), units[i].name);
}

static void print_number(const struct schema_row *o, uint64_t v, struct buf *out)
{
    if (o->type == OPTION_CHOICE)
        buf_puts(out, o->choices[v]);
    else if (o->type == OPTION_COUNT)
        buf_printf(out, "%llu", (unsigned long long)v);
    else if (o->type == OPTION_SYNC && (v == 0 || v == UINT64_MAX))
        buf_puts(out, v == 0 ? "always" : "never");
    else if (o->type == OPTION_MODE)
        buf_printf(out, "%04llo", (unsigned long long)v);
    else if (o->type == OPTION_CHAR && v == '\t')
        buf_puts(out, "\"\\t\"");
    else if (o->type == OPTION_CHAR)
        buf_printf(out, "\"%c\"", (int)v);
    else
        print_quantity(o->type, v, out);
}

void option_print(const struct schema_row *o, const void *base, struct buf *out)
{
    const void *at = (const char *)base + o->offset;
    if (o->type == OPTION_TEXT) {
        const char *text = *(char *const *)at;
        buf_puts(out, text != NULL ? text : "(not set)");
        return;
    }
    uint64_t v = load(at, o->size);
    if (v == 0 && o->min > 0 && o->fallback == NULL)
        buf_puts(out, "(not set)");
    else
        print_number(o, v, out);
}

bool option_equal(const struct schema_row *o, const void *a, const void *b)
{
    const void *at_a = (const char *)a + o->offset, *at_b = (const char *)b + o->offset;
    if (o->type != OPTION_TEXT)
        return load(at_a, o->size) == load(at_b, o->size);
    const char *text_a = *(char *const *)at_a, *text_b = *(char *const *)at_b;
    if (text_a == NULL || text_b == NULL)
        return text_a == text_b;
    return strcmp(text_a, text_b) == 0;
}

void option_print_type(const struct schema_row *o, struct buf *out)
{
    static const char *const words[] = {
        [OPTION_TEXT] = "text",
        [OPTION_DURATION] = "duration",
        [OPTION_SIZE] = "size",
        [OPTION_COUNT] = "number",
        [OPTION_CHAR] = "character",
        [OPTION_NAMES] = "sequence",
        [OPTION_MAPPING] = "mapping",
        [OPTION_RECORD] = "mapping",
        [OPTION_ADD] = "mapping",
        [OPTION_JSON] = "value",
        [OPTION_SYNC] = "always|never|duration",
        [OPTION_MODE] = "mode",
    };
    if (o->type != OPTION_CHOICE) {
        buf_puts(out, words[o->type]);
        return;
    }
    for (size_t i = 0; o->choices[i] != NULL; i++)
        buf_printf(out, "%s%s", i > 0 ? "|" : "", o->choices[i]);
}

void option_print_bounds(const struct schema_row *o, struct buf *out)
{
    if (o->max == 0 || o->type == OPTION_TEXT)
        return;
    print_number(o, o->min, out);
    buf_puts(out, " to ");
    print_number(o, o->max, out);
}
