/* shards.c - reading a whole stream.
 *
 * The happy path: list the shards, ask each for an iterator, read with it, keep the iterator that
 * comes with the answer; no next iterator means the shard has ended, and its children, found by
 * listing again, begin.
 *
 * How it fails. A throttled or failed read is planned again for that shard alone; the others go on.
 * An iterator that has expired is asked for anew, after the last record read, or, if there was
 * none, from where and when the reading began. A local server may hand out iterators for a closed
 * shard for ever: two empty answers in a row from a shard that was listed as closed end it too.
 */
#include "daemon/cli/shards.h"

#include <jansson.h>
#include <stdlib.h>

#include "lib/base64.h"

#define READ_PERIOD_MS   200        /* the service allows five reads a second and shard */
#define LIST_PERIOD_MS   10000      /* for servers that do not say when a shard ends */
#define DATA_MAX         (48 * MIB) /* one record; the service's own limit is 10 MiB */
#define RECORDS_PER_READ 10000      /* the service's limit */

void shards_init(struct shards *s, struct kinesis *k, const char *stream, bool from_latest,
                 uint64_t poll_ms)
{
    *s = (struct shards){.k = k,
                         .stream = stream,
                         .from_latest = from_latest,
                         .poll_ms = poll_ms,
                         .begun_wall_ms = kinesis_now().wall_ms};
    buf_init(&s->data, DATA_MAX);
}

void shards_release(struct shards *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct shard *h = &s->all[i];
        free(h->id);
        free(h->parents[0]);
        free(h->parents[1]);
        free(h->iterator);
        free(h->sequence);
    }
    free(s->all);
    buf_release(&s->data);
    s->all = NULL;
    s->n = s->cap = 0;
}

static enum kinesis_result no_memory(struct err *e)
{
    err_set(e, ERR_NOMEM, "memory ran out");
    return KINESIS_FAILED;
}

static enum kinesis_result broken_answer(struct err *e, const char *operation)
{
    err_set(e, ERR_SYNTAX, "the answer to %s lacks what it should hold", operation);
    return KINESIS_FAILED;
}

/* Replaces *to by a copy of `from` (NULL for none). */
static bool set_text(char **to, const char *from)
{
    char *copy = from != NULL ? strdup(from) : NULL;
    if (from != NULL && copy == NULL)
        return false;
    free(*to);
    *to = copy;
    return true;
}

static bool name_stream(json_t *request, const char *stream)
{
    const char *key = strncmp(stream, "arn:", 4) == 0 ? "StreamARN" : "StreamName";
    return json_object_set_new(request, key, json_string(stream)) == 0;
}

static struct shard *find(const struct shards *s, const char *id)
{
    for (size_t i = 0; id != NULL && i < s->n; i++)
        if (strcmp(s->all[i].id, id) == 0)
            return &s->all[i];
    return NULL;
}

