/* A request on the control socket: refused with a sentence, or within its bounds. */
#include "lib/ask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ask a = {.what = ASK_SOURCES, .offset = 12345};
    struct err e = {0};
    if (ask_parse((struct str){(const char *)data, n}, &a, &e) != 0) {
        assert(e.code == ERR_SYNTAX && e.text[0] != '\0');
        assert(a.what == ASK_SOURCES && a.offset == 12345);
        return 0;
    }
    assert(a.what <= ASK_REWIND && a.offset <= INT64_MAX);
    assert(memchr(a.source, '\0', sizeof a.source) != NULL);
    assert((a.what == ASK_REWIND) == (a.source[0] != '\0'));
    return 0;
}
