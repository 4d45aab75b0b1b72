/* transform_in.h - the inside of a transform, shared by its files:
 *
 *   transform.c         life, the event, the answer
 *   transform_record.c  what is made of one record's data
 *
 * A record is made in t->out, with its partition keys in t->keys, as members of a JSON object.
 * record_make is false when it failed: t->why says why, and t->full that the result is longer than
 * any answer.
 */
#ifndef LIB_TRANSFORM_IN_H
#define LIB_TRANSFORM_IN_H

#include "lib/transform.h"

#define RAW_BYTES_MAX (64 * MIB) /* more than any event holds */

struct transform {
    const struct config_source *mapping;
    struct shape_spec spec; /* the mapping's, without a key */
    struct shape *shape;
    struct shape_columns *columns;
    struct csv_row row;
    struct rng rng;
    size_t answer_max;
    struct transform_done *done;
    struct buf entries;        /* struct entry, one behind the other */
    struct buf unescaped, raw; /* the data of the record at hand */

    /* And what is made of it: */
    struct buf out, keys, other_keys;
    size_t texts;
    bool mixed, full;
    char why[320], first_why[320];
};

bool record_make(struct transform *t, struct str data);
bool record_fail(struct transform *t, const char *why); /* false */

#endif
