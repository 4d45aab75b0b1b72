/* Compiling a template: the tree of fields is walked once, in order. Text collects in one buffer
 * until a value interrupts it; so constants, nested objects and names cost nothing at run time. */
#include "lib/shape_plan.h"

#include <stdlib.h>

#include "lib/json.h"

#define PLAN_TEXT_MAX  (1 * MIB)
#define PLAN_PARTS_MAX 64

static int nomem(struct err *e)
{
    return err_set(e, ERR_NOMEM, "out of memory");
}

static int find_name(const struct plan *plan, struct str name)
{
    for (size_t i = 0; i < plan->names_n; i++)
        if (str_eq(str_of(plan->names[i]), name))
            return (int)i;
    return -1;
}

static const struct {
    struct str name;
    plan_source from;
} metas[] = {
    {{"@file.path", 10}, META_PATH},
    {{"@file.offset", 12}, META_OFFSET},
    {{"@host", 5}, META_HOST},
    {{"@ec2.instance_id", 16}, META_INSTANCE},
    {{"@ec2.availability_zone", 22}, META_ZONE},
    {{"@peer.pid", 9}, META_PID},
    {{"@peer.uid", 9}, META_UID},
    {{"@peer.gid", 9}, META_GID},
};

static bool find_meta(struct str name, plan_source *from)
{
    for (size_t i = 0; i < ARRAY_LEN(metas); i++) {
        if (str_eq(metas[i].name, name)) {
            *from = metas[i].from;
            return true;
        }
    }
    return false;
}

bool shape_is_metadata(struct str name)
{
    plan_source from;
    return find_meta(name, &from);
}

static bool is_known(const struct plan_known *known, struct str name)
{
    for (size_t i = 0; i < known->n; i++)
        if (str_eq(known->names[i], name))
            return true;
    return known->names == NULL;
}

static int refuse_name(const struct plan_known *known, struct str name, struct err *e)
{
    struct buf all;
    buf_init(&all, 256);
    for (size_t i = 0; i < known->n && !all.failed; i++)
        buf_printf(&all, "%s%.*s", i > 0 ? ", " : "", (int)known->names[i].n, known->names[i].p);
    bool whole = !all.failed;
    err_set(e, ERR_MISSING, "there is no field '%.*s': there are %.*s%s", (int)min_size(name.n, 80),
            name.p, (int)all.n, all.n > 0 ? all.p : "", whole ? "" : " and others");
    buf_release(&all);
    return ERR_MISSING;
}

/* What is being built, and with what. */
struct builder {
    struct plan *plan;
    const struct shape_spec *spec;
    const struct plan_known *known;
    struct err *e;
};

static int source_of(const struct builder *b, struct str name, plan_source *from)
{
    struct plan *plan = b->plan;
    if (name.n > 0 && name.p[0] == '@') {
        if (!find_meta(name, from))
            return err_set(b->e, ERR_MISSING, "unknown metadata '%.*s': there are " SHAPE_METADATA,
                           (int)min_size(name.n, 80), name.p);
        plan->wants_ec2 |= *from == META_INSTANCE || *from == META_ZONE;
        return 0;
    }
    if (!is_known(b->known, name))
        return refuse_name(b->known, name, b->e);
    int number = find_name(plan, name);
    if (number < 0) {
        char *copy = strndup(name.p, name.n);
        if (copy == NULL)
            return nomem(b->e);
        number = (int)plan->names_n;
        plan->names[plan->names_n++] = copy;
    }
    *from = number;
    return 0;
}

/* ---- the template ---- */

static size_t count_fields(const struct shape_field *fields, size_t n)
{
    size_t total = n;
    for (size_t i = 0; i < n; i++)
        total += count_fields(fields[i].children, fields[i].children_n);
    return total;
}

static struct plan_step *open_step(struct plan *plan)
{
    return &plan->steps[plan->steps_n - 1];
}

static void next_step(struct plan *plan)
{
    plan->steps[plan->steps_n++] = (struct plan_step){.text_at = plan->text.n, .time = -1};
}

static void close_text(struct plan *plan)
{
    struct plan_step *s = open_step(plan);
    s->text_n = plan->text.n - s->text_at;
}

static int add_time(struct plan *plan, struct plan_step *step, struct err *e)
{
    const struct shape_field *f = step->field;
    int rc = timefmt_compile(&step->print, f->print, e);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < plan->times_n; i++) {
        const struct plan_time *t = &plan->times[i];
        if (t->from == step->from && t->trim == f->trim && strcmp(t->pattern, f->parse) == 0) {
            step->time = (int)i;
            return 0;
        }
    }
    struct plan_time *t = &plan->times[plan->times_n];
    *t = (struct plan_time){.from = step->from, .trim = f->trim, .pattern = f->parse};
    rc = timefmt_compile(&t->parse, f->parse, e);
    if (rc == 0)
        step->time = (int)plan->times_n++;
    return rc;
}

