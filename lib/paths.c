/* The tree is built with lists of siblings, kept in order; then each node's children are written
 * down side by side, to be searched by halves.
 *
 * A record's values are never cleared: each meeting gets a number from a clock that only grows, and
 * a node counts if it was met in its parent's last meeting, and so on up to the record.
 */
#include "lib/paths.h"

#include <stdlib.h>

static int compare(struct str a, struct str b)
{
    if (a.n != b.n)
        return a.n < b.n ? -1 : 1;
    return a.n > 0 ? memcmp(a.p, b.p, a.n) : 0;
}

/* ---- building ---- */

struct siblings {
    int first, next; /* a node's first child, and its next sibling; -1: none */
};

static int child_of(struct paths *p, struct siblings *links, int parent, struct str name)
{
    int *at = &links[parent].first;
    while (*at >= 0 && compare(p->nodes[*at].name, name) < 0)
        at = &links[*at].next;
    if (*at >= 0 && compare(p->nodes[*at].name, name) == 0)
        return *at;
    int made = (int)p->nodes_n++;
    p->nodes[made] = (struct path_node){.name = name, .parent = parent, .path = -1, .other = -1};
    links[made] = (struct siblings){-1, *at};
    *at = made;
    return made;
}

/* Each level has two nodes of it: one that ends it there, and one to descend into. */
static int add_path(struct paths *p, struct siblings *links, const char *path, size_t i)
{
    struct str rest = str_of(path);
    int parent = 0, *to = &p->ends[i];
    for (unsigned depth = 1;; depth++) {
        int end = child_of(p, links, parent, rest);
        p->nodes[end].path = (int)i;
        *to = end;
        to = &p->nodes[end].other;
        const char *dot = rest.n > 0 ? memchr(rest.p, '.', rest.n) : NULL;
        if (dot == NULL)
            return 0;
        if (depth == PATHS_DEPTH_MAX)
            return ERR_RANGE;
        size_t n = (size_t)(dot - rest.p);
        parent = child_of(p, links, parent, (struct str){rest.p, n});
        rest = (struct str){dot + 1, rest.n - n - 1};
    }
}

static void write_order(struct paths *p, const struct siblings *links)
{
    unsigned used = 0;
    for (size_t i = 0; i < p->nodes_n; i++) {
        struct path_node *node = &p->nodes[i];
        node->children = used;
        for (int child = links[i].first; child >= 0; child = links[child].next) {
            p->order[used++] = child;
            node->lengths |= UINT64_C(1) << min_size(p->nodes[child].name.n, 63);
        }
        node->children_n = used - node->children;
    }
}

static size_t nodes_max(char *const *paths, size_t n)
{
    size_t max = 1;
    for (size_t i = 0; i < n; i++) {
        size_t names = 1;
        for (const char *c = paths[i]; *c != '\0' && names <= PATHS_DEPTH_MAX; c++)
            names += *c == '.';
        max += 2 * names;
    }
    return max;
}

int paths_build(struct paths *p, char *const *paths, size_t n, struct err *e)
{
    size_t max = nodes_max(paths, n);
    struct paths made = {
        .nodes = calloc(max, sizeof *made.nodes),
        .order = calloc(max, sizeof *made.order),
        .ends = calloc(n + 1, sizeof *made.ends),
        .n = n,
    };
    struct siblings *links = calloc(max, sizeof *links);
    int rc = 0;
    if (made.nodes == NULL || made.order == NULL || made.ends == NULL || links == NULL)
        rc = err_set(e, ERR_NOMEM, "out of memory");
    if (rc == 0) {
        made.nodes[made.nodes_n++] = (struct path_node){.parent = -1, .path = -1, .other = -1};
        links[0] = (struct siblings){-1, -1};
    }
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (add_path(&made, links, paths[i], i) != 0)
            rc = err_set(e, ERR_RANGE, "'%.80s' has more than %d names", paths[i], PATHS_DEPTH_MAX);
    if (rc == 0)
        write_order(&made, links);
    free(links);
    if (rc == 0)
        *p = made;
    else
        paths_release(&made);
    return rc;
}

void paths_release(struct paths *p)
{
    free(p->nodes);
    free(p->order);
    free(p->ends);
    *p = (struct paths){0};
}

/* ---- a record ---- */

void paths_begin(struct paths *p)
{
    p->nodes[0].seen = ++p->clock;
}

int paths_find(struct paths *p, int parent, struct str name)
{
    const struct path_node *at = &p->nodes[parent];
    const int *order = p->order + at->children;
    size_t low = 0, high = at->children_n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int node = order[middle], c = compare(p->nodes[node].name, name);
        if (c == 0) {
            p->nodes[node].seen = ++p->clock;
            p->nodes[node].within = at->seen;
            p->nodes[node].value = (struct str){0};
            return node;
        }
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

static bool is_there(const struct paths *p, int node)
{
    for (int parent = p->nodes[node].parent; parent >= 0; parent = p->nodes[node].parent) {
        if (p->nodes[node].within != p->nodes[parent].seen)
            return false;
        node = parent;
    }
    return true;
}

struct str paths_value(const struct paths *p, size_t i)
{
    for (int node = p->ends[i]; node >= 0; node = p->nodes[node].other)
        if (is_there(p, node))
            return p->nodes[node].value;
    return (struct str){0};
}
