/* config_record.c - the template of `record:`, from YAML to struct shape_field, and `add:`, whose
 * members are text or such fields.
 *
 * Each entry is a field (a mapping whose `from` is a scalar), a constant ({const: x}) or a nested
 * object (any other mapping), in the document's order. What looks like neither, a bare value, is
 * where people slip (a `from` left out or misspelt), so that complaint says what was likely meant.
 *
 * Depth and number of fields are bounded here, as shape_new bounds them, to point at the right
 * place.
 */
#include "lib/config_parts.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/json.h"

struct reader {
    struct complaints *bad;
    size_t fields; /* in the whole template so far */
};

static void read_fields(struct reader *r, const struct section *s, unsigned depth,
                        struct shape_field **fields, size_t *n);

/* Plain true, null and numbers as JSON knows them keep their type; all else is a string. */
static const char *plain_json(const struct yaml *y)
{
    static const char *const words[][2] = {
        {"True", "true"}, {"TRUE", "true"}, {"False", "false"}, {"FALSE", "false"}};
    if (!y->plain)
        return NULL;
    if (scalar_is_null(y))
        return "null";
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(y->text, words[i][0]) == 0)
            return words[i][1];
    return json_valid(str_of(y->text), NULL) ? y->text : NULL;
}

static void read_const(struct reader *r, const struct yaml *value, struct shape_field *f)
{
    f->kind = FIELD_CONST;
    const char *json = plain_json(value);
    struct buf b;
    buf_init(&b, 8 * YAML_BYTES_MAX); /* an escaped control character takes six bytes */
    if (json == NULL) {
        json_put_string(&b, str_of(value->text));
        json = buf_cstr(&b);
    }
    if (json == NULL)
        r->bad->nomem = true;
    else
        f->constant = text_copy(r->bad, json);
    buf_release(&b);
}

static void read_from(struct reader *r, const struct section *s, struct shape_field *f)
{
    f->kind = FIELD_FROM;
    section_read(r->bad, s, f);
    const struct yaml *parse = section_key(s, "parse"), *print = section_key(s, "print");
    const struct yaml *constant = section_key(s, "const");
    if (constant != NULL)
        complain(r->bad, constant->line, constant->column,
                 "%sconst: a constant stands alone, as {const: value}, without from", s->where);
    if (parse != NULL && print == NULL)
        complain(r->bad, parse->line, parse->column, "%sparse: needs print beside it", s->where);
    if (print != NULL && parse == NULL)
        complain(r->bad, print->line, print->column, "%sprint: needs parse beside it", s->where);
}

static void complain_bare(struct reader *r, const struct section *s, const struct yaml *key,
                          const struct yaml *value)
{
    const char *expected = "expected {from: column}, {const: value} or a mapping of fields";
    const struct schema_row *o = schema_nearest(SCOPE_FIELD, key->text);
    unsigned edits = edit_distance(o->name, key->text);
    if (edits == 0 && strcmp(o->name, "from") == 0)
        complain(r->bad, value->line, value->column,
                 "%sfrom: expected the name of a column, not %s", s->where, kind_words(value));
    else if (edits == 0)
        complain(r->bad, value->line, value->column, "%s%s: %s; as an option of a field, %s",
                 s->where, o->name, expected,
                 o->type == OPTION_JSON ? "const stands alone" : "it needs from beside it");
    else if (edits <= 2)
        complain(r->bad, value->line, value->column, "%s%.64s: %s; the nearest known option is %s",
                 s->where, key->text, expected, o->name);
    else
        complain(r->bad, value->line, value->column, "%s%.64s: %s, not %s", s->where, key->text,
                 expected, kind_words(value));
}

static bool is_scalar(const struct yaml *y)
{
    return y != NULL && y->kind == YAML_SCALAR;
}

