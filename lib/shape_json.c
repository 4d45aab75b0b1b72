/* A JSON record is walked once: the walk sees to it that it is JSON, finds the values that the key,
 * the template and `add` ask for (paths.h), writes the flattened object, and, where members are
 * added, leaves out those of their names that the record brings itself.
 *
 * Values found are the record's own bytes: the first one tells what they are. A flattened member is
 * written as soon as its value has been passed, its name being what the levels above left in `name`
 * and its own. Otherwise the object is copied in as few pieces as there are members cut out of it.
 *
 * How it fails: what is not JSON is dead, with the place in words. A flattened record may be longer
 * than the one that came, without bound; it ends at max_record. What is no object has no members,
 * and goes as it stands or is dead.
 */
#include "lib/shape_in.h"

#include <stdlib.h>

#include "lib/json.h"

struct level {
    int node;      /* in the plan's paths; -1: nobody asks for anything in here */
    bool escaped;  /* some name down to here has an escape in it */
    bool empty;    /* no member yet */
    size_t begin;  /* where the object begins, in the text */
    size_t name_n; /* flatten: of `name`, what stands before the names in it */
};

struct walk {
    struct json_scan scan;
    struct str text;
    struct level levels[JSON_DEPTH_MAX + 1];
    unsigned depth;

    bool changes; /* what is sent is not the text as it stands */
    bool flatten;
    struct buf separator; /* as it stands in a JSON string */
    bool odd_separator;   /* it has an escape in it */
    struct buf name;      /* of the object that the walk is in, and a separator */

    bool cuts;         /* members of added names are cut out of the object's own text */
    bool cutting;      /* the member at hand is one */
    bool kept;         /* some member stays */
    size_t copied;     /* of the text: what is in the output, or cut out of it */
    size_t member_end; /* behind the last member */
    size_t close;      /* where the record's last brace is */

    uint64_t added_lengths; /* a bit for each length of an added name; 63 is and more */
};

/* ---- life ----------------------------------------------------------------------------------- */

static uint64_t length_bit(size_t n)
{
    return UINT64_C(1) << min_size(n, 63);
}

static bool write_separator(struct walk *w, const char *separator)
{
    json_put_string(&w->separator, str_of(separator));
    if (w->separator.failed)
        return false;
    w->separator.n -= 2; /* the quotes */
    memmove(w->separator.p, w->separator.p + 1, w->separator.n);
    w->odd_separator = memchr(w->separator.p, '\\', w->separator.n) != NULL;
    return true;
}

