/* A KPL aggregate. The bytes are the protobuf message; the checksum is put behind them, so that
 * what the fuzzer changes is not all refused for it. What comes out must lie inside, in order; and
 * the same bytes with another checksum must be refused. */
#include <stdlib.h>

#include "lib/hash.h"
#include "lib/kpl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(struct str whole)
{
    struct kpl k;
    struct str user;
    const char *why = NULL, *last = whole.p + 4;
    assert(kpl_is_aggregate(whole));
    if (!kpl_open(&k, whole, &why)) {
        assert(why != NULL);
        return;
    }
    for (size_t n = 0; kpl_next(&k, &user); n++) {
        assert(user.p >= last && user.p + user.n <= whole.p + whole.n - MD5_SIZE);
        assert(n < whole.n);
        last = user.p;
    }
    assert(!kpl_next(&k, &user));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t n = size + 4 + MD5_SIZE;
    char *bytes = malloc(n);
    assert(bytes != NULL);
    memcpy(bytes, "\xf3\x89\x9a\xc2", 4);
    if (size > 0)
        memcpy(bytes + 4, data, size);
    bool known = hash_md5(bytes + 4, size, (uint8_t *)bytes + 4 + size);
    assert(known);
    walk((struct str){bytes, n});
    bytes[n - 1] ^= 1;
    struct kpl k;
    const char *why;
    bool opened = kpl_open(&k, (struct str){bytes, n}, &why);
    assert(!opened);
    free(bytes);
    return 0;
}
