#include "tests/uv/uvtest.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "daemon/unixsock.h"

static const struct unixsock_options plain = {.mode = 0600, .owner = (uid_t)-1, .group = (gid_t)-1};
static const struct unixsock_options plain_datagram = {
    .datagram = true, .mode = 0600, .owner = (uid_t)-1, .group = (gid_t)-1};

static const struct unixsock_options *option_of(bool datagram)
{
    return datagram ? &plain_datagram : &plain;
}

static int make(struct unixsock *u, struct uvtest *t, const char *name,
                const struct unixsock_options *o)
{
    struct err e;
    int fd = unixsock_open(u, uvtest_path(t, name), o, &e);
    if (fd < 0)
        fail_msg("%s", e.text);
    assert_int_not_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    assert_int_not_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    return fd;
}

static void check_refused(struct uvtest *t, const char *name, bool datagram, int code,
                          const char *words)
{
    struct unixsock u;
    struct err e;
    assert_int_equal(unixsock_open(&u, uvtest_path(t, name), option_of(datagram), &e), code);
    if (strstr(e.text, words) == NULL)
        fail_msg("%s", e.text);
}

static bool reaches(struct uvtest *t, const char *name, bool datagram)
{
    struct err e;
    int fd = unixsock_connect(uvtest_path(t, name), datagram, &e);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Somebody else's socket: bound, and if `backlog` is not -1, listening. */
static int others(struct uvtest *t, const char *name, int kind, int backlog)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *path = uvtest_path(t, name);
    assert_true(strlen(path) < sizeof at.sun_path);
    memcpy(at.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, kind | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static void leave_dead(struct uvtest *t, const char *name, bool datagram)
{
    close(others(t, name, datagram ? SOCK_DGRAM : SOCK_STREAM, datagram ? -1 : 1));
}

static void end(int fd, const struct unixsock *u, struct uvtest *t, const char *name)
{
    unixsock_remove(u);
    assert_int_equal(access(uvtest_path(t, name), F_OK), -1);
    close(fd);
}

/* ---- rights ---- */

static void the_mode_is_exact_under_any_umask(void **state)
{
    static const mode_t modes[] = {0600, 0660, 0666, 0620, 0777, 0}, umasks[] = {0, 022, 077, 0777};
    struct uvtest *t = *state;
    for (size_t i = 0; i < ARRAY_LEN(modes) * ARRAY_LEN(umasks) * 2; i++) {
        struct unixsock u;
        struct unixsock_options o = *option_of(i % 2 == 0);
        mode_t mask = umasks[i / 2 % ARRAY_LEN(umasks)];
        o.mode = modes[i / 2 / ARRAY_LEN(umasks)];
        uvtest_dir(t);
        mode_t before = umask(mask);
        int fd = make(&u, t, "s", &o);
        assert_int_equal(umask(before), mask); /* it is as it was */
        assert_int_equal(uvtest_mode(t, "s"), o.mode);
        end(fd, &u, t, "s");
        assert_int_equal(access(uvtest_path(t, "s.new"), F_OK), -1);
    }
}

static void owner_and_group_are_as_told(void **state)
{
    if (geteuid() != 0)
        skip(); /* only root can give files away */
    struct uvtest *t = *state;
    for (int i = 0; i < 2; i++) {
        struct unixsock u;
        struct stat st;
        struct unixsock_options o = *option_of(i == 0);
        o.owner = 4001;
        o.group = 5001;
        o.mode = 0640;
        int fd = make(&u, t, "s", &o);
        assert_int_equal(lstat(uvtest_path(t, "s"), &st), 0);
        assert_int_equal(st.st_uid, 4001);
        assert_int_equal(st.st_gid, 5001);
        assert_int_equal(st.st_mode & 07777, 0640);
        end(fd, &u, t, "s");
    }
}

static void as_member_of_5001(const char *path)
{
    const gid_t groups[] = {5001};
    struct unixsock u;
    struct stat st;
    struct err e;
    if (setgroups(1, groups) != 0 || setresgid(4001, 4001, 4001) != 0 ||
        setresuid(4001, 4001, 4001) != 0)
        _exit(1);
    struct unixsock_options o = plain;
    o.group = 5001;
    o.mode = 0660;
    int fd = unixsock_open(&u, path, &o, &e);
    if (fd < 0 || stat(path, &st) != 0 || st.st_gid != 5001 || (st.st_mode & 07777) != 0660)
        _exit(2);
    unixsock_remove(&u);
    if (access(path, F_OK) == 0)
        _exit(3);
    o.group = 5002;
    if (unixsock_open(&u, path, &o, &e) != ERR_IO ||
        strstr(e.text, "cannot be given to this owner and group") == NULL)
        _exit(4);
    o.group = (gid_t)-1;
    o.owner = 4002;
    if (unixsock_open(&u, path, &o, &e) != ERR_IO || access(path, F_OK) == 0)
        _exit(5);
    _exit(0);
}

static void who_is_not_root_may_give_it_to_a_group_of_his(void **state)
{
    if (geteuid() != 0)
        skip();
    struct uvtest *t = *state;
    assert_int_equal(chown(uvtest_dir(t), 4001, 4001), 0);
    const char *path = uvtest_path(t, "s");
    pid_t pid = fork();
    if (pid == 0)
        as_member_of_5001(path);
    int status;
    UVTEST_UNTIL(t, waitpid(pid, &status, WNOHANG) == pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(access(uvtest_path(t, "s.new"), F_OK), -1);
}

static void a_link_in_the_way_is_not_followed(void **state)
{
    struct uvtest *t = *state;
    char victim[600], aside[600];
    uvtest_write(t, "victim", "precious");
    snprintf(victim, sizeof victim, "%s", uvtest_path(t, "victim"));
    snprintf(aside, sizeof aside, "%s", uvtest_path(t, "s.new"));
    assert_int_equal(chmod(victim, 0600), 0);
    assert_int_equal(symlink(victim, aside), 0);
    check_refused(t, "s", false, ERR_IO, "in use");
    assert_int_equal(uvtest_mode(t, "victim"), 0600);
    assert_int_equal(unlink(aside), 0);
    assert_int_equal(symlink(victim, uvtest_path(t, "s")), 0);
    check_refused(t, "s", true, ERR_BUSY, "is not a socket");
}

/* ---- who is there ---- */

static void the_socket_of_a_dead_process_is_taken_over(void **state)
{
    struct uvtest *t = *state;
    for (int i = 0; i < 4; i++) { /* whichever kind the dead one was */
        struct unixsock u;
        leave_dead(t, "s", i % 2 == 0);
        assert_false(reaches(t, "s", i % 2 == 0));
        int fd = make(&u, t, "s", option_of(i / 2 == 0));
        assert_true(reaches(t, "s", i / 2 == 0));
        end(fd, &u, t, "s");
    }
}

static void a_socket_somebody_has_open_is_left_alone(void **state)
{
    static const int kinds[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    struct uvtest *t = *state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        int fd = others(t, "s", kinds[i], kinds[i] == SOCK_DGRAM ? -1 : 1);
        check_refused(t, "s", false, ERR_BUSY, "another process listens there");
        check_refused(t, "s", true, ERR_BUSY, "another process listens there");
        assert_int_equal(access(uvtest_path(t, "s"), F_OK), 0);
        close(fd);
        assert_int_equal(unlink(uvtest_path(t, "s")), 0);
    }
}

static void so_is_one_whose_queue_is_full_or_that_hears_one_peer_alone(void **state)
{
    struct uvtest *t = *state;
    int full = others(t, "full", SOCK_STREAM, 0), fds[8];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *path = uvtest_path(t, "full");
    memcpy(at.sun_path, path, strlen(path));
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fds[i], (const struct sockaddr *)&at, sizeof at);
    }
    check_refused(t, "full", false, ERR_BUSY, "another process listens there");
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    close(full);
    int peer = others(t, "peer", SOCK_DGRAM, -1), taken = others(t, "taken", SOCK_DGRAM, -1);
    at = (struct sockaddr_un){.sun_family = AF_UNIX};
    path = uvtest_path(t, "peer");
    memcpy(at.sun_path, path, strlen(path));
    assert_int_equal(connect(taken, (const struct sockaddr *)&at, sizeof at), 0);
    check_refused(t, "taken", true, ERR_BUSY, "another process listens there");
    close(peer);
    close(taken);
}

static void what_is_not_a_socket_is_left_alone(void **state)
{
    struct uvtest *t = *state;
    uvtest_write(t, "s", "precious");
    check_refused(t, "s", false, ERR_BUSY, "is not a socket");
    check_refused(t, "s", true, ERR_BUSY, "is not a socket");
    char *text = uvtest_read(t, "s", NULL);
    assert_string_equal(text, "precious");
    free(text);
    assert_int_equal(mkdir(uvtest_path(t, "dir"), 0700), 0);
    check_refused(t, "dir", true, ERR_BUSY, "is not a socket");
}

static void only_our_own_socket_is_removed(void **state)
{
    struct uvtest *t = *state;
    struct unixsock a, b;
    int first = make(&a, t, "s", &plain);
    assert_int_equal(unlink(a.path), 0);
    int second = make(&b, t, "s", &plain_datagram);
    unixsock_remove(&a);
    assert_true(reaches(t, "s", true));
    assert_int_equal(unlink(b.path), 0);
    uvtest_write(t, "s", "a file");
    unixsock_remove(&b);
    assert_int_equal(access(b.path, F_OK), 0);
    close(first);
    close(second);
}

static void what_a_killed_process_left_aside_does_no_harm(void **state)
{
    struct uvtest *t = *state;
    struct unixsock u;
    leave_dead(t, "s.new", false);
    int fd = make(&u, t, "s", &plain);
    assert_int_equal(access(uvtest_path(t, "s.new"), F_OK), -1);
    end(fd, &u, t, "s");
    uvtest_write(t, "s.new", "not ours");
    check_refused(t, "s", false, ERR_IO, "in use");
    assert_int_equal(access(uvtest_path(t, "s.new"), F_OK), 0);
}

static void a_lock_that_is_not_let_go_is_an_error(void **state)
{
    struct uvtest *t = *state;
    struct unixsock u;
    int dir = open(uvtest_dir(t), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(dir, LOCK_EX), 0);
    check_refused(t, "s", false, ERR_BUSY, "another process has locked its directory");
    close(dir);
    end(make(&u, t, "s", &plain), &u, t, "s");
}

static void *hold_for_a_moment(void *dir)
{
    usleep(20000);
    close((int)(intptr_t)dir);
    return NULL;
}

static void a_lock_held_for_a_moment_is_waited_for(void **state)
{
    struct uvtest *t = *state;
    struct unixsock u;
    pthread_t other;
    int dir = open(uvtest_dir(t), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(dir, LOCK_EX), 0);
    assert_int_equal(pthread_create(&other, NULL, hold_for_a_moment, (void *)(intptr_t)dir), 0);
    end(make(&u, t, "s", &plain), &u, t, "s");
    pthread_join(other, NULL);
}

/* ---- moments ---- */

struct onlooker {
    char path[512];
    atomic_bool stop;
    unsigned looks, missing, wrong_mode, odd;
};

/* A client that tries again and again, and looks at the mode each time. */
static void *look_on(void *ctx)
{
    struct onlooker *o = ctx;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, o->path, strlen(o->path));
    while (!atomic_load(&o->stop)) {
        struct stat st;
        if (lstat(o->path, &st) != 0)
            o->missing++;
        else if ((st.st_mode & 07777) != 0620)
            o->wrong_mode++;
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (const struct sockaddr *)&at, sizeof at) != 0 && errno != ECONNREFUSED)
            o->odd++;
        close(fd);
        o->looks++;
    }
    return NULL;
}