int walk_open(struct shape *s, struct err *e)
{
    const struct shape_spec *spec = s->spec;
    if (spec->fields_n == 0 && spec->add_n == 0 && spec->flatten == NULL && s->plan.names_n == 0)
        return 0;
    struct walk *w = s->walk = calloc(1, sizeof *w);
    if (w == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    buf_init(&w->separator, 1 * KIB);
    buf_init(&w->name, SHAPE_OUT_MAX);
    w->flatten = spec->flatten != NULL;
    w->changes = w->flatten || spec->fields_n > 0 || spec->add_n > 0;
    w->cuts = !w->flatten && spec->fields_n == 0 && spec->add_n > 0;
    for (size_t i = 0; i < spec->add_n; i++)
        w->added_lengths |= length_bit(strlen(spec->add[i].name));
    if (w->flatten && !write_separator(w, spec->flatten))
        return err_set(e, ERR_NOMEM, "out of memory");
    return 0;
}

void walk_close(struct shape *s)
{
    if (s->walk == NULL)
        return;
    buf_release(&s->walk->separator);
    buf_release(&s->walk->name);
    free(s->walk);
}

/* ---- names ---------------------------------------------------------------------------------- */

static struct str without_escapes(struct shape *s, struct str name)
{
    s->unescaped.n = 0;
    json_unescape(&s->unescaped, name);
    return buf_str(&s->unescaped);
}

static bool is_added(struct shape *s, struct str name, bool escaped)
{
    const struct walk *w = s->walk;
    if (w->added_lengths == 0)
        return false;
    if (escaped)
        name = without_escapes(s, name);
    return (w->added_lengths & length_bit(name.n)) != 0 && shape_adds(s, name);
}

/* ---- the way through ------------------------------------------------------------------------ */

enum step { STEP_ON, STEP_BAD, STEP_LONG };

/* A member of the object at hand, while its value is passed. */
struct member {
    struct str name; /* as it stands */
    bool escaped;
    int node;
    size_t begin; /* of its value */
};

static void put_pieces(struct shape *s, const struct str *pieces, size_t n, size_t total)
{
    char *to = buf_reserve(&s->out, total + 1);
    for (size_t i = 0; to != NULL && i < n; i++) {
        if (pieces[i].n > 0)
            memcpy(to, pieces[i].p, pieces[i].n);
        to += pieces[i].n;
    }
    if (to != NULL)
        buf_commit(&s->out, total);
}

/* Line breaks can stand between JSON's tokens only: blanks do as well there, and what is sent stays
 * one line. */
void walk_put_raw(struct buf *b, struct str json)
{
    size_t at = b->n;
    buf_put(b, json.p, json.n);
    if (b->failed || (json.p[0] != '{' && json.p[0] != '['))
        return;
    for (char *c = b->p + at; (c = memchr(c, '\n', (size_t)(b->p + b->n - c))) != NULL; c++)
        *c = ' ';
    for (char *c = b->p + at; (c = memchr(c, '\r', (size_t)(b->p + b->n - c))) != NULL; c++)
        *c = ' ';
}

/* ,"name.own":value */
static enum step put_flat(struct shape *s, struct str parent, struct str own, bool escaped,
                          struct str value)
{
    size_t more = parent.n + own.n + value.n + 4, before = s->out.n, max = s->spec->max_record;
    if (more > max || before > max - more)
        return STEP_LONG;
    bool first = before == 1;
    const struct str pieces[] = {
        {&",\""[first], (size_t)2 - first},
        parent,
        own,
        STR("\":"),
    };
    put_pieces(s, pieces, ARRAY_LEN(pieces), more - value.n - first);
    struct str name = {s->out.p + before + 2 - first, parent.n + own.n};
    if (s->out.failed || is_added(s, name, escaped))
        s->out.n = before;
    else
        walk_put_raw(&s->out, value);
    return STEP_ON;
}

static enum step enter_object(struct walk *w, const struct member *m)
{
    const struct level *outer = &w->levels[w->depth];
    struct level *inner = &w->levels[++w->depth];
    *inner = (struct level){
        .node = m->node,
        .escaped = outer->escaped || m->escaped || w->odd_separator,
        .empty = true,
        .begin = m->begin,
        .name_n = w->name.n,
    };
    if (w->flatten) {
        buf_put(&w->name, m->name.p, m->name.n);
        buf_put(&w->name, w->separator.p, w->separator.n);
    }
    return STEP_ON;
}

/* The object at hand has been closed. */
static enum step leave_object(struct shape *s)
{
    struct walk *w = s->walk;
    const struct level *level = &w->levels[w->depth];
    enum step step = STEP_ON;
    if (level->node > 0)
        paths_set(&s->plan.paths, level->node,
                  (struct str){w->text.p + level->begin, w->scan.at - level->begin});
    if (w->flatten && w->depth > 0) {
        struct str name = {w->name.p, w->name.n - w->separator.n};
        if (level->empty)
            step = put_flat(s, name, (struct str){"", 0}, level->escaped, STR("{}"));
        w->name.n = level->name_n;
    }
    w->depth--;
    return step;
}

/* Text up to the last member that is kept goes out; this one does not. */
static void cut_member(struct shape *s)
{
    struct walk *w = s->walk;
    if (w->member_end > w->copied)
        buf_put(&s->out, w->text.p + w->copied, w->member_end - w->copied);
    w->copied = w->scan.at;
}

static enum step leave_member(struct shape *s, const struct member *m)
{
    struct walk *w = s->walk;
    const struct level *level = &w->levels[w->depth];
    struct str value = {w->text.p + m->begin, w->scan.at - m->begin};
    if (m->node >= 0)
        paths_set(&s->plan.paths, m->node, value);
    if (w->flatten)
        return put_flat(s, buf_str(&w->name), m->name, level->escaped || m->escaped, value);
    return STEP_ON;
}

static void begin_member(struct shape *s, const struct member *m)
{
    struct walk *w = s->walk;
    w->cutting = is_added(s, m->name, m->escaped);
    if (w->cutting || w->kept)
        return;
    w->kept = true;
    if (w->copied > 0) /* the comma behind what was cut goes too */
        w->copied = (size_t)(m->name.p - w->text.p) - 1;
}

static void end_member(struct shape *s)
{
    struct walk *w = s->walk;
    if (w->cutting)
        cut_member(s);
    w->cutting = false;
    w->member_end = w->scan.at;
}

static size_t value_begin(const struct walk *w, enum json_token t)
{
    return (size_t)(w->scan.token.p - w->text.p) - (t == JSON_STRING);
}

/* The scanner has given a key. */
static enum step pass_member(struct shape *s)
{
    struct walk *w = s->walk;
    struct level *level = &w->levels[w->depth];
    struct member m = {.name = w->scan.token, .escaped = w->scan.escaped, .node = -1};
    level->empty = false;
    if (level->node >= 0)
        m.node = paths_enter(&s->plan.paths, level->node,
                             m.escaped ? without_escapes(s, m.name) : m.name);
    if (w->cuts && w->depth == 0)
        begin_member(s, &m);
    enum json_token t = json_scan_next(&w->scan);
    if (t == JSON_BAD)
        return STEP_BAD;
    m.begin = value_begin(w, t);
    if (t == JSON_OBJECT && (w->flatten || (m.node >= 0 && paths_descends(&s->plan.paths, m.node))))
        return enter_object(w, &m);
    if ((t == JSON_OBJECT || t == JSON_ARRAY) && json_scan_skip(&w->scan) == JSON_BAD)
        return STEP_BAD;
    return leave_member(s, &m);
}

/* The scanner has given the bracket of the record. */
static enum step walk_object(struct shape *s)
{
    struct walk *w = s->walk;
    w->levels[0] = (struct level){.node = s->plan.names_n > 0 ? 0 : -1};
    w->depth = 0;
    enum step step = STEP_ON;
    while (step == STEP_ON) {
        enum json_token t = json_scan_next(&w->scan);
        if (t == JSON_KEY) {
            step = pass_member(s);
        } else if (t != JSON_CLOSE) {
            return STEP_BAD;
        } else if (w->depth == 0) {
            break;
        } else {
            step = leave_object(s);
        }
        if (w->cuts && w->depth == 0)
            end_member(s);
    }
    return step;
}

/* ---- a record ------------------------------------------------------------------------------- */

static void take_values(struct shape *s)
{
    for (size_t i = 0; i < s->plan.names_n; i++)
        s->values[i] = paths_value(&s->plan.paths, i);
    s->cells = (struct cells){s->values, s->plan.names_n, s->fixed};
}

static enum shape_result not_json(struct shape *s, const struct shape_in *in, struct shape_out *out,
                                  size_t bad_at)
{
    return shape_die(s, in, out, "not JSON at byte %zu", bad_at);
}

static enum shape_result check_only(struct shape *s, const struct shape_in *in,
                                    struct shape_out *out)
{
    size_t bad_at = 0;
    if (!in->valid && !json_valid(s->raw, &bad_at))
        return not_json(s, in, out, bad_at);
    return SHAPE_RECORD;
}

static enum shape_result no_object(struct shape *s, const struct shape_in *in,
                                   struct shape_out *out)
{
    enum shape_result result = check_only(s, in, out);
    take_values(s);
    if (result != SHAPE_RECORD || !s->walk->changes)
        return result;
    if (s->spec->bad_value_dead)
        return shape_die(s, in, out, "not a JSON object");
    out->add_skipped++;
    return SHAPE_RECORD;
}

static enum shape_result finish_object(struct shape *s, const struct shape_in *in,
                                       struct shape_out *out)
{
    const struct walk *w = s->walk;
    if (s->spec->fields_n > 0)
        return fill_object(s, in, out);
    if (w->cuts)
        buf_put(&s->out, w->text.p + w->copied, w->close - w->copied);
    bool first = w->flatten ? s->out.n == 1 : !w->kept;
    enum shape_result result = fill_members(s, in, first, out);
    if (w->flatten)
        buf_putc(&s->out, '}');
    else
        buf_put(&s->out, w->text.p + w->close, w->text.n - w->close);
    if (s->out.failed || s->scratch.failed || s->unescaped.failed)
        return SHAPE_NOMEM;
    if (result == SHAPE_RECORD)
        out->data = buf_str(&s->out);
    return result;
}

enum shape_result walk_record(struct shape *s, const struct shape_in *in, struct shape_out *out)
{
    struct walk *w = s->walk;
    if (w == NULL)
        return check_only(s, in, out);
    paths_begin(&s->plan.paths);
    json_scan_init(&w->scan, s->raw);
    w->text = s->raw;
    if (json_scan_next(&w->scan) != JSON_OBJECT)
        return no_object(s, in, out);
    w->cutting = w->kept = false;
    w->copied = 0;
    w->member_end = w->scan.at;
    buf_reset(&w->name);
    buf_reset(&s->unescaped);
    buf_reset(&s->scratch);
    buf_reset(&s->out);
    if (w->flatten)
        buf_putc(&s->out, '{');
    enum step step = walk_object(s);
    w->close = w->scan.at - 1;
    if (step == STEP_BAD || (step == STEP_ON && json_scan_next(&w->scan) != JSON_END))
        return not_json(s, in, out, w->scan.at);
    if (s->unescaped.failed || w->name.failed)
        return SHAPE_NOMEM;
    if (step == STEP_LONG)
        return shape_die_long(s, in, out);
    take_values(s);
    return w->changes ? finish_object(s, in, out) : SHAPE_RECORD;
}
