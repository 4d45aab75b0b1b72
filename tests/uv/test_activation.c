#include "tests/uv/uvtest.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "daemon/activation.h"

/* The descriptors from 3 on are the test runner's: so each case is a process of its own, in which
 * they are what the case wants, and its exit code tells whether all was as it should be. */

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static struct activation act;

static void in_a_process(struct uvtest *t, void (*does)(struct uvtest *t))
{
    uvtest_dir(t);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close_range(3, ~0U, 0);
        does(t);
        _exit(0);
    }
    int status;
    UVTEST_UNTIL(t, waitpid(pid, &status, WNOHANG) == pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* The next free descriptor is a socket at this place. */
static int make(struct uvtest *t, const char *name, int kind)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *path = uvtest_path(t, name);
    CHECK(strlen(path) < sizeof at.sun_path);
    memcpy(at.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, kind, 0);
    CHECK(fd >= 3);
    CHECK(bind(fd, (const struct sockaddr *)&at, sizeof at) == 0);
    CHECK(kind == SOCK_DGRAM || listen(fd, 4) == 0);
    return fd;
}

static void say(const char *pid, const char *n, const char *names)
{
    char own[24];
    snprintf(own, sizeof own, "%ld", (long)getpid());
    setenv("LISTEN_PID", pid != NULL ? pid : own, 1);
    setenv("LISTEN_FDS", n, 1);
    if (names != NULL)
        setenv("LISTEN_FDNAMES", names, 1);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void check_unset(void)
{
    CHECK(getenv("LISTEN_PID") == NULL);
    CHECK(getenv("LISTEN_FDS") == NULL);
    CHECK(getenv("LISTEN_FDNAMES") == NULL);
}

static void two_sockets(struct uvtest *t)
{
    int stream = make(t, "a.sock", SOCK_STREAM), datagram = make(t, "b.sock", SOCK_DGRAM);
    CHECK(stream == 3 && datagram == 4);
    say(NULL, "2", "events:syslog");
    activation_init(&act);
    check_unset();
    CHECK(act.n == 2);
    CHECK((fcntl(3, F_GETFD) & FD_CLOEXEC) != 0 && (fcntl(4, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(activation_take(&act, uvtest_path(t, "c.sock"), false) == -1);
    CHECK(activation_take(&act, uvtest_path(t, "a.sock"), true) == -1);
    int fd = activation_take(&act, uvtest_path(t, "b.sock"), true);
    CHECK(fd > 4 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    close(fd);
    CHECK(activation_take(&act, uvtest_path(t, "b.sock"), true) == fd); /* after a reload */
    CHECK(act.sockets[1].taken && !act.sockets[0].taken);
    activation_report(&act);
    CHECK(act.sockets[0].reported && !act.sockets[1].reported);
    activation_release(&act);
    CHECK(!is_open(3) && !is_open(4) && is_open(fd));
}

static void sockets_are_taken_by_their_path_and_type(void **state)
{
    in_a_process(*state, two_sockets);
}

static void other_spellings(struct uvtest *t)
{
    char link[600];
    make(t, "a.sock", SOCK_STREAM);
    say(NULL, "1", NULL);
    activation_init(&act);
    snprintf(link, sizeof link, "%s", uvtest_path(t, "link"));
    CHECK(symlink(".", link) == 0);
    CHECK(activation_take(&act, uvtest_path(t, "link/a.sock"), false) >= 0);
    CHECK(activation_take(&act, uvtest_path(t, ".//a.sock"), false) >= 0);
}

static void a_path_through_a_link_is_the_same_place(void **state)
{
    in_a_process(*state, other_spellings);
}

static void not_for_us(struct uvtest *t)
{
    make(t, "a.sock", SOCK_STREAM);
    say("1", "1", NULL);
    activation_init(&act);
    check_unset();
    CHECK(act.n == 0 && is_open(3));
    CHECK((fcntl(3, F_GETFD) & FD_CLOEXEC) == 0);
    CHECK(activation_take(&act, uvtest_path(t, "a.sock"), false) == -1);
    activation_init(&act); /* without any variable */
    CHECK(act.n == 0 && is_open(3));
    setenv("LISTEN_FDS", "1", 1); /* without the other one */
    activation_init(&act);
    check_unset();
    CHECK(act.n == 0 && is_open(3));
}

static void descriptors_for_another_process_are_left_alone(void **state)
{
    in_a_process(*state, not_for_us);
}

static void check_ignored(const char *pid, const char *n)
{
    say(pid, n, NULL);
    activation_init(&act);
    check_unset();
    CHECK(act.n == 0 && is_open(3));
}

static void crooked(struct uvtest *t)
{
    static const char *const numbers[] = {
        "", " 1", "1 ", "+1", "-1", "0x1", "1.0", "one", "1:", "99999999999", "1\n1", "0",
    };
    static const char *const pids[] = {"%ld ", " %ld", "+%ld", "-%ld", "%ld.0", "%ld\n"};
    char pid[32];
    make(t, "a.sock", SOCK_STREAM);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        check_ignored(NULL, numbers[i]);
    for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
        const char *place = strstr(pids[i], "%ld");
        snprintf(pid, sizeof pid, "%.*s%ld%s", (int)(place - pids[i]), pids[i], (long)getpid(),
                 place + 3);
        check_ignored(pid, "1");
    }
}

static void variables_that_no_manager_writes_mean_nothing(void **state)
{
    in_a_process(*state, crooked);
}

static void strangers(struct uvtest *t)
{
    CHECK(open("/dev/null", O_RDONLY) == 3);
    CHECK(socket(AF_INET, SOCK_STREAM, 0) == 4);
    CHECK(socket(AF_UNIX, SOCK_STREAM, 0) == 5); /* it does not listen */
    CHECK(make(t, "a.sock", SOCK_SEQPACKET) == 6);
    CHECK(make(t, "b.sock", SOCK_STREAM) == 7);
    /* 8 is not open */
    CHECK(open("/dev/null", O_RDONLY) == 8 && dup2(8, 9) == 9 && close(8) == 0);
    say(NULL, "6", "::::"); /* one name too few, and empty ones */
    activation_init(&act);
    CHECK(act.n == 1 && act.sockets[0].fd == 7);
    CHECK(!is_open(3) && !is_open(4) && !is_open(5) && !is_open(6));
    CHECK(is_open(9)); /* it is not one of the six */
    CHECK(activation_take(&act, uvtest_path(t, "b.sock"), false) >= 0);
}

static void what_cannot_be_read_from_is_closed(void **state)
{
    in_a_process(*state, strangers);
}

static void nameless(struct uvtest *t)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)t;
    CHECK(socket(AF_UNIX, SOCK_DGRAM, 0) == 3); /* bound nowhere */
    CHECK(socket(AF_UNIX, SOCK_DGRAM, 0) == 4);
    memcpy(at.sun_path, "\0/abstract", 10);
    CHECK(bind(4, (const struct sockaddr *)&at, offsetof(struct sockaddr_un, sun_path) + 10) == 0);
    say(NULL, "2", NULL);
    activation_init(&act);
    CHECK(act.n == 2);
    CHECK(activation_take(&act, "/abstract", true) == -1);
    activation_report(&act);
}

static void a_socket_without_a_path_is_nobodys(void **state)
{
    in_a_process(*state, nameless);
}

static void a_crowd(struct uvtest *t)
{
    CHECK(make(t, "a.sock", SOCK_DGRAM) == 3);
    for (int fd = 4; fd < 3 + ACTIVATION_MAX + 10; fd++)
        CHECK(dup2(3, fd) == fd);
    say(NULL, "266", NULL);
    activation_init(&act);
    CHECK(act.n == ACTIVATION_MAX);
    CHECK(is_open(3 + ACTIVATION_MAX));
}

static void more_than_there_may_be_are_left_alone(void **state)
{
    in_a_process(*state, a_crowd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(sockets_are_taken_by_their_path_and_type),
        UVTEST(a_path_through_a_link_is_the_same_place),
        UVTEST(descriptors_for_another_process_are_left_alone),
        UVTEST(variables_that_no_manager_writes_mean_nothing),
        UVTEST(what_cannot_be_read_from_is_closed),
        UVTEST(a_socket_without_a_path_is_nobodys),
        UVTEST(more_than_there_may_be_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
