/* paths.h - dotted paths into a JSON object, looked up while its text is walked once.
 *
 * A path is followed one name at a time; at each level a member that has all the rest of the path
 * as its name is taken before one to descend into: a.b is the member "a.b", or else b in the object
 * a. paths_build makes a tree of the names that some path asks for: node 0 is the record itself.
 *
 *   paths_begin(p);                           a record begins: all that was seen is forgotten
 *   node = paths_enter(p, parent, name);      the walk has met a member of this name in the object
 *                                             at `parent`; -1: no path asks for it
 *   paths_descends(p, node)                   whether some path goes into it
 *   paths_set(p, node, value);                what it is, when its end is known
 *   paths_value(p, i)                         at the end: the value of path i; p NULL: none
 *
 * Of two members of one name the last counts, with all that is in it. Entering costs a look at the
 * name's length, and, when some sibling has that length, a search among the siblings: what a
 * hostile record costs does not grow with the number of paths.
 */
#ifndef LIB_PATHS_H
#define LIB_PATHS_H

#include "lib/base.h"
#include "lib/err.h"

#define PATHS_DEPTH_MAX 32 /* names in one path */

struct path_node {
    struct str name;
    int parent;
    int path;                      /* that ends here; -1: none */
    int other;                     /* where the same path ends too, one level down; -1 */
    unsigned children, children_n; /* in `order`, by length, then by bytes */
    uint64_t lengths;              /* a bit for each length of a child's name; 63 is and more */
    uint64_t seen, within;         /* when it was met last, and its parent then */
    struct str value;
};

struct paths {
    struct path_node *nodes;
    size_t nodes_n;
    int *order;
    int *ends; /* of each path, the node that is taken first */
    size_t n;
    uint64_t clock;
};

/* Borrows the paths. On failure nothing is to be released. */
int paths_build(struct paths *p, char *const *paths, size_t n, struct err *e);
void paths_release(struct paths *p); /* zeroed is fine */

void paths_begin(struct paths *p);
int paths_find(struct paths *p, int parent, struct str name); /* the slow part of paths_enter */
struct str paths_value(const struct paths *p, size_t i);

static inline int paths_enter(struct paths *p, int parent, struct str name)
{
    uint64_t bit = UINT64_C(1) << min_size(name.n, 63);
    return (p->nodes[parent].lengths & bit) != 0 ? paths_find(p, parent, name) : -1;
}

static inline bool paths_descends(const struct paths *p, int node)
{
    return p->nodes[node].children_n > 0;
}

static inline void paths_set(struct paths *p, int node, struct str value)
{
    p->nodes[node].value = value;
}

#endif
