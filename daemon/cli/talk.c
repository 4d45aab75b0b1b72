/* The happy path: the configuration says where the socket is, or it is where it usually is; one
 * line goes out, and lines come back until the one that ends the answer.
 *
 * How it fails: each wait has an end. A daemon that is not there is no error but an answer
 * (ERR_MISSING): most callers can read the checkpoint instead. Everything that comes from the
 * socket is read as if a stranger had sent it.
 */
#include "daemon/cli/talk.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "daemon/checkpoint.h"
#include "daemon/readfile.h"
#include "lib/yaml.h"

#define STATE_DIR      "/var/lib/tailrace"
#define RUNTIME_SOCKET "/run/tailrace/" CONTROL_NAME
#define LINE_BYTES_MAX MIB
#define CHUNK_BYTES    (64 * KIB)

/* ---- which daemon ---- */

bool talk_option(struct talk *t, int option, const char *value)
{
    if (option == 'c')
        t->config_path = value;
    else if (option == 'C')
        t->control_option = value;
    else if (option == 'S')
        t->state_dir_option = value;
    else
        return false;
    return true;
}

static void tell_stderr(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

static int load_config(struct talk *t, const char *path)
{
    struct buf text;
    struct err e;
    buf_init(&text, YAML_BYTES_MAX + 1);
    int code = 0;
    if (readfile(path, YAML_BYTES_MAX, &text, &e) != 0) {
        fprintf(stderr, "tailrace: cannot read %s\n", e.text);
        code = EX_NOINPUT;
    } else {
        t->config = config_build_with(path, buf_str(&text), &readfile_mappings, tell_stderr, NULL);
        code = t->config != NULL ? 0 : EX_CONFIG;
    }
    buf_release(&text);
    return code;
}

int talk_init(struct talk *t)
{
    t->fd = -1;
    buf_init(&t->in, LINE_BYTES_MAX + CHUNK_BYTES);
    int code = 0;
    if (t->config_path != NULL)
        code = load_config(t, t->config_path);
    else if (t->control_option == NULL && t->state_dir_option == NULL &&
             access(TALK_CONFIG, R_OK) == 0)
        code = load_config(t, TALK_CONFIG);
    if (code != 0)
        return code;
    const char *dir = t->state_dir_option;
    if (dir == NULL)
        dir = t->config != NULL ? t->config->state_dir : STATE_DIR;
    t->state_dir = strdup(dir);
    return t->state_dir != NULL ? 0 : EX_OSERR;
}

void talk_release(struct talk *t)
{
    if (t->fd >= 0)
        talk_hang_up(t);
    buf_release(&t->in);
    checkpoint_release(&t->remembered);
    config_free(t->config);
    free(t->state_dir);
}

int talk_checkpoint(const struct talk *t, struct checkpoint *c, struct err *e)
{
    int fd = open(t->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, ERR_IO, "%.300s: %s", t->state_dir, strerror(errno));
    struct err why;
    int rc = checkpoint_load(fd, c, &why);
    close(fd);
    return rc == 0 ? 0 : err_set(e, rc, "%.200s: %.300s", t->state_dir, why.text);
}

/* ---- the connection ---- */

void talk_hang_up(struct talk *t)
{
    close(t->fd);
    t->fd = -1;
    buf_reset(&t->in);
}

static void take_state_dir(void *ctx, const json_t *line)
{
    char **dir = ctx;
    free(*dir);
    *dir = strdup(talk_text(line, "state_dir"));
}

static bool same_directory(const char *a, const char *b)
{
    struct stat x, y;
    return strcmp(a, b) == 0 ||
           (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* Connects and asks who is there. With `sure`, whoever it is is the one meant. */
static int try_connect(struct talk *t, const char *path, bool sure, struct err *e)
{
    int fd = control_connect(path, e);
    if (fd < 0)
        return fd;
    t->fd = fd;
    char *dir = NULL;
    int rc = talk_ask(t, "{\"do\":\"who\"}", take_state_dir, &dir, e);
    if (rc == 0 && (dir == NULL || dir[0] == '\0'))
        rc = err_set(e, ERR_IO, "%.300s: not a tailraced", path);
    if (rc == 0 && sure && t->state_dir_option == NULL) {
        free(t->state_dir);
        t->state_dir = dir;
        return 0;
    }
    if (rc == 0 && !sure && !same_directory(dir, t->state_dir))
        rc = err_set(e, ERR_MISSING, "%.200s: a tailraced with another state directory, %.200s",
                     path, dir);
    free(dir);
    if (rc != 0 && t->fd >= 0)
        talk_hang_up(t);
    return rc;
}

int talk_connect(struct talk *t, struct err *e)
{
    const char *configured = t->config != NULL ? t->config->control : NULL;
    if (t->control_option != NULL)
        return try_connect(t, t->control_option, true, e);
    if (configured != NULL && strcmp(configured, "off") == 0)
        return err_set(e, ERR_MISSING, "the control socket is off");
    if (configured != NULL)
        return try_connect(t, configured, true, e);
    char path[CONTROL_PATH_MAX];
    int in_state = ERR_MISSING;
    if (control_path(NULL, t->state_dir, path) && (in_state = try_connect(t, path, false, e)) == 0)
        return 0;
    struct err other;
    int rc = try_connect(t, RUNTIME_SOCKET, false, &other);
    if (rc == 0 || in_state != ERR_MISSING)
        return rc == 0 ? 0 : in_state;
    if (rc != ERR_MISSING)
        *e = other;
    return rc;
}

/* ---- asking ---- */

static int lose(struct talk *t, struct err *e, const char *why)
{
    talk_hang_up(t);
    return err_set(e, ERR_MISSING, "tailraced: %s", why);
}

static bool wait_for(int fd, short what, uint64_t until_ms)
{
    struct pollfd p = {.fd = fd, .events = what};
    for (;;) {
        uint64_t now_ms = talk_now_ms();
        int n = now_ms < until_ms ? poll(&p, 1, (int)(until_ms - now_ms)) : 0;
        if (n > 0)
            return true;
        if (n == 0 || errno != EINTR)
            return false;
    }
}

static int send_line(struct talk *t, const char *text, struct err *e)
{
    char line[KIB];
    int n = snprintf(line, sizeof line, "%s\n", text);
    if (n < 0 || (size_t)n >= sizeof line)
        return err_set(e, ERR_RANGE, "the request is too long");
    for (int sent = 0; sent < n;) {
        if (!wait_for(t->fd, POLLOUT, talk_now_ms() + TALK_PATIENCE_MS))
            return lose(t, e, "no answer");
        ssize_t done = send(t->fd, line + sent, (size_t)(n - sent), MSG_NOSIGNAL);
        if (done < 0 && errno != EINTR)
            return lose(t, e, strerror(errno));
        sent += done > 0 ? (int)done : 0;
    }
    return 0;
}

static int receive(struct talk *t, struct err *e)
{
    char *to = buf_reserve(&t->in, CHUNK_BYTES);
    if (to == NULL)
        return lose(t, e, "a line of the answer is too long");
    if (!wait_for(t->fd, POLLIN, talk_now_ms() + TALK_PATIENCE_MS))
        return lose(t, e, "no answer");
    ssize_t n = recv(t->fd, to, CHUNK_BYTES, 0);
    if (n < 0 && errno == EINTR)
        return 0;
    if (n <= 0)
        return lose(t, e, n < 0 ? strerror(errno) : "it has closed the connection");
    buf_commit(&t->in, (size_t)n);
    return 0;
}

/* One line of the answer. *end: it was the last one. */
static int take_line(struct str text, talk_line_fn *line, void *ctx, bool *end, struct err *e)
{
    json_t *json = json_loadb(text.p, text.n, 0, NULL);
    int rc = 0;
    if (!json_is_object(json))
        rc = err_set(e, ERR_SYNTAX, "tailraced: an answer that is not JSON");
    else if (json_object_get(json, "error") != NULL)
        rc = err_set(e, ERR_IO, "tailraced: %.400s", talk_text(json, "error"));
    else if (json_is_true(json_object_get(json, "end")))
        *end = true;
    else
        line(ctx, json);
    json_decref(json);
    return rc;
}

int talk_ask(struct talk *t, const char *request, talk_line_fn *line, void *ctx, struct err *e)
{
    bool end = false;
    int rc = send_line(t, request, e);
    while (rc == 0 && !end) {
        if ((rc = receive(t, e)) != 0)
            break;
        char *from = t->in.p, *stop = t->in.p + t->in.n, *at;
        while (rc == 0 && !end && from < stop &&
               (at = memchr(from, '\n', (size_t)(stop - from))) != NULL) {
            rc = take_line((struct str){from, (size_t)(at - from)}, line, ctx, &end, e);
            from = at + 1;
        }
        t->in.n = (size_t)(stop - from);
        memmove(t->in.p, from, t->in.n);
    }
    if (rc == ERR_SYNTAX)
        talk_hang_up(t);
    return rc;
}

/* ---- members of a line ---- */

const char *talk_text(const json_t *line, const char *name)
{
    const char *text = json_string_value(json_object_get(line, name));
    return text != NULL ? text : "";
}

uint64_t talk_number(const json_t *line, const char *name)
{
    const json_t *value = json_object_get(line, name);
    if (json_is_integer(value))
        return json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
    return json_is_string(value) ? strtoull(json_string_value(value), NULL, 10) : 0;
}

bool talk_true(const json_t *line, const char *name)
{
    return json_is_true(json_object_get(line, name));
}

bool talk_has(const json_t *line, const char *name)
{
    return json_object_get(line, name) != NULL;
}

char *talk_dump(const json_t *line)
{
    return json_dumps(line, JSON_COMPACT);
}

char *talk_path(const json_t *line)
{
    const char *hex = talk_text(line, "path_hex");
    size_t n = strlen(hex) / 2;
    if (n == 0)
        return strdup(talk_text(line, "path"));
    char *path = calloc(1, n + 1);
    for (size_t i = 0; path != NULL && i < n; i++)
        path[i] = (char)strtoul((char[]){hex[2 * i], hex[2 * i + 1], '\0'}, NULL, 16);
    return path;
}

/* ---- time ---- */

uint64_t talk_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void talk_sleep(uint64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}
