/* The happy path: a line is built field by field in a buffer on the stack and leaves in one
 * write(2), so that lines of several processes never mix within a line.
 *
 * How it fails: a line that grows past LOG_LINE_MAX is cut inside a value, the quote is closed and
 * cut=true is added, so what is left still parses. A stderr that is gone or full loses the line:
 * the daemon's work matters more than its diary.
 *
 * What may pass unescaped is decided byte by byte here. Valid UTF-8 stays readable, except what
 * changes how a terminal shows the rest of the line: C1 controls, line and paragraph separators,
 * and the marks that turn the writing direction.
 */
#include "daemon/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/json.h"

#define CUT_MARK  "\" cut=true\n"
#define LINE_ROOM (LOG_LINE_MAX - (sizeof(CUT_MARK) - 1))

struct line {
    size_t n;
    unsigned fields_n;
    bool cut;
    char p[LOG_LINE_MAX];
};

static const struct {
    const char *name;
    char priority; /* of syslog(3): what journald wants as <6> */
} LEVELS[] = {
    [LOG_ERROR] = {"error", '3'},
    [LOG_WARN] = {"warn", '4'},
    [LOG_INFO] = {"info", '6'},
    [LOG_DEBUG] = {"debug", '7'},
};

static enum log_level level_max = LOG_INFO;
static bool to_journal;

/* JOURNAL_STREAM is inherited by children whose stderr was redirected since, hence the comparison.
 */
static bool stderr_is_journal(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    struct stat st;
    if (text == NULL || fstat(STDERR_FILENO, &st) != 0)
        return false;
    char here[64];
    snprintf(here, sizeof here, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(text, here) == 0;
}

void log_init(enum log_level level)
{
    to_journal = stderr_is_journal();
    log_set_level(level);
}

void log_set_level(enum log_level level)
{
    level_max = level;
}

/* All of it or nothing: a piece is never cut in its middle. */
static bool line_put(struct line *l, const char *p, size_t n)
{
    if (l->cut || l->n + n > LINE_ROOM) {
        l->cut = true;
        return false;
    }
    memcpy(l->p + l->n, p, n);
    l->n += n;
    return true;
}

static uint32_t utf8_code(const unsigned char *p, size_t n)
{
    static const unsigned char FIRST[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = p[0] & FIRST[n];
    for (size_t i = 1; i < n; i++)
        code = code << 6 | (p[i] & 0x3fu);
    return code;
}

static bool code_is_sneaky(uint32_t c)
{
    return (c >= 0x80 && c <= 0x9f) || c == 0x61c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/* How many bytes at p may be shown as they are; 0 when the byte must be escaped. */
static size_t printable_len(const char *p, size_t n)
{
    unsigned char c = (unsigned char)*p;
    if (c < 0x80)
        return c >= 0x20 && c != 0x7f && c != '"' && c != '\\';
    size_t bad_n;
    size_t len = json_utf8_len(p, n, &bad_n);
    if (len == 0 || code_is_sneaky(utf8_code((const unsigned char *)p, len)))
        return 0;
    return len;
}

static bool needs_quotes(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '=')
            return true;
    }
    return s.n == 0;
}

static bool line_put_escaped(struct line *l, char c)
{
    static const char FROM[] = "\n\r\t\"\\", TO[] = "nrt\"\\";
    const char *at = c == '\0' ? NULL : strchr(FROM, c);
    char text[8];
    int n = at != NULL ? snprintf(text, sizeof text, "\\%c", TO[at - FROM])
                       : snprintf(text, sizeof text, "\\x%02x", (unsigned)(unsigned char)c);
    return line_put(l, text, (size_t)n);
}

static void line_put_value(struct line *l, struct str s)
{
    if (!needs_quotes(s)) {
        size_t fits = min_size(s.n, LINE_ROOM - l->n);
        line_put(l, s.p, fits);
        l->cut = fits < s.n;
        return;
    }
    if (!line_put(l, "\"", 1))
        return;
    bool fits = true;
    for (size_t i = 0; fits && i < s.n;) {
        size_t plain = printable_len(s.p + i, s.n - i);
        fits = plain > 0 ? line_put(l, s.p + i, plain) : line_put_escaped(l, s.p[i]);
        i += plain > 0 ? plain : 1;
    }
    l->p[l->n++] = '"'; /* the mark's room covers it when the value was cut */
}

static void line_put_field(struct line *l, const struct log_field *f)
{
    char head[80], number[24];
    int n = snprintf(head, sizeof head, "%s%s=", l->fields_n++ > 0 ? " " : "", f->name);
    assert(n > 0 && (size_t)n < sizeof head);
    if (!line_put(l, head, (size_t)n))
        return;
    if (f->kind == LOG_STR) {
        line_put_value(l, f->s);
        return;
    }
    n = f->kind == LOG_UINT ? snprintf(number, sizeof number, "%" PRIu64, f->u)
                            : snprintf(number, sizeof number, "%" PRId64, f->i);
    line_put_value(l, (struct str){number, (size_t)n});
}

static void line_open(struct line *l, enum log_level level)
{
    if (to_journal) {
        char prefix[3] = {'<', LEVELS[level].priority, '>'};
        line_put(l, prefix, sizeof prefix);
    } else {
        struct timespec ts;
        struct tm tm;
        clock_gettime(CLOCK_REALTIME, &ts);
        gmtime_r(&ts.tv_sec, &tm);
        char text[40];
        size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
        n += (size_t)snprintf(text + n, sizeof text - n, ".%03dZ", (int)(ts.tv_nsec / 1000000));
        line_put_field(l, &(struct log_field){"time", LOG_STR, {text, n}, 0, 0});
    }
    struct log_field f = log_s("level", LEVELS[level].name);
    line_put_field(l, &f);
}

void log_emit(enum log_level level, const struct log_field *fields)
{
    if (level > level_max)
        return;
    struct line l;
    l.n = l.fields_n = 0; /* not the whole struct: its text is larger than most lines */
    l.cut = false;
    line_open(&l, level);
    for (const struct log_field *f = fields; f->kind != LOG_END; f++)
        line_put_field(&l, f);
    const char *end = l.cut ? strchr(CUT_MARK, ' ') : "\n";
    size_t end_n = strlen(end);
    assert(l.n + end_n <= sizeof l.p);
    memcpy(l.p + l.n, end, end_n);
    l.n += end_n;
    while (write(STDERR_FILENO, l.p, l.n) < 0 && errno == EINTR)
        ;
}

bool log_limit(struct log_limit *l, uint64_t now_ms, uint64_t every_ms, uint64_t *held)
{
    if (now_ms < l->next_ms) {
        l->held++;
        return false;
    }
    *held = l->held;
    l->held = 0;
    l->next_ms = now_ms + every_ms;
    return true;
}
