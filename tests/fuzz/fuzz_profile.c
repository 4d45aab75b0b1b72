/* The shared AWS files are whatever a person left there. */
#include "lib/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool blank_or_end(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

static void check(struct str text, enum profile_file kind, const char *profile, const char *key)
{
    struct str v = profile_get(text, kind, profile, key);
    if (v.p == NULL)
        return;
    assert(profile_exists(text, kind, profile));
    assert(v.p >= text.p && v.p + v.n <= text.p + text.n);
    assert(v.n < PROFILE_LINE_MAX);
    if (v.n == 0)
        return;
    assert(memchr(v.p, '\n', v.n) == NULL);
    assert(!blank_or_end(v.p[0]) && !blank_or_end(v.p[v.n - 1]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const profiles[] = {"default", "a", ""};
    struct str text = {(const char *)data, size};
    for (size_t i = 0; i < ARRAY_LEN(profiles); i++) {
        check(text, PROFILE_CONFIG, profiles[i], "k");
        check(text, PROFILE_CREDENTIALS, profiles[i], "k");
        check(text, PROFILE_CREDENTIALS, profiles[i], "aws_access_key_id");
    }
    return 0;
}
