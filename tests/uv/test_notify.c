/* The test is the service manager: it owns the datagram socket and reads what comes. */
#include "tests/uv/uvtest.h"

#include <errno.h>

#include "daemon/notify.h"

struct manager {
    int fd;
    char text[2 * NOTIFY_MESSAGE_MAX];
};

static void manager_open(struct manager *m, const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    memcpy(a.sun_path, name, n);
    if (name[0] == '@')
        a.sun_path[0] = '\0';
    m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(m->fd >= 0);
    assert_int_equal(
        bind(m->fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)),
        0);
    setenv("NOTIFY_SOCKET", name, 1);
}

static const char *manager_next(struct manager *m)
{
    ssize_t n = recv(m->fd, m->text, sizeof m->text - 1, 0);
    if (n < 0)
        return NULL;
    m->text[n] = '\0';
    return m->text;
}

static int clean_setup(void **state)
{
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return uvtest_setup(state);
}

static void a_message_is_one_datagram(void **state)
{
    struct uvtest *t = *state;
    struct manager m;
    struct notify n;
    manager_open(&m, uvtest_path(t, "notify"));
    notify_init(&n);
    notify_send(&n, "READY=1\nSTATUS=%s %d", "files:", 3);
    notify_send(&n, "STOPPING=1");
    assert_string_equal(manager_next(&m), "READY=1\nSTATUS=files: 3");
    assert_string_equal(manager_next(&m), "STOPPING=1");
    assert_null(manager_next(&m));
    notify_release(&n);
    notify_send(&n, "STATUS=gone");
    assert_null(manager_next(&m));
    close(m.fd);
}

static void an_abstract_socket_works_too(void **state)
{
    (void)state;
    char name[64];
    snprintf(name, sizeof name, "@tailrace-test-%ld", (long)getpid());
    struct manager m;
    struct notify n;
    manager_open(&m, name);
    notify_init(&n);
    notify_send(&n, "WATCHDOG=1");
    assert_string_equal(manager_next(&m), "WATCHDOG=1");
    notify_release(&n);
    close(m.fd);
}

static void a_socket_made_anew_is_found_again(void **state)
{
    struct uvtest *t = *state;
    struct manager m;
    struct notify n;
    manager_open(&m, uvtest_path(t, "notify"));
    notify_init(&n);
    close(m.fd);
    unlink(uvtest_path(t, "notify"));
    notify_send(&n, "STATUS=lost");
    manager_open(&m, uvtest_path(t, "notify"));
    notify_send(&n, "STATUS=heard");
    assert_string_equal(manager_next(&m), "STATUS=heard");
    notify_release(&n);
    close(m.fd);
}

static void a_full_socket_loses_messages_but_does_not_wait(void **state)
{
    struct uvtest *t = *state;
    struct manager m;
    struct notify n;
    manager_open(&m, uvtest_path(t, "notify"));
    notify_init(&n);
    for (int i = 0; i < 5000;
         i++) /* returns at all: the queue of a datagram socket is far shorter */
        notify_send(&n, "STATUS=%d", i);
    assert_string_equal(manager_next(&m), "STATUS=0");
    notify_release(&n);
    close(m.fd);
}

static void a_long_message_is_cut(void **state)
{
    struct uvtest *t = *state;
    struct manager m;
    struct notify n;
    manager_open(&m, uvtest_path(t, "notify"));
    notify_init(&n);
    char big[NOTIFY_MESSAGE_MAX * 2];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    notify_send(&n, "READY=1\nSTATUS=%s", big);
    const char *text = manager_next(&m);
    assert_int_equal(strlen(text), NOTIFY_MESSAGE_MAX - 1);
    assert_memory_equal(text, "READY=1\nSTATUS=xx", 17);
    notify_release(&n);
    close(m.fd);
}

static void without_a_usable_address_nothing_happens(void **state)
{
    (void)state;
    char too_long[256];
    memset(too_long, 'a', sizeof too_long - 1);
    too_long[0] = '/';
    too_long[sizeof too_long - 1] = '\0';
    const char *values[] = {NULL, "", "/", "@", "relative", "vsock:2:1", too_long};
    setenv("WATCHDOG_USEC", "30000000", 1);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        if (values[i] != NULL)
            setenv("NOTIFY_SOCKET", values[i], 1);
        struct notify n;
        notify_init(&n);
        assert_int_equal(n.fd, -1);
        assert_int_equal(notify_watchdog_ms(&n), 0);
        notify_send(&n, "READY=1");
        notify_release(&n);
    }
}

static uint64_t watchdog_with(const char *usec, const char *pid)
{
    setenv("NOTIFY_SOCKET", "@nobody", 1);
    setenv("WATCHDOG_USEC", usec, 1);
    if (pid != NULL)
        setenv("WATCHDOG_PID", pid, 1);
    else
        unsetenv("WATCHDOG_PID");
    struct notify n;
    notify_init(&n);
    uint64_t ms = notify_watchdog_ms(&n);
    notify_release(&n);
    return ms;
}

static void the_watchdog_is_fed_at_half_its_interval(void **state)
{
    (void)state;
    char me[24], other[24];
    snprintf(me, sizeof me, "%ld", (long)getpid());
    snprintf(other, sizeof other, "%ld", (long)getppid());
    assert_int_equal(watchdog_with("30000000", me), 15000);
    assert_int_equal(watchdog_with("30000000", NULL), 15000);
    assert_int_equal(watchdog_with("30000000", other), 0);
    assert_int_equal(watchdog_with("1", me), 1);
    assert_int_equal(watchdog_with("0", me), 0);
    assert_int_equal(watchdog_with("", me), 0);
    assert_int_equal(watchdog_with("-5", me), 0);
    assert_int_equal(watchdog_with("30s", me), 0);
    assert_int_equal(watchdog_with("99999999999999999999999", me), 0);
    assert_int_equal(watchdog_with("30000000", "12x"), 0);
}

#define CLEAN(name) cmocka_unit_test_setup_teardown(name, clean_setup, uvtest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLEAN(a_message_is_one_datagram),
        CLEAN(an_abstract_socket_works_too),
        CLEAN(a_socket_made_anew_is_found_again),
        CLEAN(a_full_socket_loses_messages_but_does_not_wait),
        CLEAN(a_long_message_is_cut),
        CLEAN(without_a_usable_address_nothing_happens),
        CLEAN(the_watchdog_is_fed_at_half_its_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