static void a_take_over_leaves_no_moment_without_the_path_or_with_another_mode(void **state)
{
    struct uvtest *t = *state;
    struct unixsock u;
    struct unixsock_options o = plain_datagram;
    struct onlooker look = {.looks = 0};
    pthread_t other;
    o.mode = 0620;
    close(make(&u, t, "s", &o)); /* and died */
    snprintf(look.path, sizeof look.path, "%s", uvtest_path(t, "s"));
    assert_int_equal(pthread_create(&other, NULL, look_on, &look), 0);
    for (int i = 0; i < 300; i++)
        close(make(&u, t, "s", &o));
    atomic_store(&look.stop, true);
    pthread_join(other, NULL);
    assert_true(look.looks > 50);
    assert_int_equal(look.missing, 0);
    assert_int_equal(look.wrong_mode, 0);
    assert_int_equal(look.odd, 0);
}

/* ---- paths ---- */

static void a_path_longer_than_an_address_will_do(void **state)
{
    struct uvtest *t = *state;
    struct unixsock u;
    struct err e;
    char name[256];
    snprintf(name, sizeof name, "%0120d", 7);
    assert_int_equal(mkdir(uvtest_path(t, name), 0700), 0);
    snprintf(name, sizeof name, "%0120d/s", 7);
    for (int i = 0; i < 2; i++) {
        char from[600];
        leave_dead(t, "short", i == 0);
        snprintf(from, sizeof from, "%s", uvtest_path(t, "short"));
        assert_int_equal(rename(from, uvtest_path(t, name)), 0);
        int fd = make(&u, t, name, option_of(i == 0));
        assert_true(reaches(t, name, i == 0));
        end(fd, &u, t, name);
    }
    snprintf(name, sizeof name, "%0150d", 7);
    assert_int_equal(unixsock_open(&u, uvtest_path(t, name), &plain, &e), ERR_RANGE);
}

