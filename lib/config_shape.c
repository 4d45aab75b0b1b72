/* config_shape.c - what a source's records become: its own options, or those of a mapping file
 * (declared in config_parts.h and config.h).
 *
 * A mapping is read as a section of the source's scope that holds no other options than these. Then
 * come the rules between them, and in the end the shape is compiled once, to see that it can be.
 */
#include <stdlib.h>

#include "lib/config_parts.h"

static size_t complaints_so_far(const struct complaints *bad)
{
    return bad->n + bad->more + bad->nomem;
}

static void check_goes(struct complaints *bad, const struct section *s, const char *name, bool goes,
                       const char *with)
{
    const struct yaml *key = section_key(s, name);
    if (key != NULL && !goes)
        complain(bad, key->line, key->column, "%s%s: goes only with format: %s", s->where, name,
                 with);
}

/* What belongs to some formats and makes no sense with others. */
static void check_format(struct complaints *bad, const struct section *s,
                         const struct shape_spec *spec)
{
    const char *parsed = "regex, logfmt, or one of the logs by name";
    check_goes(bad, s, "delimiter", spec->format == FORMAT_CSV, "csv");
    check_goes(bad, s, "quote", spec->format == FORMAT_CSV, "csv");
    check_goes(bad, s, "columns", spec->format == FORMAT_CSV, "csv");
    check_goes(bad, s, "flatten", spec->format == FORMAT_JSON, "json");
    check_goes(bad, s, "split_arrays", spec->format == FORMAT_JSON, "json");
    check_goes(bad, s, "pattern", spec->format == FORMAT_REGEX, "regex");
    check_goes(bad, s, "on_no_match", shape_format_may_miss(spec->format), parsed);
    check_goes(bad, s, "record", shape_format_has_fields(spec->format),
               "json, csv, regex, logfmt, or one of the logs by name");
    check_goes(bad, s, "add", shape_format_has_fields(spec->format),
               "json, csv, regex, logfmt, or one of the logs by name");
    const struct yaml *at = section_key(s, "encoding");
    if (spec->format == FORMAT_CSV && encoding_is_utf16(spec->encoding) && at != NULL)
        complain(bad, at->line, at->column, "%sencoding: csv is read as utf-8 or latin1 only",
                 s->where);
    if (spec->format == FORMAT_REGEX && section_key(s, "pattern") == NULL)
        complain(bad, s->place->line, s->place->column, "%spattern: is required with format: regex",
                 s->where);
}

/* What JSON becomes is decided once, and arrays are split before anything is converted. */
static void check_json(struct complaints *bad, const struct section *s,
                       const struct shape_spec *spec)
{
    const struct yaml *flatten = section_key(s, "flatten"), *record = section_key(s, "record");
    const struct yaml *split = yaml_get(s->mapping, "split_arrays");
    if (flatten != NULL && record != NULL)
        complain(bad, flatten->line, flatten->column,
                 "%sflatten: goes not with record, whose template decides", s->where);
    if (spec->split_arrays && spec->encoding != ENCODING_UTF8 && split != NULL)
        complain(bad, split->line, split->column, "%ssplit_arrays: goes only with encoding: utf-8",
                 s->where);
}

/* The option that a shape's error begins with the name of. */
static const char *blamed_option(const char *text, const char *otherwise)
{
    static const char *const names[] = {"key", "add", "pattern"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t n = strlen(names[i]);
        if (strncmp(text, names[i], n) == 0 && strncmp(text + n, ": ", 2) == 0)
            return names[i];
    }
    return otherwise;
}

static bool adds_fields(const struct shape_spec *spec)
{
    for (size_t i = 0; i < spec->add_n; i++)
        if (spec->add[i].field != NULL)
            return true;
    return false;
}

/* All but fields first, so that what is wrong with it is told at its own place; what is wrong with
 * them by themselves is known. */
static void check_shape(struct complaints *bad, const struct section *s,
                        const struct shape_spec *spec, bool whole)
{
    struct err e;
    struct shape_spec part = *spec;
    if (!whole) {
        part.fields = NULL;
        part.fields_n = 0;
        part.add_n = adds_fields(spec) ? 0 : spec->add_n;
    }
    struct shape *shape = shape_new(&part, "localhost", &e);
    if (shape == NULL) {
        const char *name = blamed_option(e.text, whole ? "record" : "key");
        const struct yaml *at = yaml_get(s->mapping, name);
        if (at == NULL)
            at = s->place;
        size_t n = strlen(name);
        bool named = strncmp(e.text, name, n) == 0 && strncmp(e.text + n, ": ", 2) == 0;
        complain(bad, at->line, at->column, "%s%s: %s", s->where, name,
                 named ? e.text + n + 2 : e.text);
    }
    shape_free(shape);
}

