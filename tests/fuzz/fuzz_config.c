/* A configuration is whatever an operator, or a broken deployment, wrote. */
#include "lib/config.h"
#include "lib/schema.h"
#include "lib/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hear(void *ctx, const char *line)
{
    ++*(unsigned *)ctx;
    assert(strncmp(line, "f:", 2) == 0 || strncmp(line, "and ", 4) == 0);
    for (; *line != '\0'; line++)
        assert((unsigned char)*line >= 0x20 && *line != 0x7f);
}

/* What was read is in bounds, and prints as what would be read again. */
static void check_values(enum option_scope scope, void *base)
{
    for (size_t i = 0; i < schema_n; i++) {
        const struct schema_row *o = &schema[i];
        if (o->scope != scope || o->size == 0 || o->type == OPTION_TEXT || o->type == OPTION_CHAR)
            continue;
        struct buf b;
        buf_init(&b, 256);
        option_print(o, base, &b);
        const char *text = buf_cstr(&b);
        assert(text != NULL);
        bool unset = o->fallback == NULL && strcmp(text, "(not set)") == 0;
        assert(unset || option_set(o, base, text, NULL) == 0);
        buf_release(&b);
    }
}

static void check_config(struct config *c, struct config *same)
{
    unsigned told = 0;
    assert(c->streams_n > 0 && c->sources_n > 0 && c->region != NULL);
    check_values(SCOPE_GLOBAL, c);
    for (size_t i = 0; i < c->streams_n; i++)
        check_values(SCOPE_STREAM, &c->streams[i]);
    for (size_t i = 0; i < c->sources_n; i++) {
        const struct config_source *s = &c->sources[i];
        check_values(SCOPE_SOURCE, &c->sources[i]);
        if (s->shape.multiline.start != NULL || s->shape.multiline.continues != NULL)
            check_values(SCOPE_MULTILINE, &c->sources[i].shape.multiline);
        assert(s->file[0] == '/' && s->stream < c->streams_n);
        assert(strcmp(c->streams[s->stream].name, s->stream_name) == 0);
        assert(s->shape.format == FORMAT_CSV || s->shape.columns_n == 0);
        assert(shape_format_has_fields(s->shape.format) || s->shape.fields_n == 0);
        assert(s->shape.format != FORMAT_LINE || s->shape.add_n == 0);
        assert((s->shape.format == FORMAT_REGEX) == (s->shape.pattern != NULL));
    }
    assert(config_diff(c, same, hear, &told) == 0 && told == 0);
}

static void check_tree(struct str text)
{
    struct err e = {0};
    struct yaml *y = yaml_parse(text, &e);
    assert(y != NULL || (e.code < 0 && e.text[0] >= '1' && e.text[0] <= '9'));
    assert(y == NULL || (y->line > 0 && y->column > 0));
    yaml_tree_free(y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    unsigned told = 0;
    check_tree(text);
    struct config *c = config_build("f", text, hear, &told);
    assert((c != NULL) == (told == 0));
    if (c != NULL) {
        struct config *same = config_build("f", text, hear, &told);
        assert(same != NULL);
        check_config(c, same);
        config_free(same);
    }
    config_free(c);
    return 0;
}