static void a_place_that_cannot_be_says_why(void **state)
{
    struct uvtest *t = *state;
    struct err e;
    check_refused(t, "no/s", false, ERR_MISSING, "No such file");
    uvtest_write(t, "file", "x");
    check_refused(t, "file/s", false, ERR_IO, "Not a directory");
    check_refused(t, "s/", false, ERR_SYNTAX, "not the path of a socket");
    assert_int_equal(unixsock_connect(uvtest_path(t, "nobody"), false, &e), ERR_MISSING);
    assert_int_equal(unixsock_connect(uvtest_path(t, "nobody"), true, &e), ERR_MISSING);
    leave_dead(t, "dead", true);
    assert_int_equal(unixsock_connect(uvtest_path(t, "dead"), true, &e), ERR_MISSING);
    int fd = others(t, "s", SOCK_DGRAM, -1);
    assert_int_equal(unixsock_connect(uvtest_path(t, "s"), false, &e), ERR_IO); /* another kind */
    close(fd);
}

static void connect_in_a_closed_directory(const char *path)
{
    struct err e;
    char dir[600];
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    if (setgroups(0, NULL) != 0 || setresgid(4001, 4001, 4001) != 0 ||
        setresuid(4001, 4001, 4001) != 0)
        _exit(1);
    if (open(dir, O_RDONLY) >= 0) /* or it could be locked */
        _exit(2);
    _exit(unixsock_connect(path, false, &e) >= 0 ? 0 : 3);
}

