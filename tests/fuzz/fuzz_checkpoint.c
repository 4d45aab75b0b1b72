/* What is accepted can be written again, and is then the same text for good. With a NUL in the
 * input, what stands before it is the whole document and the rest the recent one: merged, every
 * entry of either is there, the recent one's as it says, if the generations agree. */
#include "lib/json.h"
#include "lib/position.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct checkpoint *c)
{
    assert(c->sources_n <= CHECKPOINT_SOURCES_MAX);
    for (size_t i = 0; i < c->sources_n; i++) {
        assert(c->sources[i].name[0] != '\0');
        for (size_t k = 0; k < c->sources[i].files_n; k++) {
            assert(c->sources[i].files[k].path[0] != '\0');
            assert(c->sources[i].files[k].id > 0);
            assert(position_sane(&c->sources[i].files[k].at));
        }
    }
}

static bool decode(struct str text, struct checkpoint *c)
{
    struct err e = {0};
    if (checkpoint_decode(text, c, &e) != 0) {
        assert(e.code < 0 && strstr(e.text, "checkpoint") != NULL);
        return false;
    }
    check(c);
    return true;
}

static void round_trip(const struct checkpoint *c)
{
    struct checkpoint again;
    struct err e = {0};
    struct buf first, second;
    buf_init(&first, CHECKPOINT_BYTES_MAX);
    buf_init(&second, CHECKPOINT_BYTES_MAX);
    checkpoint_encode(c, &first);
    assert(!first.failed && json_valid(buf_str(&first), NULL));
    int rc = checkpoint_decode(buf_str(&first), &again, &e);
    assert(rc == 0);
    (void)rc;
    checkpoint_encode(&again, &second);
    assert(str_eq(buf_str(&first), buf_str(&second)));
    checkpoint_release(&again);
    buf_release(&first);
    buf_release(&second);
}

static const struct checkpoint_file *find(const struct checkpoint *c, uint64_t id)
{
    for (size_t i = 0; i < c->sources_n; i++)
        for (size_t k = 0; k < c->sources[i].files_n; k++)
            if (c->sources[i].files[k].id == id)
                return &c->sources[i].files[k];
    return NULL;
}

/* Every entry of `from` is in c; with the same path and offset, unless `unless` has it too. */
static void assert_holds(const struct checkpoint *c, const struct checkpoint *from,
                         const struct checkpoint *unless)
{
    for (size_t i = 0; i < from->sources_n; i++) {
        for (size_t k = 0; k < from->sources[i].files_n; k++) {
            const struct checkpoint_file *f = &from->sources[i].files[k], *g = find(c, f->id);
            assert(g != NULL);
            if (unless == NULL || find(unless, f->id) == NULL)
                assert(strcmp(f->path, g->path) == 0 && f->at.offset == g->at.offset);
        }
    }
}

static void merge(struct str whole_text, struct str recent_text)
{
    struct checkpoint whole, recent, whole_before, recent_before;
    if (!decode(whole_text, &whole))
        return;
    if (!decode(recent_text, &recent)) {
        checkpoint_release(&whole);
        return;
    }
    bool agree = whole.generation == recent.generation;
    bool ok = decode(whole_text, &whole_before) && decode(recent_text, &recent_before) &&
              checkpoint_merge(&whole, &recent);
    assert(ok);
    if (agree)
        assert_holds(&whole, &recent_before, NULL);
    assert_holds(&whole, &whole_before, agree ? &recent_before : NULL);
    assert(whole.generation >= whole_before.generation &&
           whole.generation >= recent_before.generation);
    round_trip(&whole);
    checkpoint_release(&whole);
    checkpoint_release(&whole_before);
    checkpoint_release(&recent_before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct str text = {(const char *)data, size};
    const char *cut = size > 0 ? memchr(text.p, '\0', size) : NULL;
    struct checkpoint c;
    if (cut != NULL) {
        size_t n = (size_t)(cut - text.p);
        merge((struct str){text.p, n}, (struct str){cut + 1, size - n - 1});
    } else if (decode(text, &c)) {
        round_trip(&c);
        checkpoint_release(&c);
    }
    return 0;
}
