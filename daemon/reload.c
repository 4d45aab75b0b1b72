/* SIGHUP: build new, check, swap, tell, free old. On any error the old configuration stays, whole.
 *
 * First everything that can fail is made, and nothing running is touched: the new configuration,
 * the new streams, a compiled shape for every source, the users and groups that sockets name, and
 * new sources for those that are new, or look at other files, or feed another stream. Then the
 * swap, which cannot fail:
 *   streams   kept ones take the new options; removed ones drain and close; one that comes back
 *             before it is empty goes on as if it had never left
 *   sources   kept ones take the new shape from their next record on, and keep their position;
 *             others are closed; a source that was closed and made anew goes on from its delivered
 *             position; one that is made reads when a checkpoint says where it begins
 * What needs a restart (config_diff names it) keeps its old value until then. */
#include <stdlib.h>

#include "daemon/readfile.h"
#include "daemon/service_in.h"
#include "lib/yaml.h"

/* What is being prepared: one place a source of the new configuration. */
struct plan {
    struct config *config;
    struct shape **shapes; /* NULL once taken over */
};

static void tell_line(void *ctx, const char *line)
{
    (void)ctx;
    log_error(log_msg("configuration"), log_s("what", line));
}

static void tell_difference(void *ctx, const char *line)
{
    (void)ctx;
    log_info(log_msg("configuration changed"), log_s("what", line));
}

static struct config *read_config(struct service *s)
{
    struct buf text;
    struct err e;
    buf_init(&text, YAML_BYTES_MAX + 1);
    struct config *c = NULL;
    if (readfile(s->options.config_path, YAML_BYTES_MAX, &text, &e) != 0)
        tell_line(NULL, e.text);
    else
        c = config_build_with(s->options.config_path, buf_str(&text), &readfile_mappings, tell_line,
                              NULL);
    buf_release(&text);
    return c;
}

static void plan_free(struct plan *p)
{
    for (size_t i = 0; p->shapes != NULL && i < p->config->sources_n; i++)
        shape_free(p->shapes[i]);
    free(p->shapes);
}

static bool make_shapes(struct service *s, struct plan *p, struct err *e)
{
    s->imds_asked = false;
    p->shapes = calloc(p->config->sources_n + 1, sizeof *p->shapes);
    if (p->shapes == NULL) {
        err_set(e, ERR_NOMEM, "out of memory");
        return false;
    }
    for (size_t i = 0; i < p->config->sources_n; i++) {
        p->shapes[i] = source_shape(s, &p->config->sources[i].shape, e);
        if (p->shapes[i] == NULL || !inlet_check(&p->config->sources[i], e))
            return false;
    }
    return true;
}

/* Streams that the old configuration does not have, and spools that are needed now. On failure
 * those made are closed again. */
static bool make_streams(struct service *s, struct plan *p, struct err *e)
{
    uint32_t first = s->next_stream_id;
    for (size_t i = 0; i < p->config->streams_n; i++) {
        const struct config_stream *c = &p->config->streams[i];
        struct stream *st = stream_find(s, c->name);
        if (st != NULL && spooling_open(st, p->config, c, e))
            continue;
        st = st == NULL ? stream_new(s, c, e) : NULL;
        if (st != NULL && stream_configure(st, p->config, c, e) &&
            spooling_open(st, p->config, c, e))
            continue;
        LIST_FOR(it, save, &s->streams)
        {
            struct stream *made = CONTAINER_OF(it, struct stream, link);
            if (made->id >= first)
                stream_close(made);
        }
        return false;
    }
    return true;
}

static bool same_excludes(const struct config_source *a, const struct config_source *b)
{
    if (a->excludes_n != b->excludes_n)
        return false;
    for (size_t i = 0; i < a->excludes_n; i++)
        if (strcmp(a->excludes[i], b->excludes[i]) != 0)
            return false;
    return true;
}

/* A source that is the same apart from its shape and name of the stream's options. */
static bool is_kept(struct service *s, const struct config_source *c)
{
    const struct source *src = source_find(s, c->name);
    return src != NULL && c->file != NULL && strcmp(src->config->file, c->file) == 0 &&
           strcmp(src->config->stream_name, c->stream_name) == 0 &&
           src->config->shape.max_record == c->shape.max_record &&
           src->config->watch_poll == c->watch_poll && same_excludes(src->config, c);
}

static const struct config_source *find_config(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->sources_n; i++)
        if (strcmp(config->sources[i].name, name) == 0)
            return &config->sources[i];
    return NULL;
}