static void read_field(struct reader *r, const struct section *s, size_t i, unsigned depth,
                       struct shape_field *f)
{
    const struct yaml *key = &s->mapping->keys[i], *value = &s->mapping->values[i];
    if (key->text[0] == '\0')
        complain(r->bad, key->line, key->column, "%s: a field needs a name", s->where);
    f->name = text_copy(r->bad, key->text);
    if (value->kind != YAML_MAPPING) {
        complain_bare(r, s, key, value);
        return;
    }
    struct section inside = {.scope = SCOPE_FIELD};
    section_enter(r->bad, s, "", s->mapping, i, &inside);
    const struct yaml *constant = yaml_get(value, "const");
    if (is_scalar(yaml_get(value, "from"))) {
        read_from(r, &inside, f);
    } else if (value->n == 1 && is_scalar(constant)) {
        read_const(r, constant, f);
    } else if (depth == SHAPE_DEPTH_MAX) {
        complain(r->bad, value->line, value->column, "%s%.64s: nested deeper than %d objects",
                 s->where, key->text, SHAPE_DEPTH_MAX);
    } else {
        f->kind = FIELD_OBJECT;
        read_fields(r, &inside, depth + 1, &f->children, &f->children_n);
    }
}

static void read_fields(struct reader *r, const struct section *s, unsigned depth,
                        struct shape_field **fields, size_t *n)
{
    if (s->mapping->n == 0)
        return;
    struct shape_field *all = calloc(s->mapping->n, sizeof *all);
    if (all == NULL) {
        r->bad->nomem = true;
        return;
    }
    *fields = all;
    for (size_t i = 0; i < s->mapping->n; i++) {
        if (++r->fields == SHAPE_FIELDS_MAX + 1)
            complain(r->bad, s->mapping->keys[i].line, s->mapping->keys[i].column,
                     "%s%.64s: more than %d fields in one record", s->where,
                     s->mapping->keys[i].text, SHAPE_FIELDS_MAX);
        if (r->fields > SHAPE_FIELDS_MAX)
            return;
        *n = i + 1;
        read_field(r, s, i, depth, &all[i]);
    }
}

void template_build(struct complaints *bad, const struct section *source,
                    const struct yaml *mapping, struct shape_spec *spec)
{
    struct reader r = {.bad = bad};
    struct section s = {.scope = SCOPE_FIELD, .place = mapping, .mapping = mapping};
    snprintf(s.where, sizeof s.where, "%.300srecord.", source->where);
    if (mapping->kind != YAML_MAPPING)
        complain(bad, mapping->line, mapping->column, "%srecord: expected a mapping, not %s",
                 source->where, kind_words(mapping));
    else if (mapping->n == 0)
        complain(bad, mapping->line, mapping->column, "%srecord: has no fields", source->where);
    else
        read_fields(&r, &s, 1, &spec->fields, &spec->fields_n);
}

void template_free(struct shape_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        schema_release(SCOPE_FIELD, &fields[i]);
        free(fields[i].name);
        free(fields[i].constant);
        template_free(fields[i].children, fields[i].children_n);
    }
    free(fields);
}

static bool field_equal(const struct shape_field *a, const struct shape_field *b)
{
    if (a->kind != b->kind || strcmp(a->name, b->name) != 0)
        return false;
    if (a->kind == FIELD_CONST)
        return strcmp(a->constant, b->constant) == 0;
    if (a->kind == FIELD_OBJECT)
        return template_equal(a->children, a->children_n, b->children, b->children_n);
    for (size_t i = 0; i < schema_n; i++)
        if (schema[i].scope == SCOPE_FIELD && schema[i].size != 0 &&
            !option_equal(&schema[i], a, b))
            return false;
    return true;
}

bool template_equal(const struct shape_field *a, size_t a_n, const struct shape_field *b,
                    size_t b_n)
{
    if (a_n != b_n)
        return false;
    for (size_t i = 0; i < a_n; i++)
        if (!field_equal(&a[i], &b[i]))
            return false;
    return true;
}