static void a_client_needs_no_right_to_read_the_directory(void **state)
{
    if (geteuid() != 0)
        skip();
    struct uvtest *t = *state;
    struct unixsock u;
    struct unixsock_options o = plain;
    o.mode = 0666;
    int fd = make(&u, t, "s", &o);
    assert_int_equal(chmod(uvtest_dir(t), 0711), 0);
    pid_t pid = fork();
    if (pid == 0)
        connect_in_a_closed_directory(u.path);
    int status;
    UVTEST_UNTIL(t, waitpid(pid, &status, WNOHANG) == pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    end(fd, &u, t, "s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(the_mode_is_exact_under_any_umask),
        UVTEST(owner_and_group_are_as_told),
        UVTEST(who_is_not_root_may_give_it_to_a_group_of_his),
        UVTEST(a_link_in_the_way_is_not_followed),
        UVTEST(the_socket_of_a_dead_process_is_taken_over),
        UVTEST(a_socket_somebody_has_open_is_left_alone),
        UVTEST(so_is_one_whose_queue_is_full_or_that_hears_one_peer_alone),
        UVTEST(what_is_not_a_socket_is_left_alone),
        UVTEST(only_our_own_socket_is_removed),
        UVTEST(what_a_killed_process_left_aside_does_no_harm),
        UVTEST(a_lock_that_is_not_let_go_is_an_error),
        UVTEST(a_lock_held_for_a_moment_is_waited_for),
        UVTEST(a_take_over_leaves_no_moment_without_the_path_or_with_another_mode),
        UVTEST(a_path_longer_than_an_address_will_do),
        UVTEST(a_place_that_cannot_be_says_why),
        UVTEST(a_client_needs_no_right_to_read_the_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
