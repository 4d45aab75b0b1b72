/* Each format is one function that walks a cursor over the line: take a word, expect a blank, take
 * what stands in quotes. The first thing that is not as it should be ends it: the line is of
 * another format. Nothing looks further ahead than the line's end, and no byte is passed more than
 * a few times.
 *
 * A wrong guess is worse than none, so the parsers are strict where formats look alike (a user name
 * with a blank in it would let a line with a virtual host in front pass as one without), and
 * lenient where only one reading is possible.
 */
#include "lib/logformats.h"

struct cursor {
    const char *p, *end;
};

static size_t left(const struct cursor *c)
{
    return (size_t)(c->end - c->p);
}

static bool take_char(struct cursor *c, char what)
{
    if (c->p == c->end || *c->p != what)
        return false;
    c->p++;
    return true;
}

static struct str take_rest(struct cursor *c)
{
    struct str rest = {c->p, left(c)};
    c->p = c->end;
    return rest;
}

/* Up to the next `stop`, which stays; false when there is none. */
static bool take_until(struct cursor *c, char stop, struct str *value)
{
    const char *at = memchr(c->p, stop, left(c));
    if (at == NULL)
        return false;
    *value = (struct str){c->p, (size_t)(at - c->p)};
    c->p = at;
    return true;
}

/* A word that is not empty, up to a blank or the end. */
static bool take_word(struct cursor *c, struct str *value)
{
    if (!take_until(c, ' ', value))
        *value = take_rest(c);
    return value->n > 0;
}

/* What stands between `open` and the next `close`. */
static bool take_enclosed(struct cursor *c, char open, char close, struct str *value)
{
    return take_char(c, open) && take_until(c, close, value) && take_char(c, close) && value->n > 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool all_digits(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_digit(s.p[i]))
            return false;
    return s.n > 0;
}

static bool is_dash(struct str s)
{
    return s.n == 1 && s.p[0] == '-';
}

static void null_dashes(struct str *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_dash(values[i]))
            values[i] = (struct str){0};
}

/* ---- access logs ---------------------------------------------------------------------------- */

/* "..." up to a quote that is not escaped and has a blank or the line's end behind it. */
static bool take_quoted(struct cursor *c, struct str *value)
{
    if (!take_char(c, '"'))
        return false;
    const char *begin = c->p;
    for (const char *at = begin;; at++) {
        at = memchr(at, '"', (size_t)(c->end - at));
        if (at == NULL)
            return false;
        const char *slash = at;
        while (slash > begin && slash[-1] == '\\')
            slash--;
        bool escaped = (at - slash) % 2 == 1;
        if (escaped || (at + 1 < c->end && at[1] != ' '))
            continue;
        *value = (struct str){begin, (size_t)(at - begin)};
        c->p = at + 1;
        return true;
    }
}

/* A number, or "-". */
static bool take_number(struct cursor *c, struct str *value)
{
    return take_word(c, value) && (is_dash(*value) || all_digits(*value));
}

enum { HOST, IDENT, AUTHUSER, DATETIME, REQUEST, RESPONSE, BYTES, REFERER, AGENT };

static bool take_common(struct cursor *c, struct str *v)
{
    return take_word(c, &v[HOST]) && take_char(c, ' ') && take_word(c, &v[IDENT]) &&
           take_char(c, ' ') && take_word(c, &v[AUTHUSER]) && take_char(c, ' ') &&
           take_enclosed(c, '[', ']', &v[DATETIME]) && take_char(c, ' ') &&
           take_quoted(c, &v[REQUEST]) && take_char(c, ' ') && take_number(c, &v[RESPONSE]) &&
           take_char(c, ' ') && take_number(c, &v[BYTES]);
}

static bool parse_common(struct cursor *c, struct str *v)
{
    if (!take_common(c, v))
        return false;
    null_dashes(v, BYTES + 1);
    return true;
}

static bool parse_combined(struct cursor *c, struct str *v)
{
    if (!take_common(c, v) || !take_char(c, ' ') || !take_quoted(c, &v[REFERER]) ||
        !take_char(c, ' ') || !take_quoted(c, &v[AGENT]))
        return false;
    null_dashes(v, AGENT + 1);
    return true;
}

/* ---- Apache's error log --------------------------------------------------------------------- */

enum { TIMESTAMP, MODULE, SEVERITY, PROCESSID, THREADID, CLIENT, MESSAGE };

/* "core:error", ":error" or "error". */
static bool split_severity(struct str both, struct str *v)
{
    const char *colon = memrchr(both.p, ':', both.n);
    v[SEVERITY] = both;
    if (colon != NULL) {
        size_t module_n = (size_t)(colon - both.p);
        if (module_n > 0)
            v[MODULE] = (struct str){both.p, module_n};
        v[SEVERITY] = (struct str){colon + 1, both.n - module_n - 1};
    }
    if (v[SEVERITY].n == 0)
        return false;
    for (size_t i = 0; i < v[SEVERITY].n; i++) {
        char c = v[SEVERITY].p[i];
        if ((c < 'a' || c > 'z') && !is_digit(c))
            return false;
    }
    return true;
}

