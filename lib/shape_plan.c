/* Compiling a template: the tree of fields is walked once, in order. Text collects in one buffer
 * until a value interrupts it; so constants, nested objects and names cost nothing at run time. */
#include "lib/shape_plan.h"

#include <stdlib.h>

#include "lib/json.h"

#define PLAN_TEXT_MAX      (1 * MIB)
#define PLAN_KEY_PARTS_MAX 64

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

static int source_of(struct plan *plan, struct str name, plan_source *from, struct err *e)
{
    static const struct {
        const char *name;
        plan_source from;
    } metas[] = {{"@file.path", META_PATH}, {"@file.offset", META_OFFSET}, {"@host", META_HOST}};
    if (name.n > 0 && name.p[0] == '@') {
        for (size_t i = 0; i < ARRAY_LEN(metas); i++) {
            if (str_eq(str_of(metas[i].name), name)) {
                *from = metas[i].from;
                return 0;
            }
        }
        return err_set(e, ERR_MISSING,
                       "unknown metadata '%.*s': there is @file.path, @file.offset, @host",
                       (int)min_size(name.n, 80), name.p);
    }
    int known = find_name(plan, name);
    if (known < 0) {
        char *copy = strndup(name.p, name.n);
        if (copy == NULL)
            return nomem(e);
        known = (int)plan->names_n;
        plan->names[plan->names_n++] = copy;
    }
    *from = known;
    return 0;
}

/* ---- the template --------------------------------------------------------------------------- */

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

static int add_value(struct plan *plan, const struct shape_field *f, struct err *e)
{
    struct plan_step *step = open_step(plan);
    close_text(plan);
    step->has_value = true;
    step->field = f;
    int rc = source_of(plan, str_of(f->from), &step->from, e);
    if (rc == 0 && f->parse != NULL)
        rc = add_time(plan, step, e);
    if (rc == 0)
        next_step(plan);
    return rc;
}

static int add_object(struct plan *plan, const struct shape_field *fields, size_t n, unsigned depth,
                      struct err *e)
{
    if (depth > SHAPE_DEPTH_MAX)
        return err_set(e, ERR_RANGE, "objects nest deeper than %d", SHAPE_DEPTH_MAX);
    buf_putc(&plan->text, '{');
    for (size_t i = 0; i < n; i++) {
        const struct shape_field *f = &fields[i];
        if (i > 0)
            buf_putc(&plan->text, ',');
        json_put_string(&plan->text, str_of(f->name));
        buf_putc(&plan->text, ':');
        int rc = 0;
        if (f->kind == FIELD_CONST)
            buf_puts(&plan->text, f->constant);
        else if (f->kind == FIELD_OBJECT)
            rc = add_object(plan, f->children, f->children_n, depth + 1, e);
        else
            rc = add_value(plan, f, e);
        if (rc != 0)
            return rc;
    }
    buf_putc(&plan->text, '}');
    return 0;
}

static int build_template(struct plan *plan, const struct shape_spec *spec, struct err *e)
{
    size_t n = count_fields(spec->fields, spec->fields_n);
    if (n > SHAPE_FIELDS_MAX)
        return err_set(e, ERR_RANGE, "%zu fields: at most %d", n, SHAPE_FIELDS_MAX);
    plan->steps = calloc(n + 1, sizeof *plan->steps);
    plan->times = calloc(n + 1, sizeof *plan->times);
    if (plan->steps == NULL || plan->times == NULL)
        return nomem(e);
    next_step(plan);
    int rc = add_object(plan, spec->fields, spec->fields_n, 1, e);
    if (rc != 0)
        return rc;
    close_text(plan);
    return plan->text.failed ? nomem(e) : 0;
}

/* ---- the key -------------------------------------------------------------------------------- */

static int add_part(struct plan *plan, struct plan_key_part part, struct err *e)
{
    if (plan->parts_n == PLAN_KEY_PARTS_MAX)
        return err_set(e, ERR_RANGE, "key: more than %d parts", PLAN_KEY_PARTS_MAX);
    plan->parts[plan->parts_n++] = part;
    return 0;
}

/* Literal text is unescaped into one buffer that was reserved at full size, so that it never
 * moves. */
static int add_literal(struct plan *plan, const char **at, struct err *e)
{
    const char *c = *at;
    struct str text = {plan->literals.p + plan->literals.n, 0};
    for (; *c != '\0'; c++) {
        if ((*c == '{' || *c == '}') && c[1] == *c)
            c++;
        else if (*c == '{')
            break;
        else if (*c == '}')
            return err_set(e, ERR_SYNTAX, "key: a single '}' (write }} for a brace)");
        buf_putc(&plan->literals, *c);
        text.n++;
    }
    *at = c;
    return text.n > 0 ? add_part(plan, (struct plan_key_part){.literal = text}, e) : 0;
}

static int add_reference(struct plan *plan, const struct shape_spec *spec, const char **at,
                         struct err *e)
{
    const char *name = *at + 1, *close = strchr(name, '}');
    if (close == NULL || close == name)
        return err_set(e, ERR_SYNTAX, "key: '{' without a name and a '}' (write {{ for a brace)");
    struct str text = {name, (size_t)(close - name)};
    struct plan_key_part part = {0};
    int rc = source_of(plan, text, &part.from, e);
    if (rc != 0)
        return rc;
    if (part.from >= 0 && spec->format == FORMAT_LINE)
        return err_set(e, ERR_TYPE, "key: format line has no fields, so there is no {%.*s}",
                       (int)min_size(text.n, 80), text.p);
    *at = close + 1;
    return add_part(plan, part, e);
}

static int build_key(struct plan *plan, const struct shape_spec *spec, struct err *e)
{
    if (strcmp(spec->key, "random") == 0) {
        plan->key = KEY_RANDOM;
        return 0;
    }
    if (strcmp(spec->key, "hash") == 0) {
        plan->key = KEY_HASH;
        return 0;
    }
    plan->key = KEY_TEMPLATE;
    plan->parts = calloc(PLAN_KEY_PARTS_MAX, sizeof *plan->parts);
    if (plan->parts == NULL || buf_reserve(&plan->literals, strlen(spec->key) + 1) == NULL)
        return nomem(e);
    for (const char *at = spec->key; *at != '\0';) {
        int rc = add_literal(plan, &at, e);
        if (rc == 0 && *at == '{')
            rc = add_reference(plan, spec, &at, e);
        if (rc != 0)
            return rc;
    }
    return plan->parts_n > 0 ? 0 : err_set(e, ERR_SYNTAX, "key: empty");
}

int plan_build(struct plan *plan, const struct shape_spec *spec, struct err *e)
{
    *plan = (struct plan){0};
    buf_init(&plan->text, PLAN_TEXT_MAX);
    buf_init(&plan->literals, PLAN_TEXT_MAX);
    plan->names = calloc(SHAPE_FIELDS_MAX + PLAN_KEY_PARTS_MAX, sizeof *plan->names);
    if (plan->names == NULL)
        return nomem(e);
    int rc = build_template(plan, spec, e);
    return rc != 0 ? rc : build_key(plan, spec, e);
}

void plan_release(struct plan *plan)
{
    for (size_t i = 0; i < plan->names_n; i++)
        free(plan->names[i]);
    free(plan->names);
    free(plan->steps);
    free(plan->times);
    free(plan->parts);
    buf_release(&plan->text);
    buf_release(&plan->literals);
}
