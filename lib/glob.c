/* Braces are expanded first, into plain patterns; a plain pattern is cut at its slashes. Matching
 * goes component by component; only ** needs to try more than one way, and it does so without
 * recursion: the last ** seen is the only one to come back to, as with * in a line of text. */
#include "lib/glob.h"

#include <fnmatch.h>
#include <stdlib.h>

/* ---- braces ---- */

struct expansion {
    char **texts;
    size_t n;
    struct err *err;
};

/* The index of the brace that closes the one at `open`, or 0. */
static size_t closing_brace(const char *text, size_t open)
{
    size_t depth = 0;
    for (size_t i = open; text[i] != '\0'; i++) {
        if (text[i] == '\\' && text[i + 1] != '\0')
            i++;
        else if (text[i] == '{')
            depth++;
        else if (text[i] == '}' && --depth == 0)
            return i;
    }
    return 0;
}

static size_t first_brace(const char *text)
{
    size_t i = 0;
    while (text[i] != '\0' && text[i] != '{')
        i += text[i] == '\\' && text[i + 1] != '\0' ? 2 : 1;
    return i;
}

static int keep(struct expansion *x, const char *text)
{
    if (x->n == GLOB_ALTERNATIVES_MAX)
        return err_set(x->err, ERR_RANGE, "more than %d alternatives in braces",
                       GLOB_ALTERNATIVES_MAX);
    x->texts[x->n] = strdup(text);
    if (x->texts[x->n] == NULL)
        return err_set(x->err, ERR_NOMEM, "out of memory");
    x->n++;
    return 0;
}

static int expand(struct expansion *x, const char *text, unsigned depth);

/* text[0..open) + one alternative [from, to) + what follows the closing brace */
static int expand_one(struct expansion *x, const char *text, size_t open, size_t close, size_t from,
                      size_t to, unsigned depth)
{
    size_t rest = strlen(text + close + 1);
    char *joined = malloc(open + (to - from) + rest + 1);
    if (joined == NULL)
        return err_set(x->err, ERR_NOMEM, "out of memory");
    memcpy(joined, text, open);
    memcpy(joined + open, text + from, to - from);
    memcpy(joined + open + (to - from), text + close + 1, rest + 1);
    int rc = expand(x, joined, depth + 1);
    free(joined);
    return rc;
}

static int expand(struct expansion *x, const char *text, unsigned depth)
{
    size_t open = first_brace(text);
    if (text[open] == '\0')
        return keep(x, text);
    size_t close = closing_brace(text, open);
    if (close == 0)
        return err_set(x->err, ERR_SYNTAX, "a '{' that is not closed");
    if (depth == GLOB_BRACES_MAX)
        return err_set(x->err, ERR_RANGE, "more than %d braces", GLOB_BRACES_MAX);
    size_t level = 0, from = open + 1;
    for (size_t i = open + 1; i <= close; i++) {
        if (text[i] == '\\' && i + 1 < close) {
            i++;
        } else if (text[i] == '{') {
            level++;
        } else if (i == close || (text[i] == ',' && level == 0)) {
            int rc = expand_one(x, text, open, close, from, i, depth);
            if (rc != 0)
                return rc;
            from = i + 1;
        } else if (text[i] == '}') {
            level--;
        }
    }
    return 0;
}

/* ---- components ---- */

static bool has_wildcard(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\\' && text[1] != '\0')
            text++;
        else if (*text == '*' || *text == '?' || *text == '[')
            return true;
    }
    return false;
}

/* Where the bracket expression that starts at `text` ends: at its ']', or at the NUL. A ']' right
 * at its beginning, one behind a backslash, and the one of a class like [:digit:] do not end it. */
static const char *bracket_end(const char *text)
{
    text += text[1] == '!' || text[1] == '^' ? 2 : 1;
    if (*text == ']')
        text++;
    for (; *text != '\0' && *text != ']'; text++) {
        const char *class_end = text[0] == '[' && text[1] == ':' ? strstr(text + 2, ":]") : NULL;
        if (class_end != NULL)
            text = class_end + 1;
        else if (*text == '\\' && text[1] != '\0')
            text++;
    }
    return text;
}

/* fnmatch would take what is not closed for itself; more likely it is a slip. */
static const char *what_is_open(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\\') {
            if (*++text == '\0')
                return "a backslash with nothing behind it";
        } else if (*text == '[') {
            text = bracket_end(text);
            if (*text == '\0')
                return "a '[' that is not closed";
        }
    }
    return NULL;
}

static void drop_backslashes(char *text)
{
    char *to = text;
    for (; *text != '\0'; text++) {
        if (*text == '\\' && text[1] != '\0')
            text++;
        *to++ = *text;
    }
    *to = '\0';
}

