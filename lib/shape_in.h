/* shape_in.h - the inside of a shape, shared by its files:
 *
 *   shape.c       life, a file's header, and one record from its text to its data
 *   shape_read.c  the record's text as UTF-8, taken apart into cells
 *   shape_json.c  a JSON record: its values found, flattened, members cut out
 *   shape_fill.c  the template: cells into JSON; the members of `add`
 *   shape_key.c   the partition key
 *
 * The raw fields of a record are its cells: values by number, p NULL where there is none. What
 * number a name has is bound once a file (CSV), or once for the shape (`fixed`). The cells of a
 * record live until the next one. For JSON they are values as they stand, a string in its quotes.
 */
#ifndef LIB_SHAPE_IN_H
#define LIB_SHAPE_IN_H

#include "lib/logfmt.h"
#include "lib/logformats.h"
#include "lib/pattern.h"
#include "lib/shape_plan.h"

#define SHAPE_OUT_MAX (16 * MIB) /* max_record bytes, one escaped value and all text behind */

struct shape_columns {
    size_t n;
    int *index;       /* of each plan name in the header; -1: not there */
    struct buf names; /* without a template: what stands before each value */
    size_t *names_end;
};

struct cells {
    const struct str *values;
    size_t n;
    const struct shape_columns *columns;
};

struct shape {
    const struct shape_spec *spec;
    struct plan plan;
    struct buf host, instance_id, zone;
    struct buf out, key;
    /* Used many times for one record, and emptied with n = 0, so that a failure stays: */
    struct buf scratch, text, unescaped;
    uint64_t row; /* counts records, so that times know whether they are parsed */

    struct pattern *pattern; /* regex */
    struct str *names;       /* of the format's fields, if it has fixed ones */
    size_t names_n;
    struct shape_columns *fixed; /* how those are bound; NULL for csv */
    struct str *values;          /* room for the cells that no caller brings */
    struct logfmt_pair *pairs;   /* logfmt */
    size_t pairs_n;
    struct walk *walk; /* json, if more than its being JSON is asked for */
    struct multiline *multiline;

    /* The record at hand: */
    struct str raw; /* its text, as UTF-8 */
    struct cells cells;
    char reason[256];
};

/* shape_read.c. The first prepares what the format needs, the second when the plan is built. */
int read_open(struct shape *s, struct err *e);
int read_bind(struct shape *s, struct err *e);
void read_close(struct shape *s);

enum read_result { READ_OK, READ_NO_MATCH, READ_LIMIT, READ_NOMEM };
enum read_result read_record(struct shape *s, const struct shape_in *in, struct shape_out *out);

/* shape_json.c */
int walk_open(struct shape *s, struct err *e);
void walk_close(struct shape *s);
enum shape_result walk_record(struct shape *s, const struct shape_in *in, struct shape_out *out);
/* A value as it stands, but in one line. */
void walk_put_raw(struct buf *b, struct str json);

/* shape_fill.c. The object goes to s->out; SHAPE_DEAD leaves the reason. */
enum shape_result fill_object(struct shape *s, const struct shape_in *in, struct shape_out *out);
/* The members of `add`, appended to s->out, each with a comma before it, but the first if `first`.
 */
enum shape_result fill_members(struct shape *s, const struct shape_in *in, bool first,
                               struct shape_out *out);
/* One part of a template of text, appended to s->scratch; false when that was nothing. */
bool fill_part(struct shape *s, const struct plan_part *part, const struct shape_in *in);

/* shape_key.c */
void key_make(struct shape *s, const struct shape_in *in, struct rng *r, struct shape_out *out);

/* shape.c */
bool shape_adds(const struct shape *s,
                struct str name); /* whether `add` has a member of the name */
enum shape_result shape_die(struct shape *s, const struct shape_in *in, struct shape_out *out,
                            const char *fmt, ...) __attribute__((format(printf, 4, 5)));
enum shape_result shape_die_long(struct shape *s, const struct shape_in *in, struct shape_out *out);

#endif