/* ---- add ------------------------------------------------------------------------------------ */

#define ADD_BYTES_MAX 4096

static void read_add_text(struct complaints *bad, const struct section *s, const struct yaml *key,
                          const struct yaml *value, struct shape_add *add)
{
    if (key->text[0] == '\0')
        complain(bad, key->line, key->column, "%s: a member needs a name", s->where);
    if (value->kind != YAML_SCALAR || scalar_is_null(value))
        complain(bad, value->line, value->column,
                 "%s%.64s: expected text, like \"{@file.path}\" in quotes, or a field, not %s",
                 s->where, key->text, kind_words(value));
    else if (strlen(value->text) > ADD_BYTES_MAX)
        complain(bad, value->line, value->column, "%s%.64s: more than %d bytes", s->where,
                 key->text, ADD_BYTES_MAX);
    add->text = text_copy(bad, value->kind == YAML_SCALAR ? value->text : "");
}

/* {name}, without the quotes, is a mapping too. */
static bool is_field(const struct yaml *value)
{
    bool slip =
        value->n == 1 && value->values[0].kind == YAML_SCALAR && scalar_is_null(&value->values[0]);
    return value->kind == YAML_MAPPING && value->n > 0 && !slip;
}

static void read_add(struct reader *r, const struct section *s, size_t i, struct shape_add *add)
{
    const struct yaml *key = &s->mapping->keys[i], *value = &s->mapping->values[i];
    add->name = text_copy(r->bad, key->text);
    if (!is_field(value)) {
        read_add_text(r->bad, s, key, value, add);
        return;
    }
    add->field = calloc(1, sizeof *add->field);
    if (add->field == NULL)
        r->bad->nomem = true;
    else
        read_field(r, s, i, 1, add->field);
}

void add_build(struct complaints *bad, const struct section *source, const struct yaml *mapping,
               struct shape_spec *spec)
{
    if (mapping->kind != YAML_MAPPING || mapping->n == 0 || mapping->n > SHAPE_ADD_MAX) {
        complain(bad, mapping->line, mapping->column,
                 "%sadd: expected a mapping of 1 to %d names to text or fields", source->where,
                 SHAPE_ADD_MAX);
        return;
    }
    spec->add = calloc(mapping->n, sizeof *spec->add);
    if (spec->add == NULL) {
        bad->nomem = true;
        return;
    }
    struct reader r = {.bad = bad};
    struct section s = {.scope = SCOPE_FIELD, .place = mapping, .mapping = mapping};
    snprintf(s.where, sizeof s.where, "%.300sadd.", source->where);
    for (size_t i = 0; i < mapping->n; i++) {
        const struct yaml *key = &mapping->keys[i];
        for (size_t k = 0; k < spec->fields_n; k++)
            if (strcmp(spec->fields[k].name, key->text) == 0)
                complain(bad, key->line, key->column, "%sadd.%.64s: record has this name too",
                         source->where, key->text);
        read_add(&r, &s, i, &spec->add[spec->add_n++]);
    }
}

void add_free(struct shape_spec *spec)
{
    for (size_t i = 0; i < spec->add_n; i++) {
        free(spec->add[i].name);
        free(spec->add[i].text);
        template_free(spec->add[i].field, spec->add[i].field != NULL);
    }
    free(spec->add);
}

bool add_equal(const struct shape_spec *a, const struct shape_spec *b)
{
    if (a->add_n != b->add_n)
        return false;
    for (size_t i = 0; i < a->add_n; i++) {
        const struct shape_add *x = &a->add[i], *y = &b->add[i];
        bool fields = x->field != NULL && y->field != NULL && field_equal(x->field, y->field);
        bool texts = x->text != NULL && y->text != NULL && strcmp(x->text, y->text) == 0;
        if (strcmp(x->name, y->name) != 0 || (!fields && !texts))
            return false;
    }
    return true;
}
