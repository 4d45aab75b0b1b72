/* The first two bytes choose the status and how many records were asked for; the rest is the
 * answer. */
#include "lib/json.h"
#include "lib/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define UNTOUCHED 0xee

static void check_text(const char *text, size_t cap)
{
    size_t n = strnlen(text, cap);
    assert(n < cap);
    for (size_t i = 0; i < n; i++)
        assert(text[i] >= ' ' && text[i] <= '~');
}

static void check(const struct reply *r, int status, struct str body, unsigned n,
                  const uint8_t *failed)
{
    check_text(r->code, sizeof r->code);
    check_text(r->message, sizeof r->message);
    bool delivered = r->kind == REPLY_OK || r->kind == REPLY_PARTIAL;
    assert(!delivered || (status == 200 && json_valid(body, NULL)));
    assert(delivered || r->failed_n == 0);
    assert(r->kind != REPLY_OK || r->failed_n == 0);
    assert(status != 200 || delivered || r->kind == REPLY_TRANSIENT);
    if (r->kind == REPLY_PARTIAL) {
        unsigned sum = 0;
        for (unsigned i = 0; i < n; i++)
            sum += failed[i];
        assert(sum == r->failed_n && sum > 0 && sum <= n);
    }
    for (unsigned i = n; i < n + 4; i++)
        assert(failed[i] == UNTOUCHED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 200, 200, 400, 403, 413, 500, 0};
    if (size < 2)
        return 0;
    int status = statuses[data[0] % 8];
    unsigned n = 1 + data[1] % 16;
    uint8_t failed[20];
    struct str body = {(const char *)data + 2, size - 2};
    struct reply r;
    memset(failed, UNTOUCHED, sizeof failed);
    reply_read(&r, status, body, n, failed);
    check(&r, status, body, n, failed);
    if (r.kind != REPLY_OK && r.kind != REPLY_PARTIAL)
        return 0;
    while (body.n > 0 && body.p[body.n - 1] != '}') /* white space behind the answer */
        body.n--;
    size_t cut = data[0] * body.n / 256; /* less than all of it delivers nothing */
    struct str half = {body.p, cut}, nearly = {body.p, body.n - 1};
    reply_read(&r, status, half, n, failed);
    assert(r.kind == REPLY_TRANSIENT);
    reply_read(&r, status, nearly, n, failed);
    assert(r.kind == REPLY_TRANSIENT);
    return 0;
}
