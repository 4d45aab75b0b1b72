/* Line after line, without keeping any: a letter's data is skipped by the scanner as one token. */
#include "daemon/cli/letters.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/deadletter.h"
#include "lib/json.h"

#define REASON_BYTES_MAX (4 * KIB)

struct letter {
    uint64_t inode, offset, size;
    struct buf reason;
};

static uint64_t number_of(struct str s)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%.*s", (int)min_size(s.n, sizeof digits - 1), s.p);
    return strtoull(digits, NULL, 10);
}

/* False: not a letter. */
static bool read_letter(struct str line, struct letter *l)
{
    struct json_scan s;
    enum json_token t;
    json_scan_init(&s, line);
    if (json_scan_next(&s) != JSON_OBJECT)
        return false;
    while ((t = json_scan_next(&s)) == JSON_KEY) {
        struct str key = s.token;
        t = json_scan_next(&s);
        if (t != JSON_STRING && t != JSON_NUMBER)
            return false;
        if (str_eq(key, STR("inode")))
            l->inode = number_of(s.token);
        else if (str_eq(key, STR("offset")))
            l->offset = number_of(s.token);
        else if (str_eq(key, STR("size")))
            l->size = number_of(s.token);
        else if (str_eq(key, STR("reason")))
            json_unescape(&l->reason, s.token);
    }
    return t == JSON_CLOSE;
}

static FILE *open_letters(const char *state_dir, const char *source)
{
    char path[8 * KIB];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/" DEADLETTER_DIR "/%s.jsonl", state_dir, source);
    if (n < 0 || (size_t)n >= sizeof path)
        return NULL;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return NULL;
    FILE *f = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? fdopen(fd, "r") : NULL;
    if (f == NULL)
        close(fd);
    return f;
}

size_t letters_tell(const char *state_dir, const char *source, uint64_t inode,
                    letters_tell_fn *tell, void *ctx)
{
    FILE *f = open_letters(state_dir, source);
    if (f == NULL)
        return 0;
    char *line = NULL;
    size_t room = 0, found = 0;
    ssize_t n;
    while ((n = getline(&line, &room, f)) > 0) {
        struct letter l = {0};
        buf_init(&l.reason, REASON_BYTES_MAX);
        if (read_letter((struct str){line, (size_t)n}, &l) && l.inode == inode &&
            ++found <= LETTERS_TOLD_MAX) {
            const char *reason = buf_cstr(&l.reason);
            tell(ctx, l.offset, l.size, reason != NULL ? reason : "");
        }
        buf_release(&l.reason);
    }
    free(line);
    fclose(f);
    return found;
}
