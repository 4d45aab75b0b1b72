/* Lines of text: a pattern, an exclusion, and paths. What is accepted keeps the limits, and matches
 * exactly the paths that a table of all component pairs says it does. */
#include "lib/glob.h"

#include <stdlib.h>

#define PATH_PARTS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next line, copied; NULL at the end. */
static char *next_line(const uint8_t **data, size_t *size)
{
    if (*size == 0)
        return NULL;
    const uint8_t *end = memchr(*data, '\n', *size);
    size_t n = end != NULL ? (size_t)(end - *data) : *size;
    char *line = strndup((const char *)*data, n); /* a NUL in it ends it earlier */
    assert(line != NULL);
    n += end != NULL;
    *data += n;
    *size -= n;
    return line;
}

static void check(const struct glob_alternative *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert(list[i].n > 0 && list[i].n <= GLOB_COMPONENTS_MAX);
        for (size_t k = 0; k < list[i].n; k++)
            assert(strchr(list[i].components[k].text, '/') == NULL);
    }
}

/* Cuts the path at its slashes, in place. False: not a path that a walk could come by. */
static bool cut(char *path, const char **parts, size_t *n)
{
    *n = 0;
    if (path[0] != '/')
        return false;
    for (char *at = path; at != NULL; (*n)++) {
        char *end = strchr(at + 1, '/');
        size_t len = end != NULL ? (size_t)(end - at) : strlen(at);
        if (len < 2 || len > 256 || *n == PATH_PARTS_MAX)
            return false;
        if (end != NULL)
            *end = '\0';
        parts[*n] = at + 1;
        at = end;
    }
    return true;
}

/* fits[k]: the components so far can stand for the first k parts. A ** that comes last (in
 * exclusions) stands for all that is below. */
static bool slow_match(const struct glob_alternative *a, const char **parts, size_t n)
{
    bool fits[PATH_PARTS_MAX + 1] = {true};
    for (size_t i = 0; i < a->n; i++) {
        const struct glob_component *c = &a->components[i];
        bool deep = c->kind == GLOB_DEEP, before = fits[0];
        if (deep && i + 1 == a->n)
            return memchr(fits, true, n) != NULL;
        fits[0] = fits[0] && deep;
        for (size_t k = 1; k <= n; k++) {
            bool here = fits[k];
            bool one = glob_component_match(c, parts[k - 1]);
            fits[k] = deep ? here || (fits[k - 1] && one) : before && one;
            before = here;
        }
    }
    return fits[n];
}

static void check_path(const struct glob *g, char *path)
{
    const char *parts[PATH_PARTS_MAX];
    size_t n;
    bool match = glob_match(g, path), excluded = glob_excluded(g, path);
    if (!cut(path, parts, &n))
        return;
    bool want = false, want_excluded = false;
    for (size_t i = 0; i < g->n; i++)
        want |= slow_match(&g->alternatives[i], parts, n);
    for (size_t i = 0; i < g->excludes_n; i++) {
        size_t skip = g->excludes[i].anywhere ? n - 1 : 0;
        want_excluded |= slow_match(&g->excludes[i], parts + skip, n - skip);
    }
    assert(excluded == want_excluded);
    assert(match == (want && !excluded));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *pattern = next_line(&data, &size), *exclude = next_line(&data, &size), *path;
    struct err e = {0};
    struct glob *g = pattern != NULL ? glob_new(pattern, &exclude, exclude != NULL, &e) : NULL;
    if (pattern != NULL && g == NULL)
        assert(e.code < 0 && e.text[0] != '\0');
    if (g != NULL) {
        assert(g->n > 0 && g->n <= GLOB_ALTERNATIVES_MAX && g->excludes_n <= GLOB_ALTERNATIVES_MAX);
        check(g->alternatives, g->n);
        check(g->excludes, g->excludes_n);
    }
    while (g != NULL && (path = next_line(&data, &size)) != NULL) {
        check_path(g, path);
        free(path);
    }
    glob_free(g);
    free(pattern);
    free(exclude);
    return 0;
}
