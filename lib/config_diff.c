/* config_diff.c - what a reload would change, row by row (declared in config.h).
 *
 * Streams and sources are matched by name; their order does not matter. Each is compared by the
 * rows of its scope, and each row knows whether its change needs a restart.
 */
#include "lib/config.h"

#include <stdio.h>

#include "lib/config_parts.h"

#define LINE_MAX_BYTES (32 * KIB) /* two paths of 4 KiB, with room */

struct differ {
    config_tell_fn *tell;
    void *ctx;
    struct buf line;
    unsigned restarts;
};

static void say(struct differ *d, const char *where, const struct schema_row *o)
{
    if (o->restart) {
        d->restarts++;
        buf_puts(&d->line, " (needs a restart)");
    }
    const char *text = buf_cstr(&d->line);
    if (text != NULL)
        complaint_say(text, d->tell, d->ctx);
    else
        d->tell(d->ctx, where); /* no memory for more: at least where it is */
    buf_reset(&d->line);
}

static bool row_equal(const struct schema_row *o, const void *a, const void *b)
{
    if (strcmp(o->name, "allow") == 0)
        return allow_equal(&((const struct config_source *)a)->socket.allow,
                           &((const struct config_source *)b)->socket.allow);
    if (o->type == OPTION_MAPPING || o->type == OPTION_JSON)
        return true; /* compared entry by entry, by the scope below */
    if (o->type != OPTION_NAMES && o->type != OPTION_RECORD && o->type != OPTION_ADD)
        return option_equal(o, a, b);
    const struct shape_spec *x = &((const struct config_source *)a)->shape;
    const struct shape_spec *y = &((const struct config_source *)b)->shape;
    if (o->type == OPTION_RECORD)
        return template_equal(x->fields, x->fields_n, y->fields, y->fields_n);
    if (o->type == OPTION_ADD)
        return add_equal(x, y);
    if (strcmp(o->name, "columns") == 0)
        return names_equal(x->columns, x->columns_n, y->columns, y->columns_n);
    const struct config_source *before = a, *after = b;
    if (o->place == PLACE_MAPPING)
        return names_equal(before->partition_keys, before->partition_keys_n, after->partition_keys,
                           after->partition_keys_n);
    return names_equal(before->excludes, before->excludes_n, after->excludes, after->excludes_n);
}

static void diff_rows(struct differ *d, enum option_scope scope, const char *group,
                      const char *name, const void *before, const void *after)
{
    for (size_t i = 0; i < schema_n; i++) {
        const struct schema_row *o = &schema[i];
        if (o->scope != scope || row_equal(o, before, after))
            continue;
        buf_printf(&d->line, "%s%s%s%s: ", group, name, name[0] != '\0' ? "." : "", o->name);
        if (o->type == OPTION_NAMES || o->type == OPTION_RECORD || o->type == OPTION_ADD ||
            o->type == OPTION_MAPPING) {
            buf_puts(&d->line, "changed");
        } else {
            option_print(o, before, &d->line);
            buf_puts(&d->line, " -> ");
            option_print(o, after, &d->line);
        }
        say(d, o->name, o);
    }
}

static bool joins_lines(const struct config_source *s)
{
    return s->shape.multiline.start != NULL || s->shape.multiline.continues != NULL;
}

static void diff_multiline(struct differ *d, const struct config_source *before,
                           const struct config_source *after)
{
    const struct schema_row *row = schema_find(SCOPE_SOURCE, "multiline");
    char group[CONFIG_NAME_MAX + 16];
    snprintf(group, sizeof group, "sources.%s.", after->name);
    if (joins_lines(before) && joins_lines(after)) {
        diff_rows(d, SCOPE_MULTILINE, group, row->name, &before->shape.multiline,
                  &after->shape.multiline);
    } else if (joins_lines(before) != joins_lines(after)) {
        buf_printf(&d->line, "%s%s: %s", group, row->name,
                   joins_lines(after) ? "added" : "removed");
        say(d, row->name, row);
    }
}

static void say_entry(struct differ *d, const char *group, const char *name, const char *what)
{
    buf_printf(&d->line, "%s.%s: %s", group, name, what);
    say(d, name, schema_find(SCOPE_GLOBAL, group));
}

static const struct config_stream *find_stream(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->streams_n; i++)
        if (strcmp(c->streams[i].name, name) == 0)
            return &c->streams[i];
    return NULL;
}

static const struct config_source *find_source(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->sources_n; i++)
        if (strcmp(c->sources[i].name, name) == 0)
            return &c->sources[i];
    return NULL;
}

static void diff_streams(struct differ *d, const struct config *before, const struct config *after)
{
    for (size_t i = 0; i < before->streams_n; i++) {
        const struct config_stream *old = &before->streams[i], *new = find_stream(after, old->name);
        if (new == NULL)
            say_entry(d, "streams", old->name, "removed");
        else
            diff_rows(d, SCOPE_STREAM, "streams.", old->name, old, new);
    }
    for (size_t i = 0; i < after->streams_n; i++)
        if (find_stream(before, after->streams[i].name) == NULL)
            say_entry(d, "streams", after->streams[i].name, "added");
}

static void diff_sources(struct differ *d, const struct config *before, const struct config *after)
{
    for (size_t i = 0; i < before->sources_n; i++) {
        const struct config_source *old = &before->sources[i], *new = find_source(after, old->name);
        if (new == NULL)
            say_entry(d, "sources", old->name, "removed");
        else {
            diff_rows(d, SCOPE_SOURCE, "sources.", old->name, old, new);
            diff_multiline(d, old, new);
        }
    }
    for (size_t i = 0; i < after->sources_n; i++)
        if (find_source(before, after->sources[i].name) == NULL)
            say_entry(d, "sources", after->sources[i].name, "added");
}

unsigned config_diff(const struct config *before, const struct config *after, config_tell_fn *tell,
                     void *ctx)
{
    struct differ d = {.tell = tell, .ctx = ctx};
    buf_init(&d.line, LINE_MAX_BYTES);
    diff_rows(&d, SCOPE_GLOBAL, "", "", before, after);
    diff_streams(&d, before, after);
    diff_sources(&d, before, after);
    buf_release(&d.line);
    return d.restarts;
}