static const struct config_stream *find_stream_config(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->streams_n; i++)
        if (strcmp(config->streams[i].name, name) == 0)
            return &config->streams[i];
    return NULL;
}

static void set_leaving(struct stream *st, bool leaving)
{
    st->leaving = leaving;
    pipeline_drain(st->pipeline, leaving);
    if (st->spool != NULL && leaving)
        spool_finish(st->spool);
    else if (st->spool != NULL)
        spool_resume(st->spool);
}

static void swap_streams(struct service *s, const struct config *config)
{
    LIST_FOR(it, save, &s->streams)
    {
        struct stream *st = CONTAINER_OF(it, struct stream, link);
        const struct config_stream *c = find_stream_config(config, st->name);
        struct err e;
        set_leaving(st, c == NULL);
        if (c == NULL)
            continue;
        if (st->spool != NULL)
            spool_set_sync(st->spool, c->sync_ms);
        if (!stream_configure(st, config, c, &e))
            log_error(log_msg("a stream keeps some of its old options"), log_s("stream", st->name),
                      log_s("why", e.text));
    }
}

static void close_sources(struct service *s, const struct config *config)
{
    LIST_FOR(it, save, &s->sources)
    {
        struct source *src = CONTAINER_OF(it, struct source, link);
        const struct config_source *c = find_config(config, src->name);
        if (c == NULL || !is_kept(s, c))
            source_close(src);
    }
    LIST_FOR(it, save, &s->inlets)
    {
        struct inlet *in = inlet_of(it);
        const struct config_source *c = find_config(config, inlet_name(in));
        if (c == NULL || !inlet_is_kept(in, c))
            inlet_close(in);
    }
}

static void swap_sources(struct service *s, struct plan *p)
{
    for (size_t i = 0; i < p->config->sources_n; i++) {
        const struct config_source *c = &p->config->sources[i];
        struct source *src = source_find(s, c->name);
        struct inlet *in = inlet_find(s, c->name);
        struct err e;
        bool taken = true;
        if (src != NULL)
            source_reshape(src, c, p->shapes[i]);
        else if (in != NULL)
            inlet_reshape(in, c, p->shapes[i]);
        else
            taken = source_open(s, c, p->shapes[i], &e);
        if (taken)
            p->shapes[i] = NULL;
        else
            log_error(log_msg("a source cannot be started"), log_s("source", c->name),
                      log_s("why", e.text));
    }
}

/* What needs a restart stays as it is; so the next reload says it again. */
static void keep_fixed(const struct config *before, struct config *after)
{
    char *dir = strdup(before->state_dir);
    if (dir != NULL) {
        free(after->state_dir);
        after->state_dir = dir;
    }
    char *control = before->control != NULL ? strdup(before->control) : NULL;
    if (control != NULL || before->control == NULL) {
        free(after->control);
        after->control = control;
    }
    for (size_t i = 0; i < after->streams_n; i++) {
        const struct config_stream *old = find_stream_config(before, after->streams[i].name);
        if (old != NULL)
            after->streams[i].buffer_bytes = old->buffer_bytes;
        if (old != NULL)
            after->streams[i].spool_bytes = old->spool_bytes;
    }
}

static void swap_all(struct service *s, struct plan *p)
{
    struct config *old = s->config;
    config_diff(old, p->config, tell_difference, NULL);
    close_sources(s, p->config);
    s->config = p->config;
    keep_fixed(old, s->config);
    swap_streams(s, s->config);
    swap_sources(s, p);
    log_set_level(s->config->log_level);
    deadletter_set_max(s->deadletter, s->config->dead_letter_max_bytes);
    s->next_creds_ms = 0;
    service_load_creds(s, service_now(s));
    config_free(old);
}

void service_reload(struct service *s)
{
    notify_send(&s->notify, "RELOADING=1\nMONOTONIC_USEC=%llu",
                (unsigned long long)(uv_hrtime() / 1000));
    struct plan p = {.config = read_config(s)};
    struct err e = {0};
    if (p.config == NULL) {
        log_error(log_msg("not reloaded: the old configuration stays"));
    } else if (!make_shapes(s, &p, &e) || !make_streams(s, &p, &e)) {
        log_error(log_msg("not reloaded: the old configuration stays"), log_s("why", e.text));
        plan_free(&p);
        config_free(p.config);
    } else {
        swap_all(s, &p);
        plan_free(&p);
        log_info(log_msg("reloaded"));
    }
    notify_send(&s->notify, "READY=1");
    service_status(s);
}
