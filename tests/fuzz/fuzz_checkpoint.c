/* What is accepted can be written again, and is then the same text for good. */
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
            assert(position_sane(&c->sources[i].files[k].at));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checkpoint c, again;
    struct err e = {0};
    if (checkpoint_decode((struct str){(const char *)data, size}, &c, &e) != 0) {
        assert(e.code < 0 && strstr(e.text, "checkpoint") != NULL);
        return 0;
    }
    check(&c);
    struct buf first, second;
    buf_init(&first, CHECKPOINT_BYTES_MAX);
    buf_init(&second, CHECKPOINT_BYTES_MAX);
    checkpoint_encode(&c, &first);
    checkpoint_release(&c);
    assert(!first.failed && json_valid(buf_str(&first), NULL));
    int rc = checkpoint_decode(buf_str(&first), &again, &e);
    assert(rc == 0);
    (void)rc;
    checkpoint_encode(&again, &second);
    assert(str_eq(buf_str(&first), buf_str(&second)));
    checkpoint_release(&again);
    buf_release(&first);
    buf_release(&second);
    return 0;
}