/* What follows `word` in brackets, "[client 10.0.0.1:80]", with the blank behind it. */
static bool take_tagged(struct cursor *c, struct str word, struct str *value)
{
    struct cursor at = *c;
    if (left(&at) < word.n || memcmp(at.p, word.p, word.n) != 0)
        return false;
    at.p += word.n;
    struct str inside;
    if (!take_until(&at, ']', &inside) || inside.n == 0)
        return false;
    at.p++;
    take_char(&at, ' ');
    *value = inside;
    *c = at;
    return true;
}

static void split_process(struct str *v)
{
    static const struct str middle = {":tid ", 5};
    const char *tid = memmem(v[PROCESSID].p, v[PROCESSID].n, middle.p, middle.n);
    if (tid == NULL)
        return;
    size_t n = (size_t)(tid - v[PROCESSID].p);
    v[THREADID] = (struct str){tid + middle.n, v[PROCESSID].n - n - middle.n};
    v[PROCESSID].n = n;
}

/* Behind "(13)Permission denied: ", where Apache puts it after an error of the system. */
static void find_client(struct cursor c, struct str *v)
{
    static const struct str middle = {": [client ", 10};
    const char *at = c.p < c.end && *c.p == '(' ? memmem(c.p, left(&c), middle.p, middle.n) : NULL;
    if (at == NULL)
        return;
    c.p = at + 2;
    take_tagged(&c, STR("[client "), &v[CLIENT]);
}

static bool parse_apache_error(struct cursor *c, struct str *v)
{
    struct str both;
    if (!take_enclosed(c, '[', ']', &v[TIMESTAMP]) || !take_char(c, ' ') ||
        !take_enclosed(c, '[', ']', &both) || !split_severity(both, v))
        return false;
    if (!take_char(c, ' ') && c->p < c->end)
        return false;
    if (take_tagged(c, STR("[pid "), &v[PROCESSID]))
        split_process(v);
    if (!take_tagged(c, STR("[client "), &v[CLIENT]))
        find_client(*c, v);
    v[MESSAGE] = take_rest(c);
    null_dashes(v, CLIENT + 1);
    return true;
}

/* ---- syslog, RFC 3164 ----------------------------------------------------------------------- */

enum {
    SYSLOG_TIMESTAMP,
    SYSLOG_HOSTNAME,
    SYSLOG_PROGRAM,
    SYSLOG_PROCESSID,
    SYSLOG_MESSAGE,
    SYSLOG_PRI
};

/* <34>, or <3.4> as some write facility and severity. */
static bool take_pri(struct cursor *c, struct str *pri)
{
    if (!take_enclosed(c, '<', '>', pri) || pri->n > 5)
        return false;
    for (size_t i = 0; i < pri->n; i++)
        if (!is_digit(pri->p[i]) && (pri->p[i] != '.' || i == 0 || i == pri->n - 1))
            return false;
    return true;
}

/* Whether the text begins as `shape` says: 9 a digit, _ a digit or a blank, else itself. */
static bool looks_like(const struct cursor *c, const char *shape)
{
    size_t n = strlen(shape);
    if (left(c) < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char want = shape[i], got = c->p[i];
        bool fits = want == '9'   ? is_digit(got)
                    : want == '_' ? is_digit(got) || got == ' '
                                  : got == want;
        if (!fits)
            return false;
    }
    return true;
}

static bool is_month(const char *p)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (size_t i = 0; i < sizeof months - 1; i += 3)
        if (memcmp(p, months + i, 3) == 0)
            return true;
    return false;
}

static bool take_timestamp(struct cursor *c, struct str *value)
{
    if (looks_like(c, "9999-99-99T99:99:99"))
        return take_word(c, value);
    if (left(c) < 15 || !is_month(c->p))
        return false;
    struct cursor day = {c->p + 3, c->end};
    size_t n = looks_like(&day, " _9 99:99:99") ? 15 : looks_like(&day, " 9 99:99:99") ? 14 : 0;
    *value = (struct str){c->p, n};
    c->p += n;
    return n > 0;
}

/* "sshd[812]: " or "kernel: "; false, and nothing is taken, when no program's name stands there. */
static bool take_program(struct cursor *c, struct str *v)
{
    struct cursor at = *c;
    struct str program = {at.p, 0}, processid = {0};
    while (at.p < at.end && *at.p != ' ' && *at.p != '[' &&
           !(*at.p == ':' && (at.p + 1 == at.end || at.p[1] == ' ')))
        at.p++;
    program.n = (size_t)(at.p - program.p);
    if (program.n == 0 || at.p == at.end || *at.p == ' ')
        return false;
    if (*at.p == '[') {
        at.p++;
        if (!take_until(&at, ']', &processid) || memchr(processid.p, ' ', processid.n) != NULL)
            return false;
        at.p++;
    }
    if (!take_char(&at, ':') && processid.p == NULL)
        return false;
    if (!take_char(&at, ' ') && at.p < at.end)
        return false;
    v[SYSLOG_PROGRAM] = program;
    if (processid.n > 0)
        v[SYSLOG_PROCESSID] = processid;
    *c = at;
    return true;
}

