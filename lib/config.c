/* config.c - a whole configuration out of YAML text, or none.
 *
 * The happy path: the text becomes a tree (yaml.c); the tree's sections are read by the schema's
 * rows (config_section.c, config_record.c), streams before sources; then come the rules between
 * options, and last each source's shape is compiled once, to see that it can be.
 *
 * How it fails: every complaint is kept with its place and reading goes on, with the default where
 * a value was wrong, so that one run tells everything. In the end all are told, and if there was
 * one the half-built configuration is freed. A rule between options is passed over when one of them
 * is wrong by itself.
 */
#include "lib/config.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/config_parts.h"
#include "lib/endpoint.h"
#include "lib/glob.h"

struct builder {
    struct config *c;
    const struct config_files *files;
    struct complaints bad;
};

static void check_name(struct builder *b, const char *what, const struct yaml *key)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t n = strlen(key->text);
    if (n == 0 || n > CONFIG_NAME_MAX || strspn(key->text, allowed) != n)
        complain(&b->bad, key->line, key->column,
                 "\"%.80s\" cannot be the name of a %s: 1 to %d letters, digits and _.-", key->text,
                 what, CONFIG_NAME_MAX);
}

/* The mapping under `streams` or `sources`, if it is one and holds a bearable number of entries. */
static const struct yaml *find_entries(struct builder *b, const struct section *root,
                                       const char *name, size_t max)
{
    const struct yaml *all = yaml_get(root->mapping, name);
    if (all == NULL)
        return NULL; /* told already: it is required */
    if (all->kind != YAML_MAPPING)
        complain(&b->bad, all->line, all->column, "%s: expected a mapping by name, not %s", name,
                 kind_words(all));
    else if (all->n == 0)
        complain(&b->bad, all->line, all->column, "%s: at least one is needed", name);
    else if (all->n > max)
        complain(&b->bad, all->line, all->column, "%s: %zu are too many; at most %zu", name, all->n,
                 max);
    else
        return all;
    return NULL;
}

static void check_arn_region(struct builder *b, const struct section *s,
                             const struct config_stream *stream)
{
    struct str region = endpoint_arn_region(str_of(stream->kinesis));
    const struct yaml *at = yaml_get(s->mapping, "kinesis");
    if (region.n == 0 || b->c->region == NULL || str_eq(region, str_of(b->c->region)))
        return;
    complain(&b->bad, at->line, at->column, "%skinesis: the ARN is in %.*s, but region is %s",
             s->where, (int)region.n, region.p, b->c->region);
}

static void build_streams(struct builder *b, const struct section *root)
{
    const struct yaml *all = find_entries(b, root, "streams", CONFIG_STREAMS_MAX);
    if (all == NULL)
        return;
    b->c->streams = calloc(all->n, sizeof *b->c->streams);
    if (b->c->streams == NULL) {
        b->bad.nomem = true;
        return;
    }
    for (size_t i = 0; i < all->n; i++) {
        struct config_stream *stream = &b->c->streams[b->c->streams_n++];
        struct section s = {.scope = SCOPE_STREAM};
        stream->name = text_copy(&b->bad, all->keys[i].text);
        check_name(b, "stream", &all->keys[i]);
        if (!section_enter(&b->bad, root, "streams.", all, i, &s))
            continue;
        uint64_t wrong = section_read(&b->bad, &s, stream);
        if ((wrong & section_bit(SCOPE_STREAM, "kinesis")) == 0 && !b->bad.nomem)
            check_arn_region(b, &s, stream);
    }
}

/* What the tail will make of it must be good now. */
static void check_glob(struct builder *b, const struct section *s, const struct config_source *c)
{
    struct err e;
    struct glob *g = c->file != NULL ? glob_new(c->file, c->excludes, c->excludes_n, &e) : NULL;
    const struct yaml *at = yaml_get(s->mapping, "file");
    if (g == NULL && c->file != NULL && at != NULL)
        complain(&b->bad, at->line, at->column, "%sfile: %s", s->where, e.text);
    glob_free(g);
}

