#include "tests/uv/uvtest.h"

#include <errno.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "daemon/control.h"

/* ---- what stands above the device, and who stands before it ---- */

struct above {
    struct uvtest *t;
    struct control *control;
    unsigned requests;
    size_t answer_n; /* instead of an echo: a line of so many bytes */
    bool closed;
    char path[512];
};

static void on_request(void *ctx, struct str line, struct buf *out)
{
    struct above *a = ctx;
    a->requests++;
    if (a->answer_n == 0) {
        buf_printf(out, "<%.*s>\n", (int)line.n, line.p);
        return;
    }
    char *p = buf_reserve(out, a->answer_n);
    if (p == NULL)
        return;
    memset(p, 'x', a->answer_n);
    p[a->answer_n - 1] = '\n';
    buf_commit(out, a->answer_n);
}

static void on_closed(void *ctx)
{
    ((struct above *)ctx)->closed = true;
}

static int try_open(struct above *a, struct uvtest *t, const char *name, struct err *e)
{
    *a = (struct above){.t = t};
    signal(SIGPIPE, SIG_IGN);
    snprintf(a->path, sizeof a->path, "%s", uvtest_path(t, name));
    const struct control_ops ops = {.ctx = a, .request = on_request};
    a->control = control_new(&t->loop, a->path, &ops, e);
    return a->control != NULL ? 0 : e->code;
}

static void open_above(struct above *a, struct uvtest *t)
{
    struct err e = {0};
    if (try_open(a, t, "control.sock", &e) != 0)
        fail_msg("%s", e.text);
}

static void close_above(struct above *a)
{
    control_close(a->control, on_closed, a);
    assert_false(a->closed);
    UVTEST_UNTIL(a->t, a->closed);
}