void shape_build(struct complaints *bad, const struct section *s, uint64_t wrong,
                 struct config_source *source)
{
    size_t before = complaints_so_far(bad);
    struct shape_spec *spec = &source->shape;
    names_build(bad, s, "columns", CSV_FIELDS_MAX, &spec->columns, &spec->columns_n);
    names_build(bad, s, "partition_keys", PARTITION_KEYS_MAX, &source->partition_keys,
                &source->partition_keys_n);
    const struct yaml *record = yaml_get(s->mapping, "record");
    if (record != NULL)
        template_build(bad, s, record, spec);
    const struct yaml *add = yaml_get(s->mapping, "add");
    if (add != NULL)
        add_build(bad, s, add, spec);
    if (bad->nomem)
        return;
    bool format_known = (wrong & section_bit(SCOPE_SOURCE, "format")) == 0;
    if (format_known)
        check_format(bad, s, spec);
    if (format_known && spec->format == FORMAT_JSON)
        check_json(bad, s, spec);
    bool compiles = spec->format != FORMAT_REGEX || spec->pattern != NULL;
    if (format_known && compiles && (wrong & section_bit(SCOPE_SOURCE, "key")) == 0)
        check_shape(bad, s, spec, false);
    if (complaints_so_far(bad) == before && wrong == 0 && (spec->fields_n > 0 || adds_fields(spec)))
        check_shape(bad, s, spec, true);
}

/* ---- a mapping file ---- */

void mapping_read(struct complaints *bad, const struct yaml *document, struct config_source *source)
{
    const struct yaml top = {.line = 1, .column = 1};
    const struct section s = {
        .scope = SCOPE_SOURCE, .place = &top, .mapping = document, .is_mapping_file = true};
    if (document->kind != YAML_MAPPING)
        complain(bad, document->line, document->column,
                 "a mapping file is a mapping of options, not %s", kind_words(document));
    else
        shape_build(bad, &s, section_read(bad, &s, source), source);
}

/* What stands in the file cannot stand here too: nobody would know which of them counts. */
static void check_alone(struct complaints *bad, const struct section *s)
{
    for (size_t i = 0; i < s->mapping->n; i++) {
        const struct yaml *key = &s->mapping->keys[i];
        const struct schema_row *o = schema_find(SCOPE_SOURCE, key->text);
        if (o != NULL && o->place == PLACE_BOTH)
            complain(bad, key->line, key->column, "%s%s: goes not with mapping, whose file says it",
                     s->where, key->text);
    }
}

void mapping_build(struct complaints *bad, const struct config_files *files,
                   const struct section *s, struct config_source *source)
{
    const struct yaml *at = yaml_get(s->mapping, "mapping");
    struct yaml *tree = NULL;
    struct buf text;
    struct err e;
    buf_init(&text, YAML_BYTES_MAX + 1);
    check_alone(bad, s);
    if (files == NULL)
        complain(bad, at->line, at->column, "%smapping: no other files are read here", s->where);
    else if (files->read(files->ctx, source->mapping, YAML_BYTES_MAX, &text, &e) != 0)
        complain(bad, at->line, at->column, "%smapping: %s", s->where, e.text);
    else if ((tree = yaml_parse(buf_str(&text), &e)) == NULL)
        complain(bad, at->line, at->column, "%smapping: %s:%s", s->where, source->mapping, e.text);
    if (tree != NULL) {
        complaints_enter(bad, source->mapping);
        mapping_read(bad, tree, source);
        complaints_leave(bad);
    }
    yaml_tree_free(tree);
    buf_release(&text);
}

void shape_release(struct config_source *source)
{
    struct shape_spec *spec = &source->shape;
    names_free(spec->columns, spec->columns_n);
    names_free(source->partition_keys, source->partition_keys_n);
    schema_release(SCOPE_MULTILINE, &spec->multiline);
    template_free(spec->fields, spec->fields_n);
    add_free(spec);
}