static void build_multiline(struct builder *b, const struct section *s, struct shape_spec *spec)
{
    const struct yaml *key = section_key(s, "multiline");
    struct section lines = {.scope = SCOPE_MULTILINE};
    if (key == NULL ||
        !section_enter(&b->bad, s, "", s->mapping, (size_t)(key - s->mapping->keys), &lines))
        return;
    section_read(&b->bad, &lines, &spec->multiline);
    const struct yaml *start = section_key(&lines, "start");
    const struct yaml *continues = section_key(&lines, "continue");
    if (start == NULL && continues == NULL)
        complain(&b->bad, key->line, key->column, "%smultiline: needs start or continue", s->where);
    if (start != NULL && continues != NULL)
        complain(&b->bad, continues->line, continues->column,
                 "%smultiline.continue: goes only without start", s->where);
}

/* How bytes are cut into records, against what they hold. */
static void check_framing(struct builder *b, const struct section *s, const struct shape_spec *spec)
{
    const struct yaml *multiline = section_key(s, "multiline");
    const struct yaml *oversize = yaml_get(s->mapping, "on_oversize");
    if (multiline != NULL && spec->format == FORMAT_CSV)
        complain(&b->bad, multiline->line, multiline->column,
                 "%smultiline: goes not with format: csv, whose rows have ends of their own",
                 s->where);
    if (spec->on_oversize == OVERSIZE_SPLIT && spec->format != FORMAT_LINE)
        complain(&b->bad, oversize->line, oversize->column,
                 "%son_oversize: split goes only with format: line", s->where);
}

static void find_stream(struct builder *b, const struct section *s, struct config_source *source)
{
    const struct config *c = b->c;
    const char *nearest = NULL;
    unsigned nearest_edits = 0;
    for (size_t i = 0; i < c->streams_n; i++) {
        unsigned edits = edit_distance(c->streams[i].name, source->stream_name);
        if (strcmp(c->streams[i].name, source->stream_name) == 0) {
            source->stream = i;
            return;
        }
        if (nearest == NULL || edits < nearest_edits) {
            nearest = c->streams[i].name;
            nearest_edits = edits;
        }
    }
    const struct yaml *at = yaml_get(s->mapping, "stream");
    if (nearest != NULL)
        complain(&b->bad, at->line, at->column,
                 "%sstream: there is no stream \"%s\" under streams; the nearest is %.64s",
                 s->where, source->stream_name, nearest);
}

static void build_source(struct builder *b, const struct section *s, struct config_source *source)
{
    struct shape_spec *spec = &source->shape;
    uint64_t wrong = section_read(&b->bad, s, source);
    names_build(&b->bad, s, "exclude", EXCLUDES_MAX, &source->excludes, &source->excludes_n);
    build_multiline(b, s, spec);
    if (section_key(s, "mapping") == NULL)
        shape_build(&b->bad, s, wrong, source);
    else if ((wrong & section_bit(SCOPE_SOURCE, "mapping")) == 0)
        mapping_build(&b->bad, b->files, s, source);
    if (b->bad.nomem)
        return;
    socket_build(&b->bad, s, wrong, source);
    check_framing(b, s, spec);
    if ((wrong & section_bit(SCOPE_SOURCE, "file")) == 0)
        check_glob(b, s, source);
    if ((wrong & section_bit(SCOPE_SOURCE, "stream")) == 0)
        find_stream(b, s, source);
}

/* Records that were acknowledged may not be dropped, by whichever socket. */
static void check_spool(struct builder *b, const struct section *root, const struct yaml *sources)
{
    struct config *c = b->c;
    for (size_t i = 0; i < c->sources_n; i++) {
        struct section s = {.scope = SCOPE_SOURCE};
        section_enter(&b->bad, root, "sources.", sources, i, &s);
        socket_check_stream(&b->bad, &s, c, i);
    }
}