static const char *text_in(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static struct shard *append(struct shards *s)
{
    if (s->n == s->cap) {
        size_t cap = s->cap == 0 ? 16 : s->cap * 2;
        struct shard *all = realloc(s->all, cap * sizeof *all);
        if (all == NULL)
            return NULL;
        s->all = all;
        s->cap = cap;
    }
    struct shard *h = &s->all[s->n++];
    *h = (struct shard){.state = SHARD_WAITING};
    return h;
}

/* A shard that is new to us. Those of the first listing begin where the user said; a later one is
 * the child of one that was read, so nothing before it may be skipped. */
static bool add_shard(struct shards *s, const char *id, const json_t *j, bool closed)
{
    struct shard *h = append(s);
    if (h == NULL)
        return false;
    h->closed = closed;
    h->from_latest = s->from_latest && !s->listed;
    if (h->from_latest && closed)
        h->state = SHARD_DONE;
    if (set_text(&h->id, id) && set_text(&h->parents[0], text_in(j, "ParentShardId")) &&
        set_text(&h->parents[1], text_in(j, "AdjacentParentShardId")))
        return true;
    free(h->id);
    free(h->parents[0]);
    s->n--;
    return false;
}

static enum kinesis_result take_page(struct shards *s, const json_t *answer, struct err *e)
{
    const json_t *list = json_object_get(answer, "Shards"), *j;
    size_t i;
    if (!json_is_array(list))
        return broken_answer(e, "ListShards");
    json_array_foreach(list, i, j)
    {
        const char *id = text_in(j, "ShardId");
        const json_t *range = json_object_get(j, "SequenceNumberRange");
        bool closed = text_in(range, "EndingSequenceNumber") != NULL;
        if (id == NULL)
            return broken_answer(e, "ListShards");
        struct shard *known = find(s, id);
        if (known != NULL)
            known->closed = closed;
        else if (s->n >= SHARDS_MAX)
            return broken_answer(e, "ListShards");
        else if (!add_shard(s, id, j, closed))
            return no_memory(e);
    }
    return KINESIS_OK;
}

/* One page; *token becomes that of the next, NULL after the last. */
static enum kinesis_result list_page(struct shards *s, char **token, struct err *e)
{
    json_t *request = json_object(), *answer = NULL;
    bool good = *token != NULL ? json_object_set_new(request, "NextToken", json_string(*token)) == 0
                               : name_stream(request, s->stream);
    enum kinesis_result r =
        good ? kinesis_insist(s->k, "ListShards", request, &answer, e) : no_memory(e);
    if (r == KINESIS_OK)
        r = take_page(s, answer, e);
    if (r == KINESIS_OK && !set_text(token, text_in(answer, "NextToken")))
        r = no_memory(e);
    json_decref(answer);
    json_decref(request);
    return r;
}

enum kinesis_result shards_list(struct shards *s, struct err *e)
{
    char *token = NULL;
    enum kinesis_result r = KINESIS_OK;
    size_t pages = 0;
    do {
        r = list_page(s, &token, e);
        if (r == KINESIS_OK && ++pages > SHARDS_MAX)
            r = broken_answer(e, "ListShards");
    } while (r == KINESIS_OK && token != NULL);
    free(token);
    if (r == KINESIS_OK) {
        s->listed = s->changed = true;
        s->list_due_ms = kinesis_now().mono_ms + LIST_PERIOD_MS;
    }
    return r;
}

bool shards_list_due(const struct shards *s, uint64_t now_ms)
{
    return now_ms >= s->list_due_ms;
}

static bool parents_done(const struct shards *s, const struct shard *h)
{
    for (size_t i = 0; i < ARRAY_LEN(h->parents); i++) {
        const struct shard *parent = find(s, h->parents[i]);
        if (parent != NULL && parent != h && parent->state != SHARD_DONE)
            return false;
    }
    return true;
}

/* Only when something changed: with many shards this is the dear part of a turn. */
static void begin_children(struct shards *s)
{
    for (size_t i = 0; s->changed && i < s->n; i++)
        if (s->all[i].state == SHARD_WAITING && parents_done(s, &s->all[i]))
            s->all[i].state = SHARD_READING;
    s->changed = false;
}

struct shard *shards_next(struct shards *s)
{
    struct shard *next = NULL;
    begin_children(s);
    for (size_t i = 0; i < s->n; i++) {
        struct shard *h = &s->all[i];
        if (h->state == SHARD_READING && (next == NULL || h->due_ms < next->due_ms))
            next = h;
    }
    return next;
}

bool shards_idle(const struct shards *s, uint64_t now_ms, uint64_t for_ms)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct shard *h = &s->all[i];
        if (h->state == SHARD_WAITING || (h->state == SHARD_READING && !h->idle))
            return false;
        if (h->state == SHARD_READING && now_ms - h->idle_since_ms < for_ms)
            return false;
    }
    return true;
}

static bool put_start(const struct shards *s, const struct shard *h, json_t *request)
{
    if (h->sequence != NULL)
        return json_object_set_new(request, "StartingSequenceNumber", json_string(h->sequence)) ==
                   0 &&
               json_object_set_new(request, "ShardIteratorType",
                                   json_string("AFTER_SEQUENCE_NUMBER")) == 0;
    if (!h->from_latest)
        return json_object_set_new(request, "ShardIteratorType", json_string("TRIM_HORIZON")) == 0;
    if (h->tries == 0)
        return json_object_set_new(request, "ShardIteratorType", json_string("LATEST")) == 0;
    /* LATEST once more would skip what came since the first. */
    return json_object_set_new(request, "Timestamp", json_real((double)s->begun_wall_ms / 1000)) ==
               0 &&
           json_object_set_new(request, "ShardIteratorType", json_string("AT_TIMESTAMP")) == 0;
}

static enum kinesis_result get_iterator(struct shards *s, struct shard *h, struct err *e)
{
    json_t *request = json_object(), *answer = NULL;
    bool good = name_stream(request, s->stream) &&
                json_object_set_new(request, "ShardId", json_string(h->id)) == 0 &&
                put_start(s, h, request);
    enum kinesis_result r =
        good ? kinesis_insist(s->k, "GetShardIterator", request, &answer, e) : no_memory(e);
    if (r == KINESIS_OK) {
        const char *iterator = text_in(answer, "ShardIterator");
        if (iterator == NULL)
            r = broken_answer(e, "GetShardIterator");
        else if (!set_text(&h->iterator, iterator))
            r = no_memory(e);
    }
    json_decref(answer);
    json_decref(request);
    return r;
}

