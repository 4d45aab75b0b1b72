/* log.h - the daemon's one voice: key=value lines on stderr.
 *
 *   log_info(log_msg("file opened"), log_s("path", path), log_u("size", size));
 *   -> level=info msg="file opened" path=/var/log/a.log size=120
 *
 * Values are quoted when they hold blanks, quotes, backslashes, '=' or anything but printable
 * ASCII, and what could forge or disturb a line is escaped (\n \r \t \" \\ \xHH): control
 * characters, bytes that are not UTF-8, and the characters that break lines or turn the writing
 * direction. With journald as stderr (JOURNAL_STREAM names it by device and inode), each line
 * starts with the syslog priority (<6>) and no time; otherwise with time=2026-11-23T04:05:06.789Z.
 * A line is one write(2); one longer than LOG_LINE_MAX is cut and marked. Safe only on the loop's
 * thread. Nothing secret is ever passed here.
 *
 * log_limit keeps a repeated complaint to one line in `every_ms`: it returns true when the line may
 * be written, with *held set to how many were kept back since.
 */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include "lib/base.h"
#include "lib/config.h"

#define LOG_LINE_MAX 4096

struct log_field {
    const char *name;
    enum { LOG_END, LOG_STR, LOG_UINT, LOG_INT } kind;
    struct str s;
    uint64_t u;
    int64_t i;
};

struct log_limit {
    uint64_t next_ms, held;
};

void log_init(enum log_level level); /* looks at JOURNAL_STREAM */
void log_set_level(enum log_level level);
void log_emit(enum log_level level, const struct log_field *fields);
bool log_limit(struct log_limit *l, uint64_t now_ms, uint64_t every_ms, uint64_t *held);

static inline struct log_field log_msg(const char *text)
{
    return (struct log_field){.name = "msg", .kind = LOG_STR, .s = str_of(text)};
}
static inline struct log_field log_s(const char *name, const char *value)
{
    return (struct log_field){.name = name, .kind = LOG_STR, .s = str_of(value ? value : "")};
}
static inline struct log_field log_str(const char *name, struct str value)
{
    return (struct log_field){.name = name, .kind = LOG_STR, .s = value};
}
static inline struct log_field log_u(const char *name, uint64_t value)
{
    return (struct log_field){.name = name, .kind = LOG_UINT, .u = value};
}
static inline struct log_field log_i(const char *name, int64_t value)
{
    return (struct log_field){.name = name, .kind = LOG_INT, .i = value};
}

#define LOG_LINE(level, ...)                                                                       \
    log_emit(level, (const struct log_field[]){__VA_ARGS__, {.kind = LOG_END}})
#define log_error(...) LOG_LINE(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  LOG_LINE(LOG_WARN, __VA_ARGS__)
#define log_info(...)  LOG_LINE(LOG_INFO, __VA_ARGS__)
#define log_debug(...) LOG_LINE(LOG_DEBUG, __VA_ARGS__)

#endif