static void build_sources(struct builder *b, const struct section *root)
{
    const struct yaml *all = find_entries(b, root, "sources", CONFIG_SOURCES_MAX);
    if (all == NULL)
        return;
    b->c->sources = calloc(all->n, sizeof *b->c->sources);
    if (b->c->sources == NULL) {
        b->bad.nomem = true;
        return;
    }
    for (size_t i = 0; i < all->n && !b->bad.nomem; i++) {
        struct config_source *source = &b->c->sources[b->c->sources_n++];
        struct section s = {.scope = SCOPE_SOURCE};
        source->name = text_copy(&b->bad, all->keys[i].text);
        check_name(b, "source", &all->keys[i]);
        if (section_enter(&b->bad, root, "sources.", all, i, &s))
            build_source(b, &s, source);
    }
    if (!complaints_any(&b->bad))
        check_spool(b, root, all);
}

static void build_all(struct builder *b, const struct yaml *document)
{
    if (document->kind != YAML_MAPPING) {
        complain(&b->bad, document->line, document->column,
                 "the configuration is a mapping of options, not %s", kind_words(document));
        return;
    }
    const struct yaml top = {.line = 1, .column = 1};
    struct section root = {.scope = SCOPE_GLOBAL, .place = &top, .mapping = document};
    section_read(&b->bad, &root, b->c);
    if (!b->bad.nomem)
        build_streams(b, &root);
    if (!b->bad.nomem)
        build_sources(b, &root);
}

static struct yaml *read_tree(const char *file, struct str text, config_tell_fn *tell, void *ctx)
{
    struct err e;
    struct yaml *tree = yaml_parse(text, &e);
    if (tree != NULL)
        return tree;
    char line[ERR_TEXT_MAX + 4096];
    snprintf(line, sizeof line, "%s:%s", file, e.text);
    complaint_say(line, tell, ctx);
    return NULL;
}

typedef void build_fn(struct builder *b, const struct yaml *document);

static struct config *build(const char *file, struct str text, const struct config_files *files,
                            build_fn *build_it, config_tell_fn *tell, void *ctx)
{
    struct yaml *tree = read_tree(file, text, tell, ctx);
    if (tree == NULL)
        return NULL;
    struct builder b = {.c = calloc(1, sizeof *b.c), .files = files};
    complaints_init(&b.bad);
    b.bad.nomem = b.c == NULL;
    if (b.c != NULL)
        build_it(&b, tree);
    yaml_tree_free(tree);
    if (complaints_any(&b.bad)) {
        complaints_tell(&b.bad, file, tell, ctx);
        config_free(b.c);
        b.c = NULL;
    }
    complaints_release(&b.bad);
    return b.c;
}

struct config *config_build(const char *file, struct str text, config_tell_fn *tell, void *ctx)
{
    return build(file, text, NULL, build_all, tell, ctx);
}

struct config *config_build_with(const char *file, struct str text,
                                 const struct config_files *files, config_tell_fn *tell, void *ctx)
{
    return build(file, text, files, build_all, tell, ctx);
}

static void build_mapping(struct builder *b, const struct yaml *document)
{
    b->c->sources = calloc(1, sizeof *b->c->sources);
    if (b->c->sources == NULL) {
        b->bad.nomem = true;
        return;
    }
    b->c->sources_n = 1;
    section_defaults(&b->bad, SCOPE_SOURCE, b->c->sources);
    mapping_read(&b->bad, document, b->c->sources);
}

struct config *config_build_mapping(const char *file, struct str text, config_tell_fn *tell,
                                    void *ctx)
{
    return build(file, text, NULL, build_mapping, tell, ctx);
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->streams_n; i++) {
        schema_release(SCOPE_STREAM, &c->streams[i]);
        free(c->streams[i].name);
    }
    for (size_t i = 0; i < c->sources_n; i++) {
        schema_release(SCOPE_SOURCE, &c->sources[i]);
        shape_release(&c->sources[i]);
        names_free(c->sources[i].excludes, c->sources[i].excludes_n);
        socket_free(&c->sources[i].socket);
        free(c->sources[i].name);
    }
    schema_release(SCOPE_GLOBAL, c);
    free(c->streams);
    free(c->sources);
    free(c);
}