static int add_value(const struct builder *b, const struct shape_field *f)
{
    struct plan *plan = b->plan;
    struct plan_step *step = open_step(plan);
    close_text(plan);
    step->has_value = true;
    step->field = f;
    int rc = source_of(b, str_of(f->from), &step->from);
    if (rc == 0 && f->parse != NULL)
        rc = add_time(plan, step, b->e);
    if (rc == 0)
        next_step(plan);
    return rc;
}

static int add_object(const struct builder *b, const struct shape_field *fields, size_t n,
                      unsigned depth);

/* "name":value, in objects that nest so deep. */
static int add_field(const struct builder *b, const struct shape_field *f, unsigned depth)
{
    struct plan *plan = b->plan;
    json_put_string(&plan->text, str_of(f->name));
    buf_putc(&plan->text, ':');
    if (f->kind == FIELD_OBJECT)
        return add_object(b, f->children, f->children_n, depth + 1);
    if (f->kind == FIELD_FROM)
        return add_value(b, f);
    buf_puts(&plan->text, f->constant);
    return 0;
}

static int add_object(const struct builder *b, const struct shape_field *fields, size_t n,
                      unsigned depth)
{
    struct plan *plan = b->plan;
    if (depth > SHAPE_DEPTH_MAX)
        return err_set(b->e, ERR_RANGE, "objects nest deeper than %d", SHAPE_DEPTH_MAX);
    buf_putc(&plan->text, '{');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_putc(&plan->text, ',');
        int rc = add_field(b, &fields[i], depth);
        if (rc != 0)
            return rc;
    }
    buf_putc(&plan->text, '}');
    return 0;
}

/* Room for the steps of the record's template and of `add`. */
static int reserve_steps(const struct builder *b)
{
    struct plan *plan = b->plan;
    const struct shape_spec *spec = b->spec;
    size_t n = count_fields(spec->fields, spec->fields_n);
    for (size_t i = 0; i < spec->add_n; i++)
        if (spec->add[i].field != NULL)
            n += count_fields(spec->add[i].field, 1);
    if (n > SHAPE_FIELDS_MAX)
        return err_set(b->e, ERR_RANGE, "%zu fields: at most %d", n, SHAPE_FIELDS_MAX);
    plan->steps = calloc(n + 1 + spec->add_n, sizeof *plan->steps);
    plan->times = calloc(n + 1, sizeof *plan->times);
    return plan->steps != NULL && plan->times != NULL ? 0 : nomem(b->e);
}

static int build_template(const struct builder *b)
{
    struct plan *plan = b->plan;
    const struct shape_spec *spec = b->spec;
    next_step(plan);
    int rc = add_object(b, spec->fields, spec->fields_n, 1);
    if (rc != 0)
        return rc;
    close_text(plan);
    plan->record_n = plan->steps_n;
    return plan->text.failed ? nomem(b->e) : 0;
}

/* ---- templates of text ---- */

static int add_part(const struct builder *b, struct plan_text *t, struct plan_part part)
{
    if (t->n == PLAN_PARTS_MAX)
        return err_set(b->e, ERR_RANGE, "more than %d parts", PLAN_PARTS_MAX);
    t->parts[t->n++] = part;
    return 0;
}

/* Literal text is unescaped into one buffer that was reserved at full size, so that it never
 * moves. */
static int add_literal(const struct builder *b, struct plan_text *t, const char **at)
{
    struct buf *literals = &b->plan->literals;
    const char *c = *at;
    struct str text = {literals->p + literals->n, 0};
    for (; *c != '\0'; c++) {
        if ((*c == '{' || *c == '}') && c[1] == *c)
            c++;
        else if (*c == '{')
            break;
        else if (*c == '}')
            return err_set(b->e, ERR_SYNTAX, "a single '}' (write }} for a brace)");
        buf_putc(literals, *c);
        text.n++;
    }
    *at = c;
    return text.n > 0 ? add_part(b, t, (struct plan_part){.literal = text}) : 0;
}

static int add_reference(const struct builder *b, struct plan_text *t, const char **at)
{
    const char *name = *at + 1, *close = strchr(name, '}');
    if (close == NULL || close == name)
        return err_set(b->e, ERR_SYNTAX, "'{' without a name and a '}' (write {{ for a brace)");
    struct str text = {name, (size_t)(close - name)};
    struct plan_part part = {0};
    int rc = source_of(b, text, &part.from);
    if (rc != 0)
        return rc;
    if (part.from >= 0 && b->spec->format == FORMAT_LINE)
        return err_set(b->e, ERR_TYPE, "format line has no fields, so there is no {%.*s}",
                       (int)min_size(text.n, 80), text.p);
    *at = close + 1;
    return add_part(b, t, part);
}

