/* shape_plan.h - templates, compiled: what the files of shape.c execute and shape_plan.c builds.
 * Private to them.
 *
 * A plan is a flat list of steps. A step first writes its `text` (names, braces, commas and
 * constants, escaped in advance) and then, if it has one, a value. Raw fields are numbered in
 * `names`, each name once. A time that several steps print is parsed once a row: they share a
 * struct plan_time. Templates of text (the key, the values of `add`) are lists of parts. For JSON
 * the names are paths.
 */
#ifndef LIB_SHAPE_PLAN_H
#define LIB_SHAPE_PLAN_H

#include "lib/paths.h"
#include "lib/shape.h"
#include "lib/timefmt.h"

enum plan_meta {
    META_PATH = -1,
    META_OFFSET = -2,
    META_HOST = -3,
    META_INSTANCE = -4,
    META_ZONE = -5,
    META_PID = -6,
    META_UID = -7,
    META_GID = -8,
};

/* Where a value comes from: a number in plan.names (>= 0), or an enum plan_meta. */
typedef int plan_source;

struct plan_time {
    plan_source from;
    bool trim;
    const char *pattern;
    struct timefmt parse;
    uint64_t row; /* the row it was parsed for last */
    bool ok, empty;
    struct timefmt_time value;
};

struct plan_step {
    size_t text_at, text_n; /* in plan.text */
    bool has_value;
    const struct shape_field *field;
    plan_source from;
    int time; /* index into plan.times, or -1 */
    struct timefmt print;
};

/* A template of text: literals and sources, in turn. */
struct plan_part {
    struct str literal; /* p NULL: a source */
    plan_source from;
};

struct plan_text {
    struct plan_part *parts;
    size_t n;
};

struct plan_add {
    size_t text_at, text_n; /* "name": in plan.text */
    struct plan_text value;
    size_t steps_at, steps_n; /* or, not 0, what a field takes; the name is in its text */
};

enum plan_key_kind { KEY_RANDOM, KEY_HASH, KEY_TEMPLATE };

struct plan {
    char **names;
    size_t names_n;
    struct paths paths; /* json */
    struct plan_step *steps;
    size_t steps_n;
    size_t record_n; /* of them, those of the record's template; the others are those of `add` */
    struct plan_time *times;
    size_t times_n;
    struct buf text;
    enum plan_key_kind key;
    struct plan_text key_text;
    struct plan_add *add;
    size_t add_n;
    struct buf literals; /* of all templates of text */
    bool wants_ec2;
};

/* The names of the fields a format has, when they are known in advance: no others can be asked for.
 */
struct plan_known {
    const struct str *names; /* NULL: any name will do */
    size_t n;
};

int plan_build(struct plan *plan, const struct shape_spec *spec, const struct plan_known *known,
               struct err *e);
void plan_release(struct plan *plan);

#endif
