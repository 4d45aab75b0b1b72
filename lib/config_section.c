/* config_section.c - one mapping of options, read by the rows of its scope.
 *
 * Defaults first, from the same text form and through the same reader as the file's own values;
 * then each key of the mapping, in the document's order; then what is required and not there.
 */
#include "lib/config_parts.h"

#include <stdio.h>
#include <stdlib.h>

bool scalar_is_null(const struct yaml *y)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; y->kind == YAML_SCALAR && y->plain && i < ARRAY_LEN(nulls); i++)
        if (strcmp(y->text, nulls[i]) == 0)
            return true;
    return false;
}

const char *kind_words(const struct yaml *y)
{
    if (y->kind == YAML_SCALAR)
        return scalar_is_null(y) ? "nothing" : "a single value";
    return y->kind == YAML_MAPPING ? "a mapping" : "a sequence";
}

char *text_copy(struct complaints *bad, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = malloc(n);
    if (copy == NULL)
        bad->nomem = true;
    else
        memcpy(copy, text, n);
    return copy;
}

/* Which row of its scope it is. */
static uint64_t row_bit(const struct schema_row *o)
{
    unsigned n = 0;
    for (const struct schema_row *before = schema; before < o; before++)
        n += before->scope == o->scope;
    assert(n < 64);
    return (uint64_t)1 << n;
}

uint64_t section_bit(enum option_scope scope, const char *name)
{
    return row_bit(schema_find(scope, name));
}

const struct yaml *section_key(const struct section *s, const char *name)
{
    for (size_t i = 0; i < s->mapping->n; i++)
        if (strcmp(s->mapping->keys[i].text, name) == 0)
            return &s->mapping->keys[i];
    return NULL;
}

bool section_enter(struct complaints *bad, const struct section *from, const char *step,
                   const struct yaml *mapping, size_t i, struct section *to)
{
    const struct yaml *key = &mapping->keys[i], *value = &mapping->values[i];
    to->place = key;
    to->mapping = value;
    snprintf(to->where, sizeof to->where, "%.240s%s%.64s.", from->where, step, key->text);
    if (value->kind == YAML_MAPPING)
        return true;
    complain(bad, value->line, value->column, "%.240s%s%.64s: expected a mapping, not %s",
             from->where, step, key->text, kind_words(value));
    return false;
}

/* By hand: their value is a mapping or a sequence, or they are read elsewhere. */
static bool is_special(const struct schema_row *o)
{
    return o->type == OPTION_NAMES || o->type == OPTION_MAPPING || o->type == OPTION_RECORD ||
           o->type == OPTION_ADD || o->type == OPTION_JSON;
}

static bool goes_here(const struct section *s, const struct schema_row *o)
{
    return o->place != (s->is_mapping_file ? PLACE_SOURCE : PLACE_MAPPING);
}

static const char *nearest_here(const struct section *s, const char *name)
{
    const char *nearest = NULL;
    unsigned nearest_edits = 0;
    for (size_t i = 0; i < schema_n; i++) {
        if (schema[i].scope != s->scope || !goes_here(s, &schema[i]))
            continue;
        unsigned edits = edit_distance(schema[i].name, name);
        if (nearest == NULL || edits < nearest_edits) {
            nearest = schema[i].name;
            nearest_edits = edits;
        }
    }
    return nearest;
}

static void complain_unknown(struct complaints *bad, const struct section *s,
                             const struct yaml *key)
{
    static const char *const places[SCOPES_N] = {"stands at the top",    "belongs to a stream",
                                                 "belongs to a source",  "belongs to a field",
                                                 "belongs to multiline", "belongs to allow"};
    for (enum option_scope scope = SCOPE_GLOBAL; scope < SCOPES_N; scope++) {
        if (schema_find(scope, key->text) != NULL) {
            complain(bad, key->line, key->column, "%s%s: unknown here; this option %s", s->where,
                     key->text, places[scope]);
            return;
        }
    }
    complain(bad, key->line, key->column, "%s%.64s: unknown option; the nearest known one is %s",
             s->where, key->text, nearest_here(s, key->text));
}