static int build_text(const struct builder *b, struct plan_text *t, const char *text)
{
    t->parts = calloc(PLAN_PARTS_MAX, sizeof *t->parts);
    if (t->parts == NULL)
        return nomem(b->e);
    for (const char *at = text; *at != '\0';) {
        int rc = add_literal(b, t, &at);
        if (rc == 0 && *at == '{')
            rc = add_reference(b, t, &at);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Says where it went wrong: "key: a single '}' ...". */
static int blame(const struct builder *b, const char *where, const char *name, int rc)
{
    if (rc != 0 && b->e != NULL) {
        struct err inner = *b->e;
        err_set(b->e, rc, "%s: %s%s%.400s", where, name, name[0] != '\0' ? ": " : "", inner.text);
    }
    return rc;
}

static int build_key(const struct builder *b)
{
    struct plan *plan = b->plan;
    const char *key = b->spec->key;
    if (strcmp(key, "random") == 0) {
        plan->key = KEY_RANDOM;
        return 0;
    }
    if (strcmp(key, "hash") == 0) {
        plan->key = KEY_HASH;
        return 0;
    }
    plan->key = KEY_TEMPLATE;
    int rc = build_text(b, &plan->key_text, key);
    if (rc == 0 && plan->key_text.n == 0)
        rc = err_set(b->e, ERR_SYNTAX, "empty");
    return blame(b, "key", "", rc);
}

static int build_add_field(const struct builder *b, const struct shape_field *f,
                           struct plan_add *add)
{
    struct plan *plan = b->plan;
    add->steps_at = plan->steps_n;
    next_step(plan);
    int rc = add_field(b, f, 1);
    if (rc == 0)
        close_text(plan);
    add->steps_n = plan->steps_n - add->steps_at;
    return rc;
}

static int build_add_text(const struct builder *b, const struct shape_add *from,
                          struct plan_add *add)
{
    struct plan *plan = b->plan;
    add->text_at = plan->text.n;
    json_put_string(&plan->text, str_of(from->name));
    buf_putc(&plan->text, ':');
    add->text_n = plan->text.n - add->text_at;
    return build_text(b, &add->value, from->text);
}

static int build_add(const struct builder *b)
{
    struct plan *plan = b->plan;
    const struct shape_spec *spec = b->spec;
    if (spec->add_n > SHAPE_ADD_MAX)
        return err_set(b->e, ERR_RANGE, "add: %zu members: at most %d", spec->add_n, SHAPE_ADD_MAX);
    plan->add = calloc(spec->add_n + 1, sizeof *plan->add);
    if (plan->add == NULL)
        return nomem(b->e);
    for (size_t i = 0; i < spec->add_n; i++) {
        const struct shape_add *from = &spec->add[i];
        struct plan_add *add = &plan->add[plan->add_n++];
        int rc = from->field != NULL ? build_add_field(b, from->field, add)
                                     : build_add_text(b, from, add);
        if (rc != 0)
            return blame(b, "add", from->name, rc);
    }
    return plan->text.failed ? nomem(b->e) : 0;
}

/* ---- all of it ---- */

static size_t literals_max(const struct shape_spec *spec)
{
    size_t n = strlen(spec->key) + 1;
    for (size_t i = 0; i < spec->add_n; i++)
        n += spec->add[i].text != NULL ? strlen(spec->add[i].text) : 0;
    return n;
}

int plan_build(struct plan *plan, const struct shape_spec *spec, const struct plan_known *known,
               struct err *e)
{
    const struct builder b = {.plan = plan, .spec = spec, .known = known, .e = e};
    size_t names_max = SHAPE_FIELDS_MAX + (1 + spec->add_n) * PLAN_PARTS_MAX;
    *plan = (struct plan){0};
    buf_init(&plan->text, PLAN_TEXT_MAX);
    buf_init(&plan->literals, PLAN_TEXT_MAX);
    plan->names = calloc(names_max, sizeof *plan->names);
    if (plan->names == NULL || buf_reserve(&plan->literals, literals_max(spec)) == NULL)
        return nomem(e);
    int rc = reserve_steps(&b);
    if (rc == 0)
        rc = build_template(&b);
    if (rc == 0)
        rc = build_key(&b);
    if (rc == 0)
        rc = build_add(&b);
    if (rc == 0 && spec->format == FORMAT_JSON)
        rc = paths_build(&plan->paths, plan->names, plan->names_n, e);
    return rc;
}

void plan_release(struct plan *plan)
{
    for (size_t i = 0; i < plan->names_n; i++)
        free(plan->names[i]);
    for (size_t i = 0; i < plan->add_n; i++)
        free(plan->add[i].value.parts);
    free(plan->names);
    free(plan->steps);
    free(plan->times);
    free(plan->key_text.parts);
    free(plan->add);
    paths_release(&plan->paths);
    buf_release(&plan->text);
    buf_release(&plan->literals);
}
