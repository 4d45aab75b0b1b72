/* Compiling: the expression, a block for the results, and a match context with the limits. PCRE2
 * lists the names in alphabetical order; here they are put in the order of their groups.
 *
 * Matching is one call. Anchored, it starts from one place only: PCRE2 counts steps anew for each
 * place it starts from, so that a search would multiply the limit by the length of the text.
 */
#include "lib/pattern.h"

#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define NEST_MAX 100

struct name {
    const char *text; /* in the code's own table, NUL-terminated */
    uint32_t group;
};

struct pattern {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    size_t names_n;
    struct name names[PATTERN_NAMES_MAX];
};

static int compile(struct pattern *p, const char *text, enum pattern_where where, struct err *e)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    uint32_t options = PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C;
    if (where == PATTERN_WHOLE)
        options |= PCRE2_ENDANCHORED;
    int code;
    PCRE2_SIZE at;
    pcre2_set_parens_nest_limit(context, NEST_MAX);
    p->code = pcre2_compile((PCRE2_SPTR)text, strlen(text), options, &code, &at, context);
    pcre2_compile_context_free(context);
    if (p->code != NULL)
        return 0;
    if (code == PCRE2_ERROR_HEAP_FAILED)
        return err_set(e, ERR_NOMEM, "out of memory");
    PCRE2_UCHAR words[256];
    if (pcre2_get_error_message(code, words, sizeof words) == PCRE2_ERROR_BADDATA)
        words[0] = '\0';
    return err_set(e, ERR_SYNTAX, "at byte %zu: %s", at, (const char *)words);
}

static int add_name(struct pattern *p, const char *text, uint32_t group, struct err *e)
{
    for (size_t i = 0; i < p->names_n; i++)
        if (strcmp(p->names[i].text, text) == 0)
            return err_set(e, ERR_RANGE, "two groups are named %s", text);
    if (p->names_n == PATTERN_NAMES_MAX)
        return err_set(e, ERR_RANGE, "more than %d named groups", PATTERN_NAMES_MAX);
    p->names[p->names_n++] = (struct name){text, group};
    return 0;
}

static int by_group(const void *a, const void *b)
{
    const struct name *x = a, *y = b;
    return x->group < y->group ? -1 : x->group > y->group;
}

/* An entry of the table: the number in two bytes, high first, then the name. */
static int read_names(struct pattern *p, struct err *e)
{
    uint32_t n = 0, entry_n = 0;
    PCRE2_SPTR at = NULL;
    pcre2_pattern_info(p->code, PCRE2_INFO_NAMECOUNT, &n);
    pcre2_pattern_info(p->code, PCRE2_INFO_NAMEENTRYSIZE, &entry_n);
    pcre2_pattern_info(p->code, PCRE2_INFO_NAMETABLE, &at);
    for (uint32_t i = 0; i < n; i++, at += entry_n) {
        int rc = add_name(p, (const char *)at + 2, (uint32_t)at[0] << 8 | at[1], e);
        if (rc != 0)
            return rc;
    }
    qsort(p->names, p->names_n, sizeof p->names[0], by_group);
    return 0;
}

static int prepare(struct pattern *p, struct err *e)
{
    p->match = pcre2_match_data_create_from_pattern(p->code, NULL);
    p->limits = pcre2_match_context_create(NULL);
    if (p->match == NULL || p->limits == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    pcre2_set_heap_limit(p->limits, PATTERN_HEAP_KIB);
    return 0;
}

struct pattern *pattern_new(const char *text, enum pattern_where where, struct err *e)
{
    if (strlen(text) > PATTERN_TEXT_MAX) {
        err_set(e, ERR_RANGE, "longer than %d bytes", PATTERN_TEXT_MAX);
        return NULL;
    }
    struct pattern *p = calloc(1, sizeof *p);
    if (p == NULL) {
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    if (compile(p, text, where, e) == 0 && read_names(p, e) == 0 && prepare(p, e) == 0)
        return p;
    pattern_free(p);
    return NULL;
}

void pattern_free(struct pattern *p)
{
    if (p == NULL)
        return;
    pcre2_match_context_free(p->limits);
    pcre2_match_data_free(p->match);
    pcre2_code_free(p->code);
    free(p);
}

size_t pattern_names_n(const struct pattern *p)
{
    return p->names_n;
}

const char *pattern_name(const struct pattern *p, size_t i)
{
    assert(i < p->names_n);
    return p->names[i].text;
}

static uint32_t steps_for(size_t n)
{
    size_t steps = PATTERN_STEPS_BASE + 4 * n;
    return (uint32_t)min_size(steps, PATTERN_WORK_MAX / (n + 1) + 1);
}

enum pattern_result pattern_match(struct pattern *p, struct str text)
{
    uint32_t steps = steps_for(text.n);
    pcre2_set_match_limit(p->limits, steps);
    pcre2_set_depth_limit(p->limits, steps);
    PCRE2_SPTR subject = (PCRE2_SPTR)(text.p != NULL ? text.p : "");
    int rc = pcre2_match(p->code, subject, text.n, 0, 0, p->match, p->limits);
    switch (rc) {
    case PCRE2_ERROR_NOMATCH:
        return PATTERN_NO;
    case PCRE2_ERROR_MATCHLIMIT:
    case PCRE2_ERROR_DEPTHLIMIT:
    case PCRE2_ERROR_HEAPLIMIT:
    case PCRE2_ERROR_RECURSELOOP:
        return PATTERN_LIMIT;
    case PCRE2_ERROR_NOMEMORY:
        return PATTERN_NOMEM;
    default:
        return rc >= 0 ? PATTERN_YES : PATTERN_NO; /* negative: not UTF-8, though asked to be */
    }
}

struct str pattern_group(const struct pattern *p, struct str text, size_t i)
{
    assert(i < p->names_n);
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(p->match);
    PCRE2_SIZE begin = ends[2 * p->names[i].group], end = ends[2 * p->names[i].group + 1];
    if (begin == PCRE2_UNSET || begin > end || text.p == NULL)
        return (struct str){0};
    return (struct str){text.p + begin, end - begin};
}