static int come(struct above *a)
{
    struct err e;
    int fd = control_connect(a->path, &e);
    if (fd < 0)
        fail_msg("%s", e.text);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What came so far is in `text`; -1 once the other side has hung up. */
static int hear(int fd, char *text, size_t *n, size_t size)
{
    ssize_t got;
    while ((got = recv(fd, text + *n, size - 1 - *n, 0)) > 0)
        *n += (size_t)got;
    text[*n] = '\0';
    return got == 0 || (got < 0 && errno != EAGAIN) ? -1 : 0;
}

static void check_hears(struct above *a, int fd, const char *expected)
{
    char text[1024];
    size_t n = 0;
    UVTEST_UNTIL(a->t, hear(fd, text, &n, sizeof text) == 0 && n >= strlen(expected));
    assert_string_equal(text, expected);
}

static bool hung_up(int fd)
{
    char text[1024];
    size_t n = 0;
    return hear(fd, text, &n, sizeof text) < 0;
}

/* ---- requests and answers ---- */

static void a_line_is_answered(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    say(fd, "hello\n");
    check_hears(&a, fd, "<hello>\n");
    say(fd, "again\n");
    check_hears(&a, fd, "<again>\n");
    close(fd);
    close_above(&a);
}

static void a_line_in_pieces_is_one_request(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    for (const char *p = "hello"; *p != '\0'; p++) {
        say(fd, (char[]){*p, '\0'});
        uv_run(&a.t->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(a.requests, 0);
    say(fd, "\n");
    check_hears(&a, fd, "<hello>\n");
    close(fd);
    close_above(&a);
}

static void lines_at_once_are_answered_in_order(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    say(fd, "1\n\n3\nhal");
    check_hears(&a, fd, "<1>\n<>\n<3>\n");
    say(fd, "f\n");
    check_hears(&a, fd, "<half>\n");
    close(fd);
    close_above(&a);
}

static void answers_reach_a_client_that_has_said_all(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    say(fd, "last words\n");
    shutdown(fd, SHUT_WR);
    char text[64];
    size_t n = 0;
    UVTEST_UNTIL(a.t, hear(fd, text, &n, sizeof text) < 0);
    assert_string_equal(text, "<last words>\n");
    close(fd);
    close_above(&a);
}

static void any_bytes_are_a_request(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    assert_int_equal(send(fd, "\0\xff\x80{[\n", 6, MSG_NOSIGNAL), 6);
    char text[64];
    size_t n = 0;
    UVTEST_UNTIL(a.t, hear(fd, text, &n, sizeof text) == 0 && n > 0);
    assert_int_equal(a.requests, 1);
    close(fd);
    close_above(&a);
}

static void a_request_of_the_greatest_length_is_one(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    char *line = malloc(CONTROL_REQUEST_MAX + 2);
    memset(line, 'a', CONTROL_REQUEST_MAX);
    memcpy(line + CONTROL_REQUEST_MAX, "\n", 2);
    size_t sent = 0, n = CONTROL_REQUEST_MAX + 1;
    UVTEST_UNTIL(a.t, (sent += (size_t)(send(fd, line + sent, n - sent, MSG_NOSIGNAL) + 1)) > n);
    free(line);
    UVTEST_UNTIL(a.t, a.requests == 1);
    close(fd);
    close_above(&a);
}

static void a_longer_request_is_refused_and_cut_off(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a), other = come(&a);
    char chunk[1024], text[256] = "";
    size_t n = 0;
    memset(chunk, 'a', sizeof chunk);
    UVTEST_UNTIL(a.t, (send(fd, chunk, sizeof chunk, MSG_NOSIGNAL), hear(fd, text, &n, 256)) < 0);
    assert_true(n == 0 || strstr(text, "\"error\":\"a request has at most 65536 bytes\"") != NULL);
    assert_int_equal(a.requests, 0);
    say(other, "fine\n");
    check_hears(&a, other, "<fine>\n");
    close(fd);
    close(other);
    close_above(&a);
}

static void a_long_answer_arrives_whole(void **state)
{
    struct above a;
    open_above(&a, *state);
    a.answer_n = 3 * MIB;
    int fd = come(&a);
    say(fd, "much\n");
    char *text = malloc(a.answer_n + 2);
    size_t n = 0;
    UVTEST_UNTIL(a.t, hear(fd, text, &n, a.answer_n + 2) == 0 && n >= a.answer_n);
    assert_int_equal(n, a.answer_n);
    assert_int_equal(text[n - 1], '\n');
    free(text);
    close(fd);
    close_above(&a);
}

/* ---- clients that do harm ---- */

static void who_says_nothing_is_cut_off(void **state)
{
    struct above a;
    open_above(&a, *state);
    control_set_idle(a.control, 50);
    int fd = come(&a);
    UVTEST_UNTIL(a.t, hung_up(fd));
    close(fd);
    close_above(&a);
}

static void who_says_single_bytes_is_cut_off_too(void **state)
{
    struct above a;
    open_above(&a, *state);
    control_set_idle(a.control, 100);
    int fd = come(&a);
    UVTEST_UNTIL(a.t, (send(fd, "x", 1, MSG_NOSIGNAL), hung_up(fd)));
    assert_int_equal(a.requests, 0);
    close(fd);
    close_above(&a);
}

static void who_goes_on_asking_is_not_cut_off(void **state)
{
    struct above a;
    open_above(&a, *state);
    control_set_idle(a.control, 300);
    int fd = come(&a);
    uint64_t until = uv_hrtime() + 900 * UINT64_C(1000000);
    while (uv_hrtime() < until) {
        say(fd, "still here\n");
        check_hears(&a, fd, "<still here>\n");
    }
    close(fd);
    close_above(&a);
}

/* It asks and asks and never reads: one answer is held, nothing more is read from it, and in the
 * end it is cut off. Others are served all the while. */
static void who_never_reads_costs_one_answer_and_is_cut_off(void **state)
{
    struct above a;
    open_above(&a, *state);
    control_set_idle(a.control, 400);
    a.answer_n = 4 * MIB;
    int fd = come(&a);
    say(fd, "a\nb\nc\nd\n");
    UVTEST_UNTIL(a.t, a.requests == 1);
    a.answer_n = 0;
    int other = come(&a);
    say(other, "hello\n");
    check_hears(&a, other, "<hello>\n");
    assert_int_equal(a.requests, 2);
    char byte;
    UVTEST_UNTIL(a.t, send(fd, "e\n", 2, MSG_NOSIGNAL) < 0 && errno == EPIPE);
    assert_int_equal(recv(fd, &byte, 1, 0), 1); /* the beginning of that answer was written */
    assert_int_equal(a.requests, 2);
    close(fd);
    close(other);
    close_above(&a);
}

static void answers_together_have_a_limit(void **state)
{
    struct above a;
    open_above(&a, *state);
    a.answer_n = CONTROL_ANSWERS_MAX - 100;
    int first = come(&a), second = come(&a);
    say(first, "much\n");
    UVTEST_UNTIL(a.t, a.requests == 1);
    say(second, "as much\n");
    char text[256];
    size_t n = 0;
    UVTEST_UNTIL(a.t, hear(second, text, &n, sizeof text) == 0 && n > 0);
    assert_string_equal(text, "{\"error\":\"the answer is too long for now\"}\n");
    close(first);
    a.answer_n = 0;
    say(second, "less\n");
    check_hears(&a, second, "<less>\n");
    close(second);
    close_above(&a);
}

static void more_clients_than_places_wait_for_one(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fds[CONTROL_CLIENTS_MAX + 4];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = come(&a);
        say(fds[i], "me\n");
    }
    UVTEST_UNTIL(a.t, a.requests == CONTROL_CLIENTS_MAX);
    for (int i = 0; i < 20; i++)
        uv_run(&a.t->loop, UV_RUN_NOWAIT);
    assert_int_equal(a.requests, CONTROL_CLIENTS_MAX);
    for (size_t i = 0; i < 4; i++)
        close(fds[i]);
    for (size_t i = 4; i < ARRAY_LEN(fds); i++)
        check_hears(&a, fds[i], "<me>\n");
    for (size_t i = 4; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    close_above(&a);
}

static void a_close_does_not_wait_for_anybody(void **state)
{
    struct above a;
    open_above(&a, *state);
    a.answer_n = 4 * MIB;
    int fds[CONTROL_CLIENTS_MAX + 2];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = come(&a);
        say(fds[i], i % 2 == 0 ? "asks\n" : "hal");
    }
    UVTEST_UNTIL(a.t, a.requests == CONTROL_CLIENTS_MAX / 2);
    close_above(&a);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
}

/* ---- the socket's file ---- */

static void the_socket_is_for_its_owner_alone_and_goes_with_the_device(void **state)
{
    struct above a;
    mode_t before = umask(0);
    open_above(&a, *state);
    assert_int_equal(umask(before), 0); /* what it was */
    struct stat st;
    assert_int_equal(lstat(a.path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
    close_above(&a);
    assert_int_not_equal(lstat(a.path, &st), 0);
}

static void another_user_is_turned_away(void **state)
{
    if (geteuid() != 0)
        skip(); /* only root can become another user */
    struct above a;
    open_above(&a, *state);
    assert_int_equal(chmod(a.path, 0666), 0);
    assert_int_equal(chmod(uvtest_dir(a.t), 0755), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err e;
        char c;
        if (setresuid(65534, 65534, 65534) != 0)
            _exit(3);
        int fd = control_connect(a.path, &e);
        if (fd < 0)
            _exit(2);
        (void)!write(fd, "let me in\n", 10);
        _exit(read(fd, &c, 1) <= 0 ? 0 : 1);
    }
    int status;
    UVTEST_UNTIL(a.t, waitpid(pid, &status, WNOHANG) == pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(a.requests, 0);
    close_above(&a);
}

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof to.sun_path);
    memcpy(to.sun_path, path, strlen(path));
    return to;
}

/* A process that made a socket and died. */
static void leave_a_dead_socket(const char *path)
{
    struct sockaddr_un to = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd);
}

static void the_socket_of_a_dead_process_is_taken_over(void **state)
{
    struct uvtest *t = *state;
    struct above a;
    leave_a_dead_socket(uvtest_path(t, "control.sock"));
    open_above(&a, t);
    int fd = come(&a);
    say(fd, "hello\n");
    check_hears(&a, fd, "<hello>\n");
    close(fd);
    close_above(&a);
}

static void a_socket_somebody_listens_on_is_left_alone(void **state)
{
    struct uvtest *t = *state;
    struct above a, b;
    struct err e;
    open_above(&a, t);
    assert_int_equal(try_open(&b, t, "control.sock", &e), ERR_BUSY);
    assert_non_null(strstr(e.text, "another process listens there"));
    int fd = come(&a);
    say(fd, "hello\n");
    check_hears(&a, fd, "<hello>\n");
    close(fd);
    close_above(&a);
}

/* Its queue is full: a connect would have to wait, but somebody is there. */
static void a_busy_socket_is_left_alone_too(void **state)
{
    struct uvtest *t = *state;
    struct above b;
    struct err e;
    struct sockaddr_un to = address_of(uvtest_path(t, "control.sock"));
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(listen(listener, 0), 0);
    int fds[8];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fds[i], (const struct sockaddr *)&to, sizeof to);
    }
    assert_int_equal(try_open(&b, t, "control.sock", &e), ERR_BUSY);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    close(listener);
    assert_int_equal(access(to.sun_path, F_OK), 0);
}

