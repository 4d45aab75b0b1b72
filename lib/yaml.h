/* yaml.h - YAML text into a tree that remembers where everything stood.
 *
 * One document of scalars, mappings and sequences, read with libyaml from memory. Every node knows
 * its line and column (from 1), so that errors can be said as file:line:column. Refused, with the
 * place: text that is not YAML (or not UTF-8), more than one document, anchors and aliases (they
 * can grow without bound), tags, duplicate keys in a mapping, keys that are not scalars, nesting
 * deeper than YAML_DEPTH_MAX, more than YAML_NODES_MAX nodes, more than YAML_KEYS_MAX keys in one
 * mapping, text over YAML_BYTES_MAX. An empty document is an empty mapping.
 *
 * yaml_parse returns the tree (yaml_tree_free frees it; NULL is fine) or NULL with err: the text
 * starts with "line:column: ". The tree does not borrow from the text. (The name yaml_free belongs
 * to libyaml, which calls it from within: it must not be ours.)
 */
#ifndef LIB_YAML_H
#define LIB_YAML_H

#include "lib/base.h"
#include "lib/err.h"

#define YAML_DEPTH_MAX 32
#define YAML_NODES_MAX 100000
#define YAML_KEYS_MAX  1024 /* each key is held against all before it */
#define YAML_BYTES_MAX (1 * MIB)

enum yaml_kind { YAML_SCALAR, YAML_MAPPING, YAML_SEQUENCE };

struct yaml {
    enum yaml_kind kind;
    unsigned line, column;
    char *text;        /* scalar: NUL-terminated; a scalar holding a NUL byte is refused */
    bool plain;        /* scalar: written without quotes, so 5 may be a number and true a boolean */
    struct yaml *keys; /* mapping: scalars, in document order */
    struct yaml *values; /* mapping and sequence */
    size_t n;
};

struct yaml *yaml_parse(struct str text, struct err *e);
void yaml_tree_free(struct yaml *y);
const struct yaml *yaml_get(const struct yaml *mapping, const char *key);

#endif