static bool parse_syslog(struct cursor *c, struct str *v)
{
    if (c->p < c->end && *c->p == '<' && !take_pri(c, &v[SYSLOG_PRI]))
        return false;
    if (!take_timestamp(c, &v[SYSLOG_TIMESTAMP]) || !take_char(c, ' ') || c->p == c->end)
        return false;
    struct cursor after = *c;
    struct str word;
    if (!take_word(&after, &word))
        return false;
    if (word.p[word.n - 1] != ':') { /* else it is the program, and no host was written */
        v[SYSLOG_HOSTNAME] = word;
        take_char(&after, ' ');
        *c = after;
    }
    take_program(c, v);
    v[SYSLOG_MESSAGE] = take_rest(c);
    null_dashes(v, SYSLOG_PROCESSID + 1);
    return true;
}

/* ---- syslog, RFC 5424 ----------------------------------------------------------------------- */

enum { PRI, VERSION, TIME, HOSTNAME, APP_NAME, PROCID, MSGID, STRUCTURED_DATA, MSG };

static bool take_sd_name(struct cursor *c)
{
    const char *begin = c->p;
    while (c->p<c->end && * c->p> ' ' && *c->p < 0x7f && *c->p != '=' && *c->p != ']' &&
           *c->p != '"')
        c->p++;
    return c->p > begin;
}

/* Escapes are \" \\ and \]; another backslash stands for itself. */
static bool take_sd_value(struct cursor *c)
{
    if (!take_char(c, '"'))
        return false;
    while (c->p < c->end && *c->p != '"')
        c->p += *c->p == '\\' && c->p + 1 < c->end ? 2 : 1;
    return take_char(c, '"');
}

static bool take_structured_data(struct cursor *c, struct str *value)
{
    const char *begin = c->p;
    if (!take_char(c, '-')) {
        if (c->p == c->end || *c->p != '[')
            return false;
        while (take_char(c, '[')) {
            if (!take_sd_name(c))
                return false;
            while (take_char(c, ' '))
                if (!take_sd_name(c) || !take_char(c, '=') || !take_sd_value(c))
                    return false;
            if (!take_char(c, ']'))
                return false;
        }
    }
    *value = (struct str){begin, (size_t)(c->p - begin)};
    return true;
}

static bool parse_rfc5424(struct cursor *c, struct str *v)
{
    if (!take_enclosed(c, '<', '>', &v[PRI]) || v[PRI].n > 3 || !all_digits(v[PRI]))
        return false;
    if (!take_word(c, &v[VERSION]) || v[VERSION].n > 3 || !all_digits(v[VERSION]) ||
        v[VERSION].p[0] == '0')
        return false;
    for (size_t i = TIME; i <= MSGID; i++)
        if (!take_char(c, ' ') || !take_word(c, &v[i]))
            return false;
    if (!take_char(c, ' ') || !take_structured_data(c, &v[STRUCTURED_DATA]))
        return false;
    null_dashes(v, STRUCTURED_DATA + 1);
    if (c->p == c->end)
        return true;
    if (!take_char(c, ' '))
        return false;
    if (left(c) >= 3 && memcmp(c->p, "\xef\xbb\xbf", 3) == 0)
        c->p += 3;
    v[MSG] = take_rest(c);
    return true;
}

/* ---- the table ------------------------------------------------------------------------------ */

struct format {
    bool (*parse)(struct cursor *c, struct str *values);
    size_t n;
    const char *names[LOGFORMAT_FIELDS_MAX];
};

static const struct format formats[LOGFORMATS_N] = {
    [LOGFORMAT_COMMON] = {parse_common,
                          7,
                          {"host", "ident", "authuser", "datetime", "request", "response",
                           "bytes"}},
    [LOGFORMAT_COMBINED] = {parse_combined,
                            9,
                            {"host", "ident", "authuser", "datetime", "request", "response",
                             "bytes", "referer", "agent"}},
    [LOGFORMAT_APACHE_ERROR] = {parse_apache_error,
                                7,
                                {"timestamp", "module", "severity", "processid", "threadid",
                                 "client", "message"}},
    [LOGFORMAT_SYSLOG] = {parse_syslog,
                          6,
                          {"timestamp", "hostname", "program", "processid", "message", "pri"}},
    [LOGFORMAT_SYSLOG_RFC5424] = {parse_rfc5424,
                                  9,
                                  {"pri", "version", "timestamp", "hostname", "app_name", "procid",
                                   "msgid", "structured_data", "msg"}},
};

const char *const *logformat_names(enum logformat f, size_t *n)
{
    *n = formats[f].n;
    return formats[f].names;
}

bool logformat_parse(enum logformat f, struct str line, struct str *values)
{
    if (line.n == 0)
        return false;
    struct cursor c = {line.p, line.p + line.n};
    for (size_t i = 0; i < formats[f].n; i++)
        values[i] = (struct str){0};
    return formats[f].parse(&c, values);
}