static void what_is_not_a_socket_is_left_alone(void **state)
{
    struct uvtest *t = *state;
    struct above a;
    struct err e;
    uvtest_write(t, "control.sock", "precious");
    assert_int_equal(try_open(&a, t, "control.sock", &e), ERR_BUSY);
    assert_non_null(strstr(e.text, "is not a socket"));
    char *text = uvtest_read(t, "control.sock", NULL);
    assert_string_equal(text, "precious");
    free(text);
    assert_int_equal(unlink(uvtest_path(t, "control.sock")), 0);
    assert_int_equal(symlink("/dev/null", uvtest_path(t, "control.sock")), 0);
    assert_int_equal(try_open(&a, t, "control.sock", &e), ERR_BUSY);
}

static void two_do_not_take_over_at_one_time(void **state)
{
    struct uvtest *t = *state;
    struct above a;
    struct err e;
    leave_a_dead_socket(uvtest_path(t, "control.sock"));
    int dir = open(uvtest_dir(t), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(dir, LOCK_EX), 0); /* as the other one has it */
    assert_int_equal(try_open(&a, t, "control.sock", &e), ERR_BUSY);
    close(dir);
    open_above(&a, t);
    close_above(&a);
}

static void only_our_own_socket_is_removed(void **state)
{
    struct uvtest *t = *state;
    struct above a, b;
    struct err e;
    open_above(&a, t);
    assert_int_equal(unlink(a.path), 0);
    assert_int_equal(try_open(&b, t, "control.sock", &e), 0);
    close_above(&a);
    int fd = come(&b);
    say(fd, "hello\n");
    check_hears(&b, fd, "<hello>\n");
    close(fd);
    close_above(&b);
}

