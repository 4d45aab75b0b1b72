/* yaml.c - a tree out of libyaml's events.
 *
 * The happy path: libyaml's parser turns the text into events; read_node takes one event and, for a
 * mapping or a sequence, the events of its children up to the closing one, one C frame a level.
 * What the document may not have (anchors, tags, depth) is refused at the event that opens it,
 * before anything is built from it.
 *
 * How it fails: `failed` writes the place and the reason into the caller's err once, everything
 * built so far hangs on the root and is freed with it, and the parser is deleted. A node that is
 * half built is always in a state that release_node can free.
 */
#include "lib/yaml.h"

#include <stdlib.h>
#include <yaml.h>

struct reader {
    yaml_parser_t parser;
    struct str text;
    size_t nodes;
    struct err *e;
};

static int failed(struct reader *r, yaml_mark_t at, int code, const char *what)
{
    return err_set(r->e, code, "%zu:%zu: %s", at.line + 1, at.column + 1, what);
}

/* libyaml gives errors in the bytes themselves a byte offset, not a line and a column. */
static int bytes_failed(struct reader *r)
{
    size_t at = min_size(r->parser.problem_offset, r->text.n);
    size_t line = 1, line_start = 0;
    for (size_t i = 0; i < at; i++) {
        if (r->text.p[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    }
    size_t column = 1;
    for (size_t i = line_start; i < at; i++)
        column += ((unsigned char)r->text.p[i] & 0xc0) != 0x80;
    return err_set(r->e, ERR_SYNTAX, "%zu:%zu: %s", line, column,
                   r->parser.problem ? r->parser.problem : "not UTF-8");
}

static const char no_anchors[] =
    "anchors and aliases are not allowed (quote a value that starts with & or *)";

/* Globs, time patterns and metadata begin with characters that mean something to YAML; libyaml's
 * own words for these slips do not say that quotes are missing. */
static int scan_failed(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "not YAML";
    const char *context = p->context ? p->context : "";
    if (strstr(context, "alias") != NULL || strstr(context, "anchor") != NULL)
        return failed(r, p->context_mark, ERR_SYNTAX, no_anchors);
    if (strstr(problem, "cannot start any token") != NULL)
        return failed(r, p->problem_mark, ERR_SYNTAX,
                      "this character cannot start a value: quote it (and indent with blanks, not "
                      "tabs)");
    return err_set(r->e, ERR_SYNTAX, "%zu:%zu: %s%s%s", p->problem_mark.line + 1,
                   p->problem_mark.column + 1, problem, context[0] != '\0' ? ", " : "", context);
}

static int next_event(struct reader *r, yaml_event_t *event)
{
    if (yaml_parser_parse(&r->parser, event))
        return 0;
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return failed(r, p->mark, ERR_NOMEM, "memory ran out");
    if (p->error == YAML_READER_ERROR)
        return bytes_failed(r);
    return scan_failed(r);
}

static void release_node(struct yaml *y)
{
    free(y->text);
    for (size_t i = 0; i < y->n; i++) {
        if (y->keys != NULL)
            release_node(&y->keys[i]);
        release_node(&y->values[i]);
    }
    free(y->keys);
    free(y->values);
}

void yaml_tree_free(struct yaml *y)
{
    if (y == NULL)
        return;
    release_node(y);
    free(y);
}

const struct yaml *yaml_get(const struct yaml *mapping, const char *key)
{
    if (mapping == NULL || mapping->kind != YAML_MAPPING)
        return NULL;
    for (size_t i = 0; i < mapping->n; i++)
        if (strcmp(mapping->keys[i].text, key) == 0)
            return &mapping->values[i];
    return NULL;
}

/* Room for one child more; it is zeroed, so that it may be freed however far it gets. */
static int add_child(struct reader *r, struct yaml *y, yaml_mark_t at)
{
    if ((y->n & (y->n - 1)) == 0) { /* full at each power of two */
        size_t cap = y->n == 0 ? 1 : y->n * 2;
        struct yaml *values = realloc(y->values, cap * sizeof *values);
        if (values == NULL)
            return failed(r, at, ERR_NOMEM, "memory ran out");
        y->values = values;
        if (y->kind == YAML_MAPPING) {
            struct yaml *keys = realloc(y->keys, cap * sizeof *keys);
            if (keys == NULL)
                return failed(r, at, ERR_NOMEM, "memory ran out");
            y->keys = keys;
        }
    }
    memset(&y->values[y->n], 0, sizeof y->values[0]);
    if (y->kind == YAML_MAPPING)
        memset(&y->keys[y->n], 0, sizeof y->keys[0]);
    y->n++;
    return 0;
}

static int read_scalar(struct reader *r, const yaml_event_t *event, struct yaml *y)
{
    size_t n = event->data.scalar.length;
    const char *text = (const char *)event->data.scalar.value;
    if (memchr(text, '\0', n) != NULL)
        return failed(r, event->start_mark, ERR_SYNTAX, "a NUL byte is not allowed here");
    y->kind = YAML_SCALAR;
    y->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    y->text = malloc(n + 1);
    if (y->text == NULL)
        return failed(r, event->start_mark, ERR_NOMEM, "memory ran out");
    memcpy(y->text, text, n);
    y->text[n] = '\0';
    return 0;
}

static int refuse_extras(struct reader *r, const yaml_event_t *event)
{
    bool anchor = event->type == YAML_ALIAS_EVENT, tag = false;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor != NULL;
        tag = event->data.scalar.tag != NULL;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor != NULL;
        tag = event->data.mapping_start.tag != NULL;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor != NULL;
        tag = event->data.sequence_start.tag != NULL;
    }
    if (anchor)
        return failed(
            r, event->start_mark, ERR_SYNTAX,
            "anchors and aliases are not allowed (quote a value that starts with & or *)");
    if (tag)
        return failed(r, event->start_mark, ERR_SYNTAX,
                      "tags are not allowed (quote a value that starts with !)");
    return 0;
}

static int check_key(struct reader *r, const struct yaml *y, yaml_mark_t at)
{
    const struct yaml *key = &y->keys[y->n - 1];
    if (key->kind != YAML_SCALAR)
        return failed(r, at, ERR_TYPE, "a key must be a single word or string");
    if (y->n > YAML_KEYS_MAX)
        return failed(r, at, ERR_RANGE, "too many keys in one mapping");
    for (size_t i = 0; i + 1 < y->n; i++)
        if (strcmp(y->keys[i].text, key->text) == 0)
            return err_set(r->e, ERR_SYNTAX,
                           "%u:%u: \"%.64s\" is here a second time; first in line %u", key->line,
                           key->column, key->text, y->keys[i].line);
    return 0;
}

static int read_node(struct reader *r, const yaml_event_t *event, struct yaml *y, unsigned depth);

static int read_next(struct reader *r, struct yaml *y, unsigned depth)
{
    yaml_event_t event;
    int rc = next_event(r, &event);
    if (rc == 0) {
        rc = read_node(r, &event, y, depth);
        yaml_event_delete(&event);
    }
    return rc;
}

/* One child, whose first event is at hand: an element, or a key with its value. */
static int read_child(struct reader *r, const yaml_event_t *event, struct yaml *y, unsigned depth)
{
    int rc = add_child(r, y, event->start_mark);
    if (rc != 0 || y->kind == YAML_SEQUENCE)
        return rc != 0 ? rc : read_node(r, event, &y->values[y->n - 1], depth);
    rc = read_node(r, event, &y->keys[y->n - 1], depth);
    if (rc == 0)
        rc = check_key(r, y, event->start_mark);
    return rc != 0 ? rc : read_next(r, &y->values[y->n - 1], depth);
}

static int read_children(struct reader *r, struct yaml *y, unsigned depth)
{
    yaml_event_type_t end =
        y->kind == YAML_MAPPING ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    for (;;) {
        yaml_event_t event;
        int rc = next_event(r, &event);
        if (rc != 0)
            return rc;
        bool done = event.type == end;
        if (!done)
            rc = read_child(r, &event, y, depth);
        yaml_event_delete(&event);
        if (done || rc != 0)
            return rc;
    }
}

static int read_node(struct reader *r, const yaml_event_t *event, struct yaml *y, unsigned depth)
{
    int rc = refuse_extras(r, event);
    if (rc != 0)
        return rc;
    if (++r->nodes > YAML_NODES_MAX)
        return failed(r, event->start_mark, ERR_RANGE, "the document has too many values");
    y->line = (unsigned)event->start_mark.line + 1;
    y->column = (unsigned)event->start_mark.column + 1;
    if (event->type == YAML_SCALAR_EVENT)
        return read_scalar(r, event, y);
    if (depth == YAML_DEPTH_MAX)
        return failed(r, event->start_mark, ERR_RANGE, "nested too deeply");
    y->kind = event->type == YAML_MAPPING_START_EVENT ? YAML_MAPPING : YAML_SEQUENCE;
    return read_children(r, y, depth + 1);
}

/* Nothing at all, or `---` with nothing behind it. */
static void make_empty_mapping(struct yaml *y)
{
    free(y->text);
    *y = (struct yaml){.kind = YAML_MAPPING, .line = 1, .column = 1};
}

/* What follows the opening of the document: the root, its end, and the end of the text. */
static int read_document(struct reader *r, struct yaml *root)
{
    int rc = read_next(r, root, 0);
    for (bool over = false; rc == 0 && !over;) {
        yaml_event_t event;
        rc = next_event(r, &event);
        if (rc != 0)
            break;
        over = event.type == YAML_STREAM_END_EVENT;
        if (event.type == YAML_DOCUMENT_START_EVENT)
            rc = failed(r, event.start_mark, ERR_SYNTAX, "a second document is not allowed");
        yaml_event_delete(&event);
    }
    if (rc == 0 && root->kind == YAML_SCALAR && root->plain && root->text[0] == '\0')
        make_empty_mapping(root);
    return rc;
}

static int read_text(struct reader *r, struct yaml *root)
{
    for (;;) {
        yaml_event_t event;
        int rc = next_event(r, &event);
        if (rc != 0)
            return rc;
        yaml_event_type_t type = event.type;
        yaml_event_delete(&event);
        if (type == YAML_DOCUMENT_START_EVENT)
            return read_document(r, root);
        if (type == YAML_STREAM_END_EVENT) {
            make_empty_mapping(root);
            return 0;
        }
    }
}

struct yaml *yaml_parse(struct str text, struct err *e)
{
    static const char mark[] = "\xef\xbb\xbf"; /* of the byte order, where Windows editors were */
    if (text.n >= 3 && memcmp(text.p, mark, 3) == 0)
        text = (struct str){text.p + 3, text.n - 3};
    struct reader r = {.text = text, .e = e};
    if (text.n > YAML_BYTES_MAX) {
        err_set(e, ERR_RANGE, "1:1: the text is larger than %zu bytes", YAML_BYTES_MAX);
        return NULL;
    }
    struct yaml *root = calloc(1, sizeof *root);
    if (root == NULL || !yaml_parser_initialize(&r.parser)) {
        free(root);
        err_set(e, ERR_NOMEM, "1:1: memory ran out");
        return NULL;
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.n ? text.p : ""), text.n);
    int rc = read_text(&r, root);
    yaml_parser_delete(&r.parser);
    if (rc == 0)
        return root;
    yaml_tree_free(root);
    return NULL;
}
