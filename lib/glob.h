/* glob.h - which paths a source's patterns mean; pure matching, no file system.
 *
 * A pattern is an absolute path whose components may hold * ? [a-z] [!a-z] (within one component,
 * as fnmatch(3) with FNM_PERIOD: a leading dot must be matched by a dot), ** as a whole component
 * (any number of directories, none included; hidden ones are not entered), and braces {a,b}
 * anywhere, which are expanded first and may nest. A backslash takes a character as it is.
 *
 *   glob_new(pattern, excludes...)  compiles one pattern and its exclusions; NULL with err: not
 *                                   absolute, an empty component, an unclosed brace or bracket, a
 *                                   backslash at an end, a pattern that ends in **, one of the
 *                                   limits below, or no memory
 *   glob_match(g, path)             does the path match, and no exclusion?
 *
 * An exclusion with a slash is matched against the whole path, one without against the last
 * component, as people write them ("*.gz"). One that ends in ** excludes all below a directory,
 * hidden or not.
 *
 * Walking. Alternatives are independent: each is a list of components. A walk stands in a directory
 * with `done` components matched; glob_component tells what the next one is: GLOB_LITERAL (just
 * append it), GLOB_WILD (list the directory and keep the names that glob_component_match accepts),
 * GLOB_DEEP (**: here and in every directory below). The last component names files.
 */
#ifndef LIB_GLOB_H
#define LIB_GLOB_H

#include "lib/err.h"
#include "lib/base.h"

#define GLOB_ALTERNATIVES_MAX 256
#define GLOB_COMPONENTS_MAX   64
#define GLOB_BRACES_MAX       64
#define GLOB_PATTERN_MAX      4096

enum glob_kind { GLOB_LITERAL, GLOB_WILD, GLOB_DEEP };

struct glob_component {
    enum glob_kind kind;
    char *text; /* GLOB_LITERAL: without its backslashes */
};

struct glob_alternative {
    struct glob_component *components;
    size_t n;
    bool anywhere; /* it has no slash: an exclusion of last components */
};

struct glob {
    struct glob_alternative *alternatives;
    size_t n;
    struct glob_alternative *excludes;
    size_t excludes_n;
};

struct glob *glob_new(const char *pattern, char *const *excludes, size_t excludes_n, struct err *e);
void glob_free(struct glob *g);
bool glob_match(const struct glob *g, const char *path);
bool glob_excluded(const struct glob *g, const char *path);
bool glob_component_match(const struct glob_component *c, const char *name);

#endif