static void a_path_longer_than_an_address_will_do(void **state)
{
    struct uvtest *t = *state;
    struct above a;
    struct err e;
    char name[256];
    snprintf(name, sizeof name, "%0120d", 7);
    assert_int_equal(mkdir(uvtest_path(t, name), 0700), 0);
    snprintf(name, sizeof name, "%0120d/control.sock", 7);
    if (try_open(&a, t, name, &e) != 0)
        fail_msg("%s", e.text);
    int fd = come(&a);
    say(fd, "hello\n");
    check_hears(&a, fd, "<hello>\n");
    close(fd);
    close_above(&a);
    assert_int_not_equal(access(a.path, F_OK), 0);
}

static void a_place_that_cannot_be_says_why(void **state)
{
    struct uvtest *t = *state;
    struct above a;
    struct err e;
    assert_int_equal(try_open(&a, t, "no/control.sock", &e), ERR_MISSING);
    uvtest_write(t, "file", "x");
    assert_int_equal(try_open(&a, t, "file/control.sock", &e), ERR_IO);
    assert_int_equal(try_open(&a, t, "control.sock/", &e), ERR_SYNTAX);
    char name[256];
    snprintf(name, sizeof name, "%0150d", 7);
    assert_int_equal(try_open(&a, t, name, &e), ERR_RANGE);
    assert_int_equal(control_connect(uvtest_path(t, "nobody"), &e), ERR_MISSING);
    leave_a_dead_socket(uvtest_path(t, "dead"));
    assert_int_equal(control_connect(uvtest_path(t, "dead"), &e), ERR_MISSING);
    assert_int_equal(control_connect(uvtest_path(t, "file"), &e), ERR_MISSING);
}