static int add_component(struct glob_alternative *a, const char *text, size_t n, struct err *e)
{
    if (n == 0 || a->n == GLOB_COMPONENTS_MAX)
        return err_set(e, ERR_SYNTAX, n == 0 ? "an empty component (two slashes, or one at the end)"
                                             : "too many components");
    char *copy = strndup(text, n);
    if (copy == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    const char *open = what_is_open(copy);
    if (open != NULL) {
        free(copy);
        return err_set(e, ERR_SYNTAX, "%s", open);
    }
    enum glob_kind kind = GLOB_WILD;
    if (strcmp(copy, "**") == 0) {
        kind = GLOB_DEEP;
        if (a->n > 0 && a->components[a->n - 1].kind == GLOB_DEEP) {
            free(copy); /* two say no more than one, but cost a walk each */
            return 0;
        }
    } else if (!has_wildcard(copy)) {
        kind = GLOB_LITERAL;
        drop_backslashes(copy);
    }
    a->components[a->n++] = (struct glob_component){.kind = kind, .text = copy};
    return 0;
}

static int cut(struct glob_alternative *a, const char *text, struct err *e)
{
    a->components = calloc(GLOB_COMPONENTS_MAX, sizeof *a->components);
    if (a->components == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    a->anywhere = strchr(text, '/') == NULL;
    if (*text == '/')
        text++;
    for (;;) {
        size_t n = strcspn(text, "/");
        int rc = add_component(a, text, n, e);
        if (rc != 0 || text[n] == '\0')
            return rc;
        text += n + 1;
    }
}

static int add_all(struct glob_alternative **list, size_t *n, const char *pattern, struct err *e)
{
    if (strlen(pattern) >= GLOB_PATTERN_MAX)
        return err_set(e, ERR_RANGE, "longer than %d bytes", GLOB_PATTERN_MAX - 1);
    char *texts[GLOB_ALTERNATIVES_MAX];
    struct expansion x = {.texts = texts, .err = e};
    int rc = expand(&x, pattern, 0);
    struct glob_alternative *more = NULL;
    if (rc == 0 && (more = realloc(*list, (*n + x.n) * sizeof *more)) == NULL)
        rc = err_set(e, ERR_NOMEM, "out of memory");
    if (rc == 0)
        *list = more;
    for (size_t i = 0; i < x.n; i++) {
        if (rc == 0) {
            (*list)[*n] = (struct glob_alternative){0};
            rc = cut(&(*list)[(*n)++], texts[i], e);
        }
        free(texts[i]);
    }
    return rc;
}

static int check_files(const struct glob *g, struct err *e)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct glob_alternative *a = &g->alternatives[i];
        if (a->components[a->n - 1].kind == GLOB_DEEP)
            return err_set(e, ERR_SYNTAX, "** stands for directories, so it cannot come last");
    }
    return 0;
}

struct glob *glob_new(const char *pattern, char *const *excludes, size_t excludes_n, struct err *e)
{
    struct glob *g = calloc(1, sizeof *g);
    if (g == NULL) {
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    int rc = 0;
    if (pattern[0] != '/')
        rc = err_set(e, ERR_SYNTAX, "not an absolute path");
    if (rc == 0)
        rc = add_all(&g->alternatives, &g->n, pattern, e);
    if (rc == 0)
        rc = check_files(g, e);
    for (size_t i = 0; rc == 0 && i < excludes_n; i++)
        rc = add_all(&g->excludes, &g->excludes_n, excludes[i], e);
    if (rc == 0)
        return g;
    glob_free(g);
    return NULL;
}

static void release(struct glob_alternative *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < list[i].n; k++)
            free(list[i].components[k].text);
        free(list[i].components);
    }
    free(list);
}

void glob_free(struct glob *g)
{
    if (g == NULL)
        return;
    release(g->alternatives, g->n);
    release(g->excludes, g->excludes_n);
    free(g);
}

/* ---- matching ---- */

bool glob_component_match(const struct glob_component *c, const char *name)
{
    if (c->kind == GLOB_LITERAL)
        return strcmp(c->text, name) == 0;
    if (c->kind == GLOB_DEEP)
        return name[0] != '.';
    return fnmatch(c->text, name, FNM_PERIOD) == 0;
}

/* The component of the path that starts at *at (behind its slash); moves *at to the next. False: it
 * is empty or too long for a name, or a slash ends the path. */
static bool take(const char **at, char *name, size_t cap)
{
    size_t n = strcspn(*at, "/");
    if (n == 0 || n >= cap || strcmp(*at + n, "/") == 0)
        return false;
    memcpy(name, *at, n);
    name[n] = '\0';
    *at += n + ((*at)[n] == '/');
    return true;
}

static bool match(const struct glob_alternative *a, const char *path)
{
    char name[256]; /* NAME_MAX and a NUL */
    size_t i = 0, deep = SIZE_MAX;
    const char *at = path, *back = NULL;
    while (*at != '\0') {
        if (i < a->n && a->components[i].kind == GLOB_DEEP) {
            if (i + 1 == a->n)
                return true; /* all that is below, hidden or not */
            deep = i++; /* it may stand for nothing */
            back = at;
            continue;
        }
        if (i < a->n && take(&at, name, sizeof name) &&
            glob_component_match(&a->components[i], name)) {
            i++;
            continue;
        }
        if (deep == SIZE_MAX)
            return false;
        at = back; /* let the last ** take one directory more */
        if (!take(&at, name, sizeof name) || name[0] == '.')
            return false;
        back = at;
        i = deep + 1;
    }
    return i == a->n;
}

bool glob_excluded(const struct glob *g, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *last = slash != NULL ? slash + 1 : path;
    for (size_t i = 0; i < g->excludes_n; i++) {
        const struct glob_alternative *a = &g->excludes[i];
        if (match(a, a->anywhere ? last : path + (path[0] == '/')))
            return true;
    }
    return false;
}

bool glob_match(const struct glob *g, const char *path)
{
    if (path[0] != '/')
        return false;
    for (size_t i = 0; i < g->n; i++)
        if (match(&g->alternatives[i], path + 1))
            return !glob_excluded(g, path);
    return false;
}