static void complain_place(struct complaints *bad, const struct section *s, const struct yaml *key)
{
    complain(bad, key->line, key->column, "%s%s: unknown here; this option %s", s->where, key->text,
             s->is_mapping_file ? "belongs to a source, not to a mapping"
                                : "belongs to a mapping file");
}

static bool read_value(struct complaints *bad, const struct section *s, const struct schema_row *o,
                       const struct yaml *value, void *base)
{
    struct err e = {.code = ERR_TYPE};
    if (value->kind != YAML_SCALAR || scalar_is_null(value)) {
        bool quotes_missing = o->type == OPTION_TEXT && value->kind != YAML_SCALAR;
        struct buf type;
        buf_init(&type, 128);
        option_print_type(o, &type);
        const char *words = buf_cstr(&type);
        err_set(&e, ERR_TYPE, "expected a value (%s), not %s%s", words ? words : "",
                kind_words(value), quotes_missing ? " (quote text that starts with { or [)" : "");
        buf_release(&type);
    } else if (option_set(o, base, value->text, &e) == 0) {
        return true;
    }
    complain(bad, value->line, value->column, "%s%s: %s", s->where, o->name, e.text);
    return false;
}

void section_defaults(struct complaints *bad, enum option_scope scope, void *base)
{
    for (size_t i = 0; i < schema_n; i++) {
        const struct schema_row *o = &schema[i];
        if (o->scope == scope && o->fallback != NULL && option_set(o, base, o->fallback, NULL) != 0)
            bad->nomem = true; /* the tests see to it that every default is a good value */
    }
}

uint64_t section_read(struct complaints *bad, const struct section *s, void *base)
{
    uint64_t seen = 0, wrong = 0;
    if (!s->is_mapping_file)
        section_defaults(bad, s->scope, base);
    for (size_t i = 0; i < s->mapping->n; i++) {
        const struct schema_row *o = schema_find(s->scope, s->mapping->keys[i].text);
        if (o == NULL) {
            complain_unknown(bad, s, &s->mapping->keys[i]);
            continue;
        }
        if (!goes_here(s, o)) {
            complain_place(bad, s, &s->mapping->keys[i]);
            continue;
        }
        uint64_t bit = row_bit(o);
        seen |= bit;
        if (!is_special(o) && !read_value(bad, s, o, &s->mapping->values[i], base))
            wrong |= bit;
    }
    for (size_t i = 0; i < schema_n; i++) {
        const struct schema_row *o = &schema[i];
        if (o->scope != s->scope || !o->required || s->is_mapping_file || (seen & row_bit(o)) != 0)
            continue;
        wrong |= row_bit(o);
        complain(bad, s->place->line, s->place->column, "%s%s: is required and missing", s->where,
                 o->name);
    }
    return wrong;
}

static bool is_repeated(const struct yaml *names, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (names->values[k].kind == YAML_SCALAR &&
            strcmp(names->values[k].text, names->values[i].text) == 0)
            return true;
    return false;
}

void names_build(struct complaints *bad, const struct section *s, const char *option, size_t max,
                 char ***list, size_t *n)
{
    const struct yaml *names = yaml_get(s->mapping, option);
    if (names == NULL)
        return;
    if (names->kind != YAML_SEQUENCE || names->n == 0 || names->n > max) {
        complain(bad, names->line, names->column, "%s%s: expected a sequence of 1 to %zu names",
                 s->where, option, max);
        return;
    }
    *list = calloc(names->n, sizeof **list);
    if (*list == NULL) {
        bad->nomem = true;
        return;
    }
    for (size_t i = 0; i < names->n; i++) {
        const struct yaml *name = &names->values[i];
        if (name->kind != YAML_SCALAR || name->text[0] == '\0')
            complain(bad, name->line, name->column, "%s%s: entry %zu has no name", s->where, option,
                     i + 1);
        else if (is_repeated(names, i))
            complain(bad, name->line, name->column, "%s%s: \"%.64s\" is here a second time",
                     s->where, option, name->text);
        else
            (*list)[(*n)++] = text_copy(bad, name->text);
    }
}

bool names_equal(char *const *a, size_t a_n, char *const *b, size_t b_n)
{
    for (size_t i = 0; a_n == b_n && i < a_n; i++)
        if (strcmp(a[i], b[i]) != 0)
            return false;
    return a_n == b_n;
}

void names_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}