static void the_path_is_the_configured_one_or_a_good_guess(void **state)
{
    (void)state;
    char path[CONTROL_PATH_MAX], longer[CONTROL_PATH_MAX];
    unsetenv("RUNTIME_DIRECTORY");
    assert_true(control_path("/x/y", "/state", path));
    assert_string_equal(path, "/x/y");
    assert_true(control_path(NULL, "/state", path));
    assert_string_equal(path, "/state/control.sock");
    setenv("RUNTIME_DIRECTORY", "/run/a:/run/b", 1);
    assert_true(control_path(NULL, "/state", path));
    assert_string_equal(path, "/run/a/control.sock");
    assert_true(control_path("/x/y", "/state", path));
    assert_string_equal(path, "/x/y");
    setenv("RUNTIME_DIRECTORY", "", 1);
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_false(control_path(NULL, longer, path));
    unsetenv("RUNTIME_DIRECTORY");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(a_line_is_answered),
        UVTEST(a_line_in_pieces_is_one_request),
        UVTEST(lines_at_once_are_answered_in_order),
        UVTEST(answers_reach_a_client_that_has_said_all),
        UVTEST(any_bytes_are_a_request),
        UVTEST(a_request_of_the_greatest_length_is_one),
        UVTEST(a_longer_request_is_refused_and_cut_off),
        UVTEST(a_long_answer_arrives_whole),
        UVTEST(who_says_nothing_is_cut_off),
        UVTEST(who_says_single_bytes_is_cut_off_too),
        UVTEST(who_goes_on_asking_is_not_cut_off),
        UVTEST(who_never_reads_costs_one_answer_and_is_cut_off),
        UVTEST(answers_together_have_a_limit),
        UVTEST(more_clients_than_places_wait_for_one),
        UVTEST(a_close_does_not_wait_for_anybody),
        UVTEST(the_socket_is_for_its_owner_alone_and_goes_with_the_device),
        UVTEST(another_user_is_turned_away),
        UVTEST(the_socket_of_a_dead_process_is_taken_over),
        UVTEST(a_socket_somebody_listens_on_is_left_alone),
        UVTEST(a_busy_socket_is_left_alone_too),
        UVTEST(what_is_not_a_socket_is_left_alone),
        UVTEST(two_do_not_take_over_at_one_time),
        UVTEST(only_our_own_socket_is_removed),
        UVTEST(a_path_longer_than_an_address_will_do),
        UVTEST(a_place_that_cannot_be_says_why),
        UVTEST(the_path_is_the_configured_one_or_a_good_guess),
    };
    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