static bool decode(struct shards *s, struct str text)
{
    size_t n = 0;
    buf_reset(&s->data);
    char *to = buf_reserve(&s->data, text.n / 4 * 3 + 1);
    if (to == NULL || base64_decode(to, s->data.cap, text, &n) != 0)
        return false;
    buf_commit(&s->data, n);
    return true;
}

static enum kinesis_result take_record(struct shards *s, struct shard *h, const json_t *j,
                                       shards_record_fn *tell, void *ctx, struct err *e)
{
    const json_t *data = json_object_get(j, "Data"), *key = json_object_get(j, "PartitionKey");
    const char *sequence = text_in(j, "SequenceNumber");
    struct str text = {json_string_value(data), json_string_length(data)};
    if (sequence == NULL || text.p == NULL || !decode(s, text))
        return broken_answer(e, "GetRecords");
    if (!set_text(&h->sequence, sequence))
        return no_memory(e);
    struct shards_record r = {
        .shard = h->id,
        .sequence = h->sequence,
        .partition_key = {json_string_value(key), json_string_length(key)},
        .data = buf_str(&s->data),
        .arrival = json_number_value(json_object_get(j, "ApproximateArrivalTimestamp")),
    };
    return tell(ctx, &r) ? KINESIS_OK : KINESIS_STOPPED;
}

/* After an answer: the next iterator, when the next turn is, and whether the shard has ended. */
static enum kinesis_result move_on(struct shards *s, struct shard *h, const json_t *answer,
                                   uint64_t begun_ms, struct err *e)
{
    const char *next = text_in(answer, "NextShardIterator");
    json_int_t behind = json_integer_value(json_object_get(answer, "MillisBehindLatest"));
    bool empty = json_array_size(json_object_get(answer, "Records")) == 0 && behind == 0;
    bool ended = next == NULL || (h->closed && empty && h->idle);
    if (!set_text(&h->iterator, next))
        return no_memory(e);
    if (empty && !h->idle)
        h->idle_since_ms = kinesis_now().mono_ms;
    h->idle = empty;
    h->tries = 0;
    h->due_ms = begun_ms + (empty ? s->poll_ms : READ_PERIOD_MS);
    if (ended) {
        h->state = SHARD_DONE;
        s->list_due_ms = 0; /* its children */
        s->changed = true;
    }
    return KINESIS_OK;
}

/* What a failed read means for this shard. */
static enum kinesis_result plan_again(struct shards *s, struct shard *h, enum kinesis_result r)
{
    if (r != KINESIS_THROTTLED && r != KINESIS_TRANSIENT && r != KINESIS_EXPIRED)
        return r;
    uint64_t pause = kinesis_pause_ms(s->k, r, ++h->tries);
    if (pause == 0)
        return KINESIS_FAILED;
    h->idle = false;
    h->due_ms = kinesis_now().mono_ms + pause;
    if (r == KINESIS_EXPIRED)
        set_text(&h->iterator, NULL);
    return KINESIS_OK;
}

static enum kinesis_result read_with_iterator(struct shards *s, struct shard *h, unsigned limit,
                                              shards_record_fn *tell, void *ctx, struct err *e)
{
    json_t *request = json_object(), *answer = NULL, *j;
    bool arn = strncmp(s->stream, "arn:", 4) == 0, good;
    good = json_object_set_new(request, "ShardIterator", json_string(h->iterator)) == 0 &&
           json_object_set_new(request, "Limit", json_integer(limit)) == 0 &&
           (!arn || name_stream(request, s->stream));
    uint64_t begun_ms = kinesis_now().mono_ms;
    enum kinesis_result r =
        good ? kinesis_call(s->k, "GetRecords", request, &answer, e) : no_memory(e);
    json_decref(request);
    if (r != KINESIS_OK)
        return plan_again(s, h, r);
    size_t i;
    json_array_foreach(json_object_get(answer, "Records"), i, j)
    {
        if ((r = take_record(s, h, j, tell, ctx, e)) != KINESIS_OK)
            break;
    }
    if (r == KINESIS_OK)
        r = move_on(s, h, answer, begun_ms, e);
    json_decref(answer);
    return r;
}

enum kinesis_result shards_read(struct shards *s, struct shard *h, unsigned limit,
                                shards_record_fn *tell, void *ctx, struct err *e)
{
    if (limit > RECORDS_PER_READ)
        limit = RECORDS_PER_READ;
    enum kinesis_result r = h->iterator == NULL ? get_iterator(s, h, e) : KINESIS_OK;
    return r == KINESIS_OK ? read_with_iterator(s, h, limit, tell, ctx, e) : r;
}
